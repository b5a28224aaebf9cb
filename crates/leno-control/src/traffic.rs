//! What all proxies have reported of their traffic, such that sums never fall.
//!
//! A proxy reports its counters since its own start. What it has counted since its last report is added to the sums of
//! its label sets, and stays there whatever becomes of the proxy. What is kept of proxies and of label sets is bounded,
//! the sums of all are complete: what has no room of its own is added up without labels.

use std::collections::{HashMap, VecDeque};

use leno_proto::control::Edge;
use prost::Message;

/// Proxies that are gone and may come back with the counters they had, because only their stream broke.
const MOST_GONE: usize = 1024;
/// Edges that one proxy may tell apart.
const MOST_OF_PROXY: usize = 8192;
/// Label sets that are told apart, over all proxies that ever were.
const MOST_EDGES: usize = 65_536;
/// Bytes of one label set.
const LARGEST: usize = 8192;
/// Buckets of a histogram; leno's own have 23.
const MOST_BUCKETS: usize = 64;

#[derive(Debug)]
pub(crate) struct Traffic {
    /// By node id.
    proxies: HashMap<String, Reported>,
    /// Those of them without a stream, the longest first.
    gone: VecDeque<String>,
    /// By all labels.
    routes: Sums,
    /// By who talks to whom.
    edges: Sums,
}

/// What a proxy has reported so far.
#[derive(Debug, Default)]
struct Reported {
    start: u64,
    /// By the proxy's own number, less one.
    edges: Vec<Option<Counted>>,
}

#[derive(Debug)]
struct Counted {
    /// Where it is summed up.
    route: usize,
    edge: usize,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    requests: u64,
    failures: u64,
    closed: u64,
    sent: u64,
    received: u64,
    latency_sum: u64,
    latency: Vec<u64>,
}

/// Sums by label set; the first is of what has no room.
#[derive(Debug)]
struct Sums {
    sums: Vec<Edge>,
    /// By the encoded labels.
    index: HashMap<Vec<u8>, usize>,
    most: usize,
}

/// A report that no proxy of leno's makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReport {
    #[error("edge {0} is over the limit of {MOST_OF_PROXY}")]
    Number(u32),
    #[error("edge {0} was never told with its labels")]
    Unlabelled(u32),
    #[error("edge {0} has more than {MOST_BUCKETS} latency buckets")]
    Buckets(u32),
}

// === impl Traffic ===

impl Default for Traffic {
    fn default() -> Self {
        Self {
            proxies: HashMap::new(),
            gone: VecDeque::new(),
            routes: Sums::new(MOST_EDGES),
            edges: Sums::new(MOST_EDGES),
        }
    }
}

impl Traffic {
    /// The proxy's stream has begun; `start` tells one run of it from another.
    pub(crate) fn arrived(&mut self, node: &str, start: u64) {
        self.gone.retain(|gone| gone != node);
        let reported = self.proxies.entry(node.to_owned()).or_default();
        if reported.start != start {
            *reported = Reported {
                start,
                edges: Vec::new(),
            };
        }
    }

    /// The proxy's stream has ended.
    pub(crate) fn ended(&mut self, node: &str) {
        self.gone.push_back(node.to_owned());
        if self.gone.len() > MOST_GONE
            && let Some(longest) = self.gone.pop_front()
        {
            self.proxies.remove(&longest);
        }
    }

    /// Of a proxy that has arrived; whatever else is told is not counted.
    pub(crate) fn report(&mut self, node: &str, edges: Vec<Edge>) -> Result<(), BadReport> {
        let Some(reported) = self.proxies.get_mut(node) else {
            return Ok(());
        };
        for edge in edges {
            let counted = place(reported, &edge, &mut self.routes, &mut self.edges)?;
            let now = Counters::of(&edge);
            let more = now.since(&counted.counters);
            counted.counters = now;
            self.routes.add(counted.route, &more);
            self.edges.add(counted.edge, &more);
        }
        Ok(())
    }

    /// Who talks to whom, each once; `routes`: by route, status and flags as well.
    pub(crate) fn edges(&self, routes: bool) -> Vec<Edge> {
        let sums = if routes { &self.routes } else { &self.edges };
        let counted = sums
            .sums
            .iter()
            .filter(|edge| edge.requests > 0 || edge.closed > 0);
        counted.cloned().collect()
    }
}

/// Where a proxy's edge is counted; it is new if it comes with labels.
fn place<'a>(
    reported: &'a mut Reported,
    edge: &Edge,
    routes: &mut Sums,
    edges: &mut Sums,
) -> Result<&'a mut Counted, BadReport> {
    if edge.latency.len() > MOST_BUCKETS {
        return Err(BadReport::Buckets(edge.id));
    }
    let at = (edge.id as usize).wrapping_sub(1);
    if at >= MOST_OF_PROXY {
        return Err(BadReport::Number(edge.id));
    }
    if reported.edges.len() <= at {
        reported.edges.resize_with(at + 1, || None);
    }
    let known = reported.edges.get_mut(at).ok_or(BadReport::Number(edge.id))?;
    match known {
        Some(counted) => Ok(counted),
        None if edge.source.is_none() && edge.destination.is_none() => Err(BadReport::Unlabelled(edge.id)),
        None => {
            let labels = labels(edge);
            let route = routes.place(&labels);
            let edge = edges.place(&Edge {
                route: String::new(),
                rule: 0,
                made_by: String::new(),
                code: 0,
                grpc_status: None,
                flags: String::new(),
                ..labels
            });
            Ok(known.insert(Counted {
                route,
                edge,
                counters: Counters::default(),
            }))
        }
    }
}

/// An edge with nothing counted.
fn labels(edge: &Edge) -> Edge {
    Edge {
        id: 0,
        requests: 0,
        failures: 0,
        closed: 0,
        latency: Vec::new(),
        bytes_sent: 0,
        bytes_received: 0,
        latency_sum_us: 0,
        ..edge.clone()
    }
}

// === impl Counters ===

impl Counters {
    fn of(edge: &Edge) -> Self {
        Self {
            requests: edge.requests,
            failures: edge.failures,
            closed: edge.closed,
            sent: edge.bytes_sent,
            received: edge.bytes_received,
            latency_sum: edge.latency_sum_us,
            latency: edge.latency.clone(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        let earlier = before.latency.iter().chain(std::iter::repeat(&0));
        let latency = self.latency.iter().zip(earlier);
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
            closed: self.closed.saturating_sub(before.closed),
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
            latency_sum: self.latency_sum.saturating_sub(before.latency_sum),
            latency: latency.map(|(now, before)| now.saturating_sub(*before)).collect(),
        }
    }
}

// === impl Sums ===

impl Sums {
    fn new(most: usize) -> Self {
        Self {
            sums: vec![Edge::default()],
            index: HashMap::new(),
            most,
        }
    }

    fn place(&mut self, labels: &Edge) -> usize {
        let key = labels.encode_to_vec();
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        if key.len() > LARGEST || self.sums.len() >= self.most {
            return 0;
        }
        let at = self.sums.len();
        self.sums.push(labels.clone());
        self.index.insert(key, at);
        at
    }

    fn add(&mut self, at: usize, more: &Counters) {
        let Some(sum) = self.sums.get_mut(at) else {
            return;
        };
        sum.requests = sum.requests.saturating_add(more.requests);
        sum.failures = sum.failures.saturating_add(more.failures);
        sum.closed = sum.closed.saturating_add(more.closed);
        sum.bytes_sent = sum.bytes_sent.saturating_add(more.sent);
        sum.bytes_received = sum.bytes_received.saturating_add(more.received);
        sum.latency_sum_us = sum.latency_sum_us.saturating_add(more.latency_sum);
        if sum.latency.len() < more.latency.len() {
            sum.latency.resize(more.latency.len(), 0);
        }
        for (sum, more) in sum.latency.iter_mut().zip(&more.latency) {
            *sum = sum.saturating_add(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use leno_proto::control::Peer;

    use super::*;

    fn edge(id: u32, service: &str, requests: u64) -> Edge {
        Edge {
            id,
            source: Some(Peer::default()),
            destination_service: service.to_owned(),
            requests,
            latency: vec![requests],
            ..Default::default()
        }
    }

    fn counters(id: u32, requests: u64) -> Edge {
        Edge {
            id,
            requests,
            latency: vec![requests],
            ..Default::default()
        }
    }

    fn sum(traffic: &Traffic) -> u64 {
        traffic.edges(false).iter().map(|e| e.requests).sum()
    }

    fn routes(traffic: &Traffic) -> u64 {
        traffic.edges(true).iter().map(|e| e.requests).sum()
    }

    #[test]
    fn a_proxy_that_begins_again_at_zero_takes_nothing_away() {
        let mut traffic = Traffic::default();
        traffic.arrived("a", 1);
        traffic.report("a", vec![edge(1, "x", 7)]).unwrap();
        traffic.report("a", vec![counters(1, 9)]).unwrap();
        assert_eq!(sum(&traffic), 9);
        traffic.ended("a");
        traffic.arrived("a", 2);
        assert_eq!(sum(&traffic), 9);
        traffic.report("a", vec![edge(1, "x", 12)]).unwrap();
        assert_eq!((sum(&traffic), routes(&traffic)), (21, 21));
        assert_eq!(traffic.edges(false)[0].latency, [21]);
    }

    #[test]
    fn a_stream_that_breaks_counts_nothing_twice() {
        let mut traffic = Traffic::default();
        traffic.arrived("a", 1);
        traffic.report("a", vec![edge(1, "x", 7)]).unwrap();
        traffic.ended("a");
        assert_eq!(sum(&traffic), 7);
        traffic.arrived("a", 1);
        traffic
            .report("a", vec![edge(1, "x", 8), edge(2, "y", 1)])
            .unwrap();
        assert_eq!(sum(&traffic), 9);
    }

    #[test]
    fn routes_are_told_apart_for_those_who_ask() {
        let mut traffic = Traffic::default();
        let of_rule = |id, rule, requests| Edge {
            rule,
            code: 200,
            ..edge(id, "x", requests)
        };
        for (node, requests) in [("a", 3), ("b", 4)] {
            traffic.arrived(node, 1);
            let reported = vec![of_rule(1, 1, requests), of_rule(2, 2, 1)];
            traffic.report(node, reported).unwrap();
        }
        let by_rule: Vec<_> = traffic.edges(true).iter().map(|e| (e.rule, e.requests)).collect();
        assert_eq!(by_rule, [(1, 7), (2, 2)]);
        let all = traffic.edges(false);
        assert_eq!((all.len(), all[0].requests, all[0].code), (1, 9, 0));
    }

    #[test]
    fn what_is_kept_of_the_gone_is_bounded_and_complete() {
        let mut traffic = Traffic::default();
        let many = MOST_EDGES + 100;
        for number in 0..many {
            let node = number.to_string();
            traffic.arrived(&node, 1);
            traffic.report(&node, vec![edge(1, &node, 1)]).unwrap();
            traffic.ended(&node);
        }
        assert_eq!((sum(&traffic), routes(&traffic)), (many as u64, many as u64));
        assert_eq!(traffic.edges(false).len(), MOST_EDGES);
        assert_eq!(traffic.proxies.len(), MOST_GONE);
    }

    #[test]
    fn a_report_over_the_bounds_is_refused() {
        let mut traffic = Traffic::default();
        traffic.arrived("a", 1);
        let mut report = |edge| traffic.report("a", vec![edge]).unwrap_err();
        assert_eq!(report(edge(0, "x", 1)), BadReport::Number(0));
        assert_eq!(report(edge(8193, "x", 1)), BadReport::Number(8193));
        assert_eq!(report(counters(1, 1)), BadReport::Unlabelled(1));
        let buckets = Edge {
            latency: vec![0; 65],
            ..edge(1, "x", 1)
        };
        assert_eq!(report(buckets), BadReport::Buckets(1));
    }
}
