//! Which policies can match at all, by what a caller is and asks for: of a thousand policies a request tries the few that
//! name its identity, its namespace or its path, and those that name none of them.

use std::collections::{HashMap, HashSet};

use super::{Permission, Policy, Principal};
use crate::compile::matcher::{Pattern, StringMatcher};

/// With fewer policies it is quicker to try them all.
const WORTH_IT: usize = 8;

/// Policies by their places in the list, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    pub(crate) identities: Places,
    pub(crate) namespaces: Places,
    pub(crate) paths: Places,
    /// Those that name nothing of this.
    pub(crate) rest: Vec<u32>,
}

pub(crate) type Places = HashMap<Box<[u8]>, Vec<u32>>;

/// What a caller must have for a policy to match; of several one is enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key<'p> {
    Identity(&'p [u8]),
    Namespace(&'p [u8]),
    Path(&'p [u8]),
}

impl Index {
    /// None: it is not worth it.
    pub(crate) fn new(policies: &[(String, Policy)]) -> Option<Box<Self>> {
        if policies.len() < WORTH_IT {
            return None;
        }
        let mut index = Self::default();
        for (place, (_, policy)) in policies.iter().enumerate() {
            let place = u32::try_from(place).ok()?;
            let Some(keys) = keys(policy) else {
                index.rest.push(place);
                continue;
            };
            let keys: HashSet<Key<'_>> = keys.into_iter().collect();
            for key in keys {
                let (places, key) = match key {
                    Key::Identity(key) => (&mut index.identities, key),
                    Key::Namespace(key) => (&mut index.namespaces, key),
                    Key::Path(key) => (&mut index.paths, key),
                };
                places.entry(key.into()).or_default().push(place);
            }
        }
        Some(Box::new(index))
    }
}

/// None: a policy that may match anybody. The fewest of those of its permissions and of its principals.
fn keys(policy: &Policy) -> Option<Vec<Key<'_>>> {
    let asked = all(policy.permissions.iter().map(of_permission));
    let asking = all(policy.principals.iter().map(of_principal));
    fewest(asked, asking)
}

fn fewest<'p>(one: Option<Vec<Key<'p>>>, other: Option<Vec<Key<'p>>>) -> Option<Vec<Key<'p>>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.len() < one.len() { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Of alternatives: each must need something.
fn all<'p>(alternatives: impl Iterator<Item = Option<Vec<Key<'p>>>>) -> Option<Vec<Key<'p>>> {
    let keys: Option<Vec<Vec<Key<'p>>>> = alternatives.collect();
    keys.map(|keys| keys.concat())
}

fn of_permission(permission: &Permission) -> Option<Vec<Key<'_>>> {
    match permission {
        Permission::And(parts) => parts.iter().map(of_permission).fold(None, fewest),
        Permission::Or(parts) => all(parts.iter().map(of_permission)),
        Permission::Path(path) => Some(vec![Key::Path(exact(path)?)]),
        Permission::Paths(paths) => Some(paths.iter().map(|path| Key::Path(path)).collect()),
        _ => None,
    }
}

fn of_principal(principal: &Principal) -> Option<Vec<Key<'_>>> {
    match principal {
        Principal::And(parts) => parts.iter().map(of_principal).fold(None, fewest),
        Principal::Or(parts) => all(parts.iter().map(of_principal)),
        Principal::Authenticated(Some(name)) => match (exact(name), namespace(name)) {
            (Some(name), _) => Some(vec![Key::Identity(name)]),
            (None, Some(namespace)) => Some(vec![Key::Namespace(namespace.as_bytes())]),
            (None, None) => None,
        },
        Principal::AuthenticatedAs(names) => Some(names.iter().map(|name| Key::Identity(name)).collect()),
        _ => None,
    }
}

fn exact(text: &StringMatcher) -> Option<&[u8]> {
    match &text.pattern {
        Pattern::Exact(exact) if !text.ignore_case && !exact.is_empty() => Some(exact.as_bytes()),
        _ => None,
    }
}

/// The namespace of `.*/ns/NAMESPACE/.*`, as istiod writes it: the name has `/ns/NAMESPACE/` in it somewhere.
pub(crate) fn namespace(name: &StringMatcher) -> Option<&str> {
    let Pattern::Regex(regex) = &name.pattern else {
        return None;
    };
    let written = regex.as_str();
    let inner = written
        .strip_prefix(ANCHORED.0)
        .and_then(|rest| rest.strip_suffix(ANCHORED.1));
    let namespace = inner
        .unwrap_or(written)
        .strip_prefix(".*/ns/")?
        .strip_suffix("/.*")?;
    let is_plain = namespace
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_plain && !namespace.is_empty()).then_some(namespace)
}

/// What stands around an expression that must match the whole.
const ANCHORED: (&str, &str) = ("^(?:", ")$");
