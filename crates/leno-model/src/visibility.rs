//! Who sees what: `exportTo`, and what a namespace finds where several objects speak for one host.
//!
//! An answer depends on the namespace that asks. Objects that are for everybody make one answer for all namespaces;
//! only namespaces that are named somewhere have their own, so that the size of the model and the cost of a change
//! follow what is said, not how many namespaces there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// To whom an object is exported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exported {
    #[default]
    Everywhere,
    /// To these namespaces; none: to nobody.
    To(BTreeSet<Arc<str>>),
}

/// What objects that say nothing of it are exported to, in the words of `exportTo`; empty: everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExportDefaults {
    pub services: Vec<String>,
    pub virtual_services: Vec<String>,
    pub destination_rules: Vec<String>,
}

/// Something that namespaces may find different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scoped<T> {
    elsewhere: T,
    namespaces: BTreeMap<Arc<str>, T>,
}

// === impl Exported ===

impl Exported {
    /// `.`, `*`, `~` or namespaces, as an object of the namespace `own` says.
    pub(crate) fn read(said: &[String], own: &Arc<str>, default: &[String]) -> Self {
        let words = if said.is_empty() { default } else { said };
        if words.is_empty() || words.iter().any(|word| word == "*") {
            return Self::Everywhere;
        }
        let named = words.iter().filter(|word| *word != "~");
        Self::To(
            named
                .map(|word| match word.as_str() {
                    "." => Arc::clone(own),
                    namespace => namespace.into(),
                })
                .collect(),
        )
    }

    pub fn to(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::To(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Those that are named.
    pub fn named(&self) -> impl Iterator<Item = &Arc<str>> {
        let namespaces = match self {
            Self::Everywhere => None,
            Self::To(namespaces) => Some(namespaces),
        };
        namespaces.into_iter().flatten()
    }

    /// Whose object holds before whose, as in Istio: an object that only its own namespace sees before one that is
    /// exported by name, and that before one for everybody.
    pub(crate) fn precedence(&self, own: &str) -> u8 {
        match self {
            Self::To(namespaces) if namespaces.iter().all(|only| **only == *own) => 0,
            Self::To(_) => 1,
            Self::Everywhere => 2,
        }
    }
}

// === impl Scoped ===

impl<T> Scoped<T> {
    /// The same for all.
    pub fn everywhere(value: T) -> Self {
        Self {
            elsewhere: value,
            namespaces: BTreeMap::new(),
        }
    }

    pub(crate) fn new(elsewhere: T, namespaces: BTreeMap<Arc<str>, T>) -> Self {
        Self {
            elsewhere,
            namespaces,
        }
    }

    /// Of each the same thing.
    pub(crate) fn map<U>(&self, of: impl Fn(&T) -> U) -> Scoped<U> {
        let own = self.namespaces.iter();
        Scoped {
            elsewhere: of(&self.elsewhere),
            namespaces: own
                .map(|(namespace, value)| (Arc::clone(namespace), of(value)))
                .collect(),
        }
    }

    /// What a namespace finds.
    pub fn of(&self, namespace: &str) -> &T {
        self.namespaces.get(namespace).unwrap_or(&self.elsewhere)
    }

    /// Whether a namespace finds something of its own.
    pub fn is_own(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Everything that anybody finds.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.elsewhere).chain(self.namespaces.values())
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.elsewhere).chain(self.namespaces.values_mut())
    }

    /// Where `new` is found to be another than `old`: the namespaces with something of their own, and whether all
    /// others. A namespace that gets or loses something of its own counts although that may be equal, since what it
    /// depends on has changed.
    pub(crate) fn differing<'s>(
        old: Option<&'s Self>,
        new: Option<&'s Self>,
        nothing: &'s T,
        same: impl Fn(&T, &T) -> bool,
    ) -> (bool, Vec<Arc<str>>) {
        let of_others = |scoped: Option<&'s Self>| scoped.map_or(nothing, |scoped| &scoped.elsewhere);
        let others = !same(of_others(old), of_others(new));
        let named: BTreeSet<&Arc<str>> = [old, new]
            .into_iter()
            .flatten()
            .flat_map(|scoped| scoped.namespaces.keys())
            .collect();
        let own = |scoped: Option<&'s Self>, namespace: &str| {
            scoped.and_then(|scoped| scoped.namespaces.get(namespace))
        };
        let changed =
            named
                .into_iter()
                .filter(|namespace| match (own(old, namespace), own(new, namespace)) {
                    (Some(old), Some(new)) => !same(old, new),
                    _ => true,
                });
        (others, changed.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(words: &[&str], default: &[&str]) -> Exported {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Exported::read(&text(words), &"own".into(), &text(default))
    }

    #[test]
    fn exports_are_read_with_the_meshs_default_for_those_who_say_nothing() {
        for (said, default, seen) in [
            (&[][..], &[][..], ["own", "shop", "other"].as_slice()),
            (&["*"], &["."], &["own", "shop", "other"]),
            (&[], &["."], &["own"]),
            (&["."], &["*"], &["own"]),
            (&["shop"], &[], &["shop"]),
            (&[".", "shop"], &[], &["own", "shop"]),
            (&["~"], &[], &[]),
        ] {
            let exported = exported(said, default);
            let to: Vec<&str> = ["own", "shop", "other"]
                .into_iter()
                .filter(|namespace| exported.to(namespace))
                .collect();
            assert_eq!(to, seen, "{said:?} {default:?}");
        }
    }

    #[test]
    fn only_those_who_find_something_else_have_changed() {
        let scoped = |elsewhere: u8, own: &[(&str, u8)]| {
            let own = own.iter().map(|(namespace, value)| ((*namespace).into(), *value));
            Scoped::new(elsewhere, own.collect())
        };
        let differ = |old: Option<Scoped<u8>>, new: Option<Scoped<u8>>| {
            let (others, own) = Scoped::differing(old.as_ref(), new.as_ref(), &0, |a, b| a == b);
            (others, own.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            differ(Some(scoped(1, &[])), Some(scoped(1, &[]))),
            (false, vec![])
        );
        assert_eq!(differ(None, Some(scoped(1, &[]))), (true, vec![]));
        assert_eq!(
            differ(None, Some(scoped(0, &[("a", 1)]))),
            (false, vec!["a".into()])
        );
        assert_eq!(
            differ(Some(scoped(1, &[("a", 2)])), Some(scoped(1, &[("a", 3)]))),
            (false, vec!["a".into()])
        );
        assert_eq!(
            differ(Some(scoped(1, &[("a", 2)])), Some(scoped(2, &[("a", 2)]))),
            (true, vec![])
        );
        // It depends on what all others find from now on.
        assert_eq!(
            differ(Some(scoped(1, &[("a", 1)])), Some(scoped(1, &[]))),
            (false, vec!["a".into()])
        );
        assert_eq!(
            differ(Some(scoped(1, &[("a", 1)])), None),
            (true, vec!["a".into()])
        );
    }
}
