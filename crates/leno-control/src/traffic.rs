//! What all proxies have reported of their traffic, such that sums never fall.
//!
//! A proxy reports its counters since its own start, again and again. When it is gone, or has begun again at zero,
//! what it counted stays: it is folded into one sum for each edge.

use std::collections::{BTreeMap, HashMap, VecDeque};

use leno_proto::control::{Edge, Peer};

/// Proxies that are gone and may come back with the counters they had, because only their stream broke.
const MOST_GONE: usize = 1024;
/// Edges of proxies that are gone for good; more of them are summed up without names.
const MOST_FOLDED: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// By node id, as each reported last.
    reported: HashMap<String, Vec<Edge>>,
    /// Those of them without a stream, the longest first.
    gone: VecDeque<String>,
    folded: BTreeMap<EdgeKey, Edge>,
    nameless: Option<Edge>,
}

/// What tells edges apart: all but the counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct EdgeKey {
    service: String,
    reporter: String,
    protocol: String,
    mtls: bool,
    source: PeerKey,
    destination: PeerKey,
}

/// App, version, namespace, workload and principal.
type PeerKey = [String; 5];

// === impl Traffic ===

impl Traffic {
    pub(crate) fn report(&mut self, node: &str, edges: Vec<Edge>) {
        let before = self.reported.remove(node).unwrap_or_default();
        if has_begun_again(&before, &edges) {
            self.fold(before);
        }
        self.reported.insert(node.to_owned(), edges);
    }

    /// The proxy's stream has begun.
    pub(crate) fn arrived(&mut self, node: &str) {
        self.gone.retain(|gone| gone != node);
    }

    /// The proxy's stream has ended.
    pub(crate) fn ended(&mut self, node: &str) {
        if !self.reported.contains_key(node) {
            return;
        }
        self.gone.push_back(node.to_owned());
        if self.gone.len() > MOST_GONE
            && let Some(longest) = self.gone.pop_front()
            && let Some(edges) = self.reported.remove(&longest)
        {
            self.fold(edges);
        }
    }

    /// Several may be of the same edge: they are to be added.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let reported = self.reported.values().flatten();
        let folded = self.folded.values().chain(&self.nameless);
        reported.chain(folded).cloned().collect()
    }

    fn fold(&mut self, edges: Vec<Edge>) {
        for edge in edges {
            let key = EdgeKey::of(&edge);
            if self.folded.contains_key(&key) || self.folded.len() < MOST_FOLDED {
                add(self.folded.entry(key).or_insert_with(|| nothing_of(&edge)), &edge);
            } else {
                add(self.nameless.get_or_insert_default(), &edge);
            }
        }
    }
}

// === impl EdgeKey ===

impl EdgeKey {
    fn of(edge: &Edge) -> Self {
        Self {
            service: edge.destination_service.clone(),
            reporter: edge.reporter.clone(),
            protocol: edge.protocol.clone(),
            mtls: edge.mtls,
            source: peer_key(edge.source.as_ref()),
            destination: peer_key(edge.destination.as_ref()),
        }
    }
}

fn peer_key(peer: Option<&Peer>) -> PeerKey {
    let Peer {
        app,
        version,
        namespace,
        workload,
        principal,
    } = peer.cloned().unwrap_or_default();
    [app, version, namespace, workload, principal]
}

/// Counters only grow while a proxy runs.
fn has_begun_again(before: &[Edge], now: &[Edge]) -> bool {
    let now: HashMap<EdgeKey, u64> = now.iter().map(|e| (EdgeKey::of(e), e.requests)).collect();
    let mut counted = before.iter().filter(|e| e.requests > 0);
    counted.any(|e| {
        now.get(&EdgeKey::of(e))
            .is_none_or(|requests| *requests < e.requests)
    })
}

fn nothing_of(edge: &Edge) -> Edge {
    Edge {
        requests: 0,
        failures: 0,
        latency: Vec::new(),
        bytes_sent: 0,
        bytes_received: 0,
        latency_sum_us: 0,
        ..edge.clone()
    }
}

fn add(sum: &mut Edge, edge: &Edge) {
    sum.requests = sum.requests.saturating_add(edge.requests);
    sum.failures = sum.failures.saturating_add(edge.failures);
    sum.bytes_sent = sum.bytes_sent.saturating_add(edge.bytes_sent);
    sum.bytes_received = sum.bytes_received.saturating_add(edge.bytes_received);
    sum.latency_sum_us = sum.latency_sum_us.saturating_add(edge.latency_sum_us);
    if sum.latency.len() < edge.latency.len() {
        sum.latency.resize(edge.latency.len(), 0);
    }
    for (sum, count) in sum.latency.iter_mut().zip(&edge.latency) {
        *sum = sum.saturating_add(*count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(service: &str, requests: u64) -> Edge {
        Edge {
            destination_service: service.to_owned(),
            requests,
            latency: vec![requests],
            ..Default::default()
        }
    }

    fn sum(traffic: &Traffic) -> u64 {
        traffic.edges().iter().map(|e| e.requests).sum()
    }

    #[test]
    fn a_proxy_that_begins_again_at_zero_takes_nothing_away() {
        let mut traffic = Traffic::default();
        traffic.report("a", vec![edge("x", 7)]);
        traffic.report("a", vec![edge("x", 9)]);
        assert_eq!(sum(&traffic), 9);
        traffic.ended("a");
        traffic.arrived("a");
        traffic.report("a", vec![edge("x", 1)]);
        assert_eq!(sum(&traffic), 10);
        traffic.report("a", vec![]);
        assert_eq!(sum(&traffic), 10);
        assert_eq!(traffic.edges()[0].latency, [10]);
    }

    #[test]
    fn a_stream_that_breaks_counts_nothing_twice() {
        let mut traffic = Traffic::default();
        traffic.report("a", vec![edge("x", 7)]);
        traffic.ended("a");
        assert_eq!(sum(&traffic), 7);
        traffic.arrived("a");
        traffic.report("a", vec![edge("x", 8), edge("y", 1)]);
        assert_eq!(sum(&traffic), 9);
    }

    #[test]
    fn what_is_kept_of_the_gone_is_bounded_and_complete() {
        let mut traffic = Traffic::default();
        let many = MOST_GONE + MOST_FOLDED + 100;
        for number in 0..many {
            let node = number.to_string();
            traffic.report(&node, vec![edge(&node, 1)]);
            traffic.ended(&node);
        }
        assert_eq!(sum(&traffic), many as u64);
        assert_eq!(traffic.edges().len(), MOST_GONE + MOST_FOLDED + 1);
    }
}
