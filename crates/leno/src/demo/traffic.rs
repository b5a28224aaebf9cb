//! What the control plane's traffic stream says, as rates over the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use leno_proto::control::{Edge, Peer};
use leno_telemetry::metrics::LATENCY_BOUNDS_US;

/// Rates are over this long.
const WINDOW: Duration = Duration::from_secs(5);

/// One line of the view: a caller and a called version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeName {
    pub source: String,
    pub destination: String,
}

/// Sums since the beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub requests: u64,
    pub failures: u64,
    pub plaintext: u64,
    pub latency: Vec<u64>,
    pub principal: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: EdgeName,
    pub per_second: f64,
    /// Share of the window's requests that succeeded; None: there were none.
    pub success: Option<f64>,
    pub p50: Option<Duration>,
    pub p99: Option<Duration>,
    pub mtls: bool,
    /// The called side's SPIFFE id, as recorded in the handshake.
    pub principal: String,
    pub total: u64,
}

#[derive(Debug, Default)]
pub struct Traffic {
    samples: VecDeque<(Instant, BTreeMap<EdgeName, Totals>)>,
}

impl Traffic {
    /// The newest sums. `now` only moves forward.
    pub fn add(&mut self, now: Instant, edges: &[Edge]) {
        let mut sums: BTreeMap<EdgeName, Totals> = BTreeMap::new();
        for edge in edges.iter().filter(|e| e.reporter == "source") {
            sums.entry(name(edge)).or_default().add(edge);
        }
        self.samples.push_back((now, sums));
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    pub fn totals(&self) -> impl Iterator<Item = (&EdgeName, &Totals)> {
        self.samples.back().into_iter().flat_map(|(_, sums)| sums)
    }

    pub fn rows(&self) -> Vec<Row> {
        let (Some((from, before)), Some((to, after))) = (self.samples.front(), self.samples.back()) else { return Vec::new() };
        let seconds = to.duration_since(*from).as_secs_f64();
        after.iter().map(|(name, now)| row(name, before.get(name), now, seconds)).collect()
    }
}

impl Totals {
    fn add(&mut self, edge: &Edge) {
        self.requests += edge.requests;
        self.failures += edge.failures;
        self.plaintext += if edge.mtls { 0 } else { edge.requests };
        self.latency.resize(self.latency.len().max(edge.latency.len()), 0);
        for (sum, count) in self.latency.iter_mut().zip(&edge.latency) {
            *sum += count;
        }
        if let Some(peer) = edge.destination.as_ref().filter(|p| !p.principal.is_empty()) {
            self.principal.clone_from(&peer.principal);
        }
    }
}

fn name(edge: &Edge) -> EdgeName {
    let show = |peer: Option<&Peer>| match peer {
        Some(p) if p.version.is_empty() || p.app.is_empty() => p.app.clone(),
        Some(p) => format!("{} {}", p.app, p.version),
        None => String::new(),
    };
    let source = edge.source.as_ref().map_or_else(String::new, |p| p.app.clone());
    let mut destination = show(edge.destination.as_ref());
    if destination.is_empty() || destination == "unknown" {
        destination.clone_from(&edge.destination_service);
    }
    EdgeName { source, destination }
}

fn row(name: &EdgeName, before: Option<&Totals>, now: &Totals, seconds: f64) -> Row {
    let none = Totals::default();
    let before = before.unwrap_or(&none);
    let requests = now.requests.saturating_sub(before.requests);
    let failures = now.failures.saturating_sub(before.failures);
    let earlier = before.latency.iter().chain(std::iter::repeat(&0));
    let latency: Vec<u64> = now.latency.iter().zip(earlier).map(|(n, b)| n.saturating_sub(*b)).collect();
    Row {
        name: name.clone(),
        per_second: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
        success: (requests > 0).then(|| 1.0 - failures as f64 / requests as f64),
        p50: quantile(&latency, 0.50),
        p99: quantile(&latency, 0.99),
        mtls: now.requests > 0 && now.plaintext == before.plaintext,
        principal: now.principal.clone(),
        total: now.requests,
    }
}

/// Linear within the bucket that holds the quantile.
pub fn quantile(counts: &[u64], q: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if below + count >= rank && count > 0.0 {
            let low = at.checked_sub(1).and_then(|i| LATENCY_BOUNDS_US.get(i)).map_or(0.0, |b| *b as f64);
            let high = LATENCY_BOUNDS_US.get(at).map_or(low * 2.0, |b| *b as f64);
            let share = ((rank - below) / count).clamp(0.0, 1.0);
            return Some(Duration::from_micros((low + (high - low) * share) as u64));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(requests: u64, failures: u64, mtls: bool) -> Edge {
        let peer = |app: &str| Some(Peer { app: app.into(), version: "v1".into(), ..Peer::default() });
        Edge {
            source: peer("a"),
            destination: peer("b"),
            reporter: "source".into(),
            requests,
            failures,
            mtls,
            ..Edge::default()
        }
    }

    #[test]
    fn rates_are_over_the_window() {
        let start = Instant::now();
        let mut traffic = Traffic::default();
        traffic.add(start, &[edge(100, 0, true)]);
        traffic.add(start + Duration::from_secs(2), &[edge(140, 10, true)]);
        let rows = traffic.rows();
        assert_eq!(rows[0].per_second, 20.0);
        assert_eq!(rows[0].success, Some(0.75));
        assert!(rows[0].mtls);
    }

    #[test]
    fn one_plaintext_request_in_the_window_shows() {
        let start = Instant::now();
        let mut traffic = Traffic::default();
        traffic.add(start, &[edge(100, 0, true)]);
        traffic.add(start + Duration::from_secs(1), &[edge(110, 0, true), edge(1, 0, false)]);
        assert!(!traffic.rows()[0].mtls);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut counts = vec![0; LATENCY_BOUNDS_US.len() + 1];
        counts[2] = 100;
        let p50 = quantile(&counts, 0.5).unwrap().as_micros() as u64;
        assert!(LATENCY_BOUNDS_US[1] <= p50 && p50 <= LATENCY_BOUNDS_US[2]);
        assert_eq!(quantile(&[0, 0], 0.5), None);
    }
}
