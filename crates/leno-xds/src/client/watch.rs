//! One type's subscriptions and what is known of each name.

use std::collections::{BTreeMap, BTreeSet};

use leno_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{Lookup, is_whole};
use crate::WILDCARD;

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What is asked for, with [`WILDCARD`] as a name among the others.
    wanted: BTreeSet<String>,
    /// What is in force: name to version.
    kept: BTreeMap<String, String>,
    /// Answered with "there is none".
    absent: BTreeSet<String>,
    /// Answered only with what could not be taken.
    rejected: BTreeSet<String>,
    /// Not yet told to the server.
    to_subscribe: BTreeSet<String>,
    to_unsubscribe: BTreeSet<String>,
    /// Whether this type was asked for on the current stream: its first request is special.
    opened: bool,
}

impl Watch {
    pub(super) fn subscribe(&mut self, name: &str) {
        if self.wanted.insert(name.to_owned()) {
            // If the unsubscription has not gone out yet, the server must still learn that we have forgotten
            // everything. Of a name, a re-subscription tells it. A wildcard repeated tells it nothing, so that
            // one is taken back and made anew in the same request.
            if name != WILDCARD {
                self.to_unsubscribe.remove(name);
            }
            self.to_subscribe.insert(name.to_owned());
        }
    }

    /// Returns the resources that are no longer kept.
    pub(super) fn unsubscribe(&mut self, name: &str) -> Vec<String> {
        if !self.wanted.remove(name) {
            return Vec::new();
        }
        self.to_subscribe.remove(name);
        self.to_unsubscribe.insert(name.to_owned());
        let forgotten: Vec<String> = self.kept.keys().filter(|n| !self.wants(n)).cloned().collect();
        for name in &forgotten {
            self.kept.remove(name);
        }
        self.absent.remove(name);
        self.rejected.remove(name);
        forgotten
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.wanted.contains(name) || self.wanted.contains(WILDCARD)
    }

    /// Whether the server knows that this is wanted. What it sent before it knew (for an earlier subscription)
    /// is not taken: it no longer counts us as having it and would not tell us of its end.
    pub(super) fn accepts(&self, name: &str) -> bool {
        let told = |name: &str| self.wanted.contains(name) && !self.to_subscribe.contains(name);
        told(name) || told(WILDCARD)
    }

    /// The same of a name that is asked for by itself, whatever the wildcard brings.
    pub(super) fn accepts_alone(&self, name: &str) -> bool {
        self.wanted.contains(name) && !self.to_subscribe.contains(name)
    }

    /// Whether a removal of this matters. It does even if the subscription that it answers has been replaced by
    /// another: the server counts us as not having it from now on.
    pub(super) fn concerns(&self, name: &str) -> bool {
        self.kept.contains_key(name) || self.wanted.contains(name)
    }

    pub(super) fn lookup(&self, name: &str) -> Lookup {
        if self.kept.contains_key(name) {
            Lookup::Present
        } else if !self.wanted.contains(name) {
            Lookup::Unsubscribed
        } else if self.absent.contains(name) {
            Lookup::Absent
        } else if self.rejected.contains(name) {
            Lookup::Rejected
        } else {
            Lookup::Pending
        }
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub(super) fn restore(&mut self, name: &str, version: &str) {
        if self.wants(name) {
            self.kept.insert(name.to_owned(), version.to_owned());
        }
    }

    /// Everything anew, with the versions that are in force.
    pub(super) fn first_request(&mut self, type_url: &str) -> Option<DeltaDiscoveryRequest> {
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        self.opened = !self.wanted.is_empty();
        // As Envoy asks for all of these: by no name.
        let only_all = is_whole(type_url) && self.wanted.iter().all(|name| name == WILDCARD);
        self.opened.then(|| DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: match only_all {
                true => Vec::new(),
                false => self.wanted.iter().cloned().collect(),
            },
            initial_resource_versions: self.kept.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            ..Default::default()
        })
    }

    pub(super) fn next_request(&mut self, type_url: &str) -> Option<DeltaDiscoveryRequest> {
        if !self.opened {
            // An empty first request would be the wildcard: `first_request` sends none but for it.
            return self.first_request(type_url);
        }
        let subscribe = std::mem::take(&mut self.to_subscribe);
        let unsubscribe = std::mem::take(&mut self.to_unsubscribe);
        (!subscribe.is_empty() || !unsubscribe.is_empty()).then(|| DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: subscribe.into_iter().collect(),
            resource_names_unsubscribe: unsubscribe.into_iter().collect(),
            ..Default::default()
        })
    }

    /// A response has been tried: remembers what is in force now.
    pub(super) fn settle(
        &mut self,
        versions: Vec<(String, String)>,
        removed: Vec<String>,
        is_bad: impl Fn(&str) -> bool,
    ) {
        for (name, version) in versions {
            if !self.accepts(&name) {
                continue; // unsubscribed while it was being compiled
            }
            self.absent.remove(&name);
            if is_bad(&name) {
                self.rejected.insert(name);
            } else {
                self.rejected.remove(&name);
                self.kept.insert(name, version);
            }
        }
        for name in removed {
            self.expire(&name);
        }
    }

    /// There is none (any more).
    pub(super) fn expire(&mut self, name: &str) {
        self.kept.remove(name);
        self.rejected.remove(name);
        if self.wanted.contains(name) {
            self.absent.insert(name.to_owned());
        }
    }
}
