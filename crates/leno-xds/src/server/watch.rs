//! One type of one stream: what is asked for, and what the client has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leno_proto::type_url;

use super::ack::Acks;
use super::{Resource, Wanted};

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Asked for by name.
    pub(super) names: BTreeSet<String>,
    pub(super) wildcard: bool,
    /// What the client has, or has been sent.
    has: BTreeMap<Arc<str>, Known>,
    /// Asked for and not answered.
    due: BTreeMap<String, Due>,
    wildcard_due: bool,
    pub(super) acks: Acks,
    /// Anything was ever sent.
    pub(super) answered: bool,
    /// State of the world: names were given once, so that none any more means none, not all.
    pub(super) named: bool,
    /// State of the world: the response that an acknowledgement must be of.
    pub(super) last_nonce: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The client waits for an answer, whatever it has.
    Always,
    /// The client said which version it has.
    IfDifferent,
}

#[derive(Debug)]
enum Known {
    /// From before this stream.
    Version(String),
    Sent(Arc<Resource>),
}

// === impl Watch ===

impl Watch {
    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            wildcard: self.wildcard_due,
            names: self.due.keys().cloned().collect(),
        }
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.has.keys().map(|n| &**n)
    }

    /// The version that the client has in force for certain.
    pub(super) fn acknowledged(&self, name: &str) -> Option<&str> {
        let known = self.has.get(name)?;
        self.acks.has_taken(name).then(|| known.version())
    }

    /// All that has been sent, as it was sent.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.has.values().filter_map(|k| match k {
            Known::Sent(resource) => Some(resource),
            Known::Version(_) => None,
        })
    }

    /// Whether the client has been told all that there is to tell: by this stream, or by one before it.
    pub(super) fn is_told(&self) -> bool {
        self.answered || !self.has.is_empty() && self.due.is_empty() && !self.wildcard_due
    }

    /// The client comes from another stream and has this.
    pub(super) fn has_already(&mut self, name: String, version: String) {
        self.has.insert(name.into(), Known::Version(version));
    }

    pub(super) fn subscribe(&mut self, name: String) {
        self.due.insert(name.clone(), Due::Always);
        self.names.insert(name);
    }

    pub(super) fn subscribe_all(&mut self) {
        self.wildcard = true;
        self.wildcard_due = true;
        // What is still on its way was perhaps sent for a subscription that has ended since; but now the client
        // will take it, so it must be told if that is gone or has changed.
        for name in self.acks.in_flight() {
            let unknown = || Known::Version(String::new());
            self.has.entry(name.clone()).or_insert_with(unknown);
        }
    }

    /// Of what is due, the client need not be told what it has already.
    pub(super) fn trust_versions(&mut self) {
        let has = &self.has;
        for (name, due) in &mut self.due {
            if has.contains_key(name.as_str()) {
                *due = Due::IfDifferent;
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        if !self.names.remove(name) {
            return;
        }
        if self.wildcard {
            // The client no longer knows whether it still has it: it is to be told.
            self.due.insert(name.to_owned(), Due::Always);
        } else {
            self.due.remove(name);
            self.forget(name);
        }
    }

    pub(super) fn unsubscribe_all(&mut self) {
        self.wildcard = false;
        self.wildcard_due = false;
        self.due.retain(|name, _| self.names.contains(name));
        let dropped: Vec<_> = self.known().filter(|n| !self.wants(n)).map(Arc::from).collect();
        for name in dropped {
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &str) {
        self.has.remove(name);
        self.acks.forget(name);
    }

    /// A response with these goes out.
    pub(super) fn sent(&mut self, nonce: u64, names: Vec<Arc<str>>) {
        let has = &self.has;
        self.acks.sent(nonce, names, |name| has.contains_key(name));
        self.answered = true;
    }

    /// Whether the client must be told; remembers that it will have been.
    pub(super) fn take(&mut self, resource: &Arc<Resource>) -> bool {
        if !self.wants(&resource.name) {
            return false;
        }
        let due = self.due.remove(&*resource.name) == Some(Due::Always);
        let same = self
            .has
            .get(&resource.name)
            .is_some_and(|known| known.version() == &*resource.version);
        self.has
            .insert(resource.name.clone(), Known::Sent(resource.clone()));
        due || !same
    }

    /// Whether the client must be told that there is none.
    pub(super) fn drop(&mut self, name: &str) -> bool {
        let due = self.due.remove(name) == Some(Due::Always);
        let had = self.has.contains_key(name);
        self.forget(name);
        due || had
    }

    pub(super) fn take_wildcard(&mut self) -> bool {
        std::mem::take(&mut self.wildcard_due)
    }

    /// The clusters of these names were sent: Envoy warms them and waits for their endpoints, which it may
    /// think it has.
    pub(super) fn tell_again(&mut self, names: &[Arc<str>]) {
        for name in names {
            if self.has.contains_key(name) && self.wants(name) {
                self.due.insert(name.to_string(), Due::Always);
            }
        }
    }
}

// === impl Known ===

impl Known {
    fn version(&self) -> &str {
        match self {
            Self::Version(version) => version,
            Self::Sent(resource) => &resource.version,
        }
    }
}

/// Whether a first request without names means all of the type. The protocol says so of listeners and clusters;
/// Istio of all but those that are always asked for by name.
pub(super) fn legacy_wildcard(type_url: &str) -> bool {
    !matches!(
        type_url,
        type_url::CLUSTER_LOAD_ASSIGNMENT
            | type_url::ROUTE_CONFIGURATION
            | type_url::VIRTUAL_HOST
            | type_url::SECRET
            | type_url::TYPED_EXTENSION_CONFIG
    )
}
