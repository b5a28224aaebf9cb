//! The books of a stream: what was sent on it, and why it may be sent again.

use std::collections::{BTreeMap, BTreeSet};

use leno_proto::envoy::service::discovery::v3::DiscoveryRequest;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_xds::WILDCARD;
use prost::Message;

pub(crate) const TYPES: [&str; 4] = [CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION];
pub(crate) const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

pub(crate) type Key = (&'static str, &'static str);

/// A resource's body; the name is the first field, as of every type's.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Body {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "1000")]
    pub(crate) number: u64,
    /// The client cannot take it.
    #[prost(bool, tag = "1001")]
    pub(crate) bad: bool,
}

/// How often what has been sent on this stream, and why it may be sent again.
#[derive(Default)]
pub(crate) struct Accounts {
    /// By name, or by the wildcard.
    pub(crate) asked: BTreeMap<Key, usize>,
    pub(crate) clusters_told: BTreeMap<&'static str, usize>,
    pub(crate) sent: BTreeMap<(Key, u64), usize>,
    /// What the client came with.
    pub(crate) initial: BTreeMap<Key, u64>,
    /// Of a state of the world: the last response, and whether anything was asked since.
    pub(crate) whole: BTreeMap<&'static str, (Vec<Body>, bool)>,
    /// Of a state of the world: what was asked for last, and the last nonce.
    pub(crate) names: BTreeMap<&'static str, BTreeSet<String>>,
    pub(crate) nonces: BTreeMap<&'static str, String>,
}

pub(crate) fn key(type_url: &str, name: &str) -> Key {
    let kind = TYPES.into_iter().find(|t| *t == type_url).unwrap();
    let name = [WILDCARD].into_iter().chain(NAMES).find(|n| *n == name);
    (kind, name.unwrap())
}

// === impl Accounts ===

impl Accounts {
    /// The names that a request adds; one that answers an old response means nothing.
    pub(crate) fn newly_asked(&mut self, kind: &'static str, request: &DiscoveryRequest) -> Vec<String> {
        let last = self.nonces.get(kind);
        if self.names.contains_key(kind) && last.is_some_and(|last| *last != request.response_nonce) {
            return Vec::new();
        }
        let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        let before = self.names.insert(kind, names.clone()).unwrap_or_default();
        names.difference(&before).cloned().collect()
    }

    /// Fails if this repeats what the client has been sent on this stream, or came with, and did not ask again.
    pub(crate) fn count(&mut self, kind: &'static str, bodies: impl Iterator<Item = Body>, repeats: bool) {
        for body in bodies {
            let key = key(kind, &body.name);
            let endpoints = kind == CLUSTER_LOAD_ASSIGNMENT;
            // Endpoints are told on every new stream.
            let had = self.initial.get(&key) == Some(&body.number) && !endpoints;
            if self
                .initial
                .get(&key)
                .is_some_and(|number| *number != body.number)
            {
                self.initial.remove(&key);
            }
            let asked = |name: &'static str| self.asked.get(&(kind, name)).copied().unwrap_or_default();
            let with_cluster = match endpoints {
                true => self.clusters_told.get(key.1).copied().unwrap_or_default(),
                false => 0,
            };
            let allowed = usize::from(!had) + asked(key.1) + asked(WILDCARD) + with_cluster;
            let sent = self.sent.entry((key, body.number)).or_default();
            *sent += 1;
            assert!(
                repeats || *sent <= allowed,
                "{key:?} {} is sent {sent} times, {allowed} allowed",
                body.number
            );
            if kind == CLUSTER {
                *self.clusters_told.entry(key.1).or_default() += 1;
            }
        }
    }

    /// Fails if all there is says nothing that was not said before, and nobody asked.
    pub(crate) fn count_whole(&mut self, kind: &'static str, bodies: Vec<Body>) {
        if kind == CLUSTER {
            for body in &bodies {
                *self.clusters_told.entry(key(kind, &body.name).1).or_default() += 1;
            }
        }
        let before = self.whole.insert(kind, (bodies, false));
        if let Some((before, false)) = before {
            assert_ne!(before, self.whole[kind].0, "{kind} is said again");
        }
    }
}
