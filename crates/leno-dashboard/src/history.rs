//! What went over each link in the last two minutes, from sums that only grow.
//!
//! Proxies report their sums twice a second and somebody looks once a second: a single second's difference jumps. So
//! rates are over [`WINDOW`], and the points of a curve over [`SMOOTH`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use leno_proto::control::{Edge, Peer};
use leno_telemetry::metrics::LATENCY_BOUNDS_US;
use serde::Serialize;

/// Rates, shares and quantiles are over this long.
pub const WINDOW: Duration = Duration::from_secs(10);
const SMOOTH: Duration = Duration::from_secs(4);
const KEPT: Duration = Duration::from_secs(120);
/// After so long without a look there is no curve to go on with.
const LONGEST_GAP: Duration = Duration::from_secs(15);
/// Differences kept, over all links and looks: about 20 MB. With more, the oldest go first.
const MOST_KEPT: usize = 60_000;

/// One end of a link, as proxies name it; empty where they do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct End {
    pub namespace: String,
    pub workload: String,
    pub app: String,
    pub version: String,
    /// SPIFFE id.
    pub principal: String,
}

/// Who calls whom as what.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkKey {
    pub from: End,
    pub to: End,
    /// The host that was called.
    pub service: String,
    /// `http`, `grpc` or `tcp`.
    pub protocol: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub requests: u64,
    pub failures: u64,
    /// Answered without mTLS.
    pub plain: u64,
    /// Sent over mTLS.
    pub secure: u64,
    /// By bucket of `LATENCY_BOUNDS_US`.
    pub latency: Vec<u64>,
}

/// Golden metrics. Rates are per second, latencies in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measures {
    pub rate: f64,
    /// Share of the requests that did not fail; None: there were none.
    pub success: Option<f64>,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    /// Over mTLS, without, or unknown: nothing was answered yet.
    pub security: Security,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    Mtls,
    Plaintext,
    #[default]
    Unknown,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Seconds before the newest one.
    pub ago: f64,
    pub rate: f64,
    /// Failures a second.
    pub failures: f64,
    pub p99: Option<f64>,
}

#[derive(Debug, Default)]
pub struct History {
    sums: BTreeMap<Arc<LinkKey>, Counts>,
    /// What grew in the window, and how long that is in seconds.
    recent: BTreeMap<Arc<LinkKey>, Counts>,
    recent_seconds: f64,
    looks: VecDeque<Look>,
    newest: Option<Duration>,
}

#[derive(Debug)]
struct Look {
    at: Duration,
    seconds: f64,
    grown: Vec<(Arc<LinkKey>, Counts)>,
}

// === impl History ===

impl History {
    /// The newest sums; `now` counts from anywhere and only moves forward.
    pub fn add(&mut self, now: Duration, edges: &[Edge]) {
        let passed = self.newest.map(|newest| now.saturating_sub(newest));
        if passed.is_some_and(|passed| passed > LONGEST_GAP) {
            *self = Self::default();
        }
        let sums = sums(edges);
        if let (Some(passed), Some(_)) = (passed, self.newest) {
            self.keep(now, passed, &sums);
        }
        // Keys are shared with the looks.
        let mut shared = std::mem::take(&mut self.sums);
        for (key, counts) in sums {
            let key = shared
                .remove_entry(&key)
                .map_or_else(|| Arc::new(key), |(key, _)| key);
            self.sums.insert(key, counts);
        }
        self.newest = Some(now);
        self.sum_up(now);
    }

    fn sum_up(&mut self, now: Duration) {
        (self.recent, self.recent_seconds) = (BTreeMap::new(), 0.0);
        for look in self
            .looks
            .iter()
            .filter(|look| now.saturating_sub(look.at) < WINDOW)
        {
            self.recent_seconds += look.seconds;
            for (key, grown) in &look.grown {
                self.recent.entry(key.clone()).or_default().add(grown);
            }
        }
    }

    fn keep(&mut self, now: Duration, passed: Duration, sums: &BTreeMap<LinkKey, Counts>) {
        let grown: Vec<_> = sums
            .iter()
            .filter_map(|(key, counts)| {
                let (key, grown) = match self.sums.get_key_value(key) {
                    Some((key, before)) => (key.clone(), counts.since(before)),
                    None => (Arc::new(key.clone()), counts.clone()),
                };
                (grown.requests > 0).then_some((key, grown))
            })
            .collect();
        self.looks.push_back(Look {
            at: now,
            seconds: passed.as_secs_f64(),
            grown,
        });
        forget(&mut self.looks, now, MOST_KEPT);
    }

    /// Every link that was ever used.
    pub fn links(&self) -> impl Iterator<Item = &Arc<LinkKey>> {
        self.sums
            .iter()
            .filter(|(_, counts)| counts.requests > 0)
            .map(|(key, _)| key)
    }

    /// Of these links together.
    pub fn measures<'a>(&self, links: impl IntoIterator<Item = &'a Arc<LinkKey>>) -> Measures {
        let (mut recent, mut ever) = (Counts::default(), Counts::default());
        for key in links {
            self.recent
                .get(key)
                .into_iter()
                .for_each(|counts| recent.add(counts));
            self.sums.get(key).into_iter().for_each(|counts| ever.add(counts));
        }
        let mut measures = recent.measures(self.recent_seconds);
        if measures.security == Security::Unknown {
            measures.security = ever.security();
        }
        measures
    }

    /// The same over time, the oldest first.
    pub fn series<'a>(&self, links: impl IntoIterator<Item = &'a Arc<LinkKey>>) -> Vec<Point> {
        let links: BTreeSet<&LinkKey> = links.into_iter().map(AsRef::as_ref).collect();
        let by_look: Vec<(Duration, f64, Counts)> = self
            .looks
            .iter()
            .map(|look| {
                let mut counts = Counts::default();
                let of_links = look.grown.iter().filter(|(key, _)| links.contains(key.as_ref()));
                of_links.for_each(|(_, grown)| counts.add(grown));
                (look.at, look.seconds, counts)
            })
            .collect();
        let newest = self.newest.unwrap_or_default();
        let points = by_look.iter().enumerate().map(|(number, (at, ..))| {
            let (mut counts, mut seconds) = (Counts::default(), 0.0);
            let until = by_look.iter().take(number + 1).rev();
            for (_, of_look, grown) in until.take_while(|(then, ..)| at.saturating_sub(*then) < SMOOTH) {
                seconds += of_look;
                counts.add(grown);
            }
            let per_second = |count: u64| {
                if seconds > 0.0 {
                    count as f64 / seconds
                } else {
                    0.0
                }
            };
            Point {
                ago: newest.saturating_sub(*at).as_secs_f64(),
                rate: per_second(counts.requests),
                failures: per_second(counts.failures),
                p99: quantile(&counts.latency, 0.99),
            }
        });
        points.collect()
    }
}

/// What is too old goes, and the oldest of what is too much.
fn forget(looks: &mut VecDeque<Look>, now: Duration, most: usize) {
    let mut kept: usize = looks.iter().map(|look| look.grown.len()).sum();
    let is_old = |look: &Look| now.saturating_sub(look.at) > KEPT;
    while looks.len() > 1 && (kept > most || looks.front().is_some_and(is_old)) {
        kept -= looks.pop_front().map_or(0, |look| look.grown.len());
    }
}

/// Where both ends report, the caller's word counts: it also knows of the requests that never arrived.
fn sums(edges: &[Edge]) -> BTreeMap<LinkKey, Counts> {
    let is_told_by_source = |edge: &&Edge| edge.reporter == "source";
    let told: BTreeSet<_> = edges.iter().filter(is_told_by_source).map(workloads).collect();
    let mut sums: BTreeMap<LinkKey, Counts> = BTreeMap::new();
    for edge in edges {
        let is_anonymous = edge.source.as_ref().is_none_or(|p| p.workload.is_empty());
        if edge.reporter == "source" || is_anonymous || !told.contains(&workloads(edge)) {
            sums.entry(LinkKey::of(edge)).or_default().add(&Counts::of(edge));
        }
    }
    sums
}

/// Both ends, each by namespace and name.
fn workloads(edge: &Edge) -> [&str; 4] {
    let [source, called] = [&edge.source, &edge.destination].map(Option::as_ref);
    [
        source.map_or("", |peer| &peer.namespace),
        source.map_or("", |peer| &peer.workload),
        called.map_or("", |peer| &peer.namespace),
        called.map_or("", |peer| &peer.workload),
    ]
}

// === impl LinkKey ===

impl LinkKey {
    fn of(edge: &Edge) -> Self {
        Self {
            from: End::of(edge.source.as_ref()),
            to: End::of(edge.destination.as_ref()),
            service: edge.destination_service.clone(),
            protocol: edge.protocol.clone(),
        }
    }
}

impl End {
    fn of(peer: Option<&Peer>) -> Self {
        // What this version of the protocol does not know is no name.
        let known = |text: &String| {
            if text == "unknown" {
                String::new()
            } else {
                text.clone()
            }
        };
        peer.map_or_else(Self::default, |peer| Self {
            namespace: known(&peer.namespace),
            workload: known(&peer.workload),
            app: known(&peer.app),
            version: known(&peer.version),
            principal: peer.principal.clone(),
        })
    }
}

// === impl Counts ===

impl Counts {
    fn of(edge: &Edge) -> Self {
        Self {
            requests: edge.requests,
            failures: edge.failures,
            // What failed may never have been sent.
            plain: if edge.mtls {
                0
            } else {
                edge.requests.saturating_sub(edge.failures)
            },
            secure: if edge.mtls { edge.requests } else { 0 },
            latency: edge.latency.clone(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failures = self.failures.saturating_add(other.failures);
        self.plain = self.plain.saturating_add(other.plain);
        self.secure = self.secure.saturating_add(other.secure);
        self.latency
            .resize(self.latency.len().max(other.latency.len()), 0);
        for (sum, count) in self.latency.iter_mut().zip(&other.latency) {
            *sum = sum.saturating_add(*count);
        }
    }

    fn since(&self, before: &Self) -> Self {
        let earlier = before.latency.iter().chain(std::iter::repeat(&0));
        let latency = self.latency.iter().zip(earlier);
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
            plain: self.plain.saturating_sub(before.plain),
            secure: self.secure.saturating_sub(before.secure),
            latency: latency.map(|(now, before)| now.saturating_sub(*before)).collect(),
        }
    }

    fn security(&self) -> Security {
        match (self.plain, self.secure) {
            (0, 0) => Security::Unknown,
            (0, _) => Security::Mtls,
            _ => Security::Plaintext,
        }
    }

    fn measures(&self, seconds: f64) -> Measures {
        let requests = self.requests as f64;
        Measures {
            rate: if seconds > 0.0 { requests / seconds } else { 0.0 },
            success: (self.requests > 0).then(|| 1.0 - self.failures.min(self.requests) as f64 / requests),
            p50: quantile(&self.latency, 0.50),
            p95: quantile(&self.latency, 0.95),
            p99: quantile(&self.latency, 0.99),
            security: self.security(),
        }
    }
}

/// Milliseconds; linear within the bucket that holds the quantile.
fn quantile(counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    let rank = q * total as f64;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if below + count >= rank {
            let bound = |at: usize| LATENCY_BOUNDS_US.get(at).map(|bound| *bound as f64);
            let low = at.checked_sub(1).and_then(bound).unwrap_or(0.0);
            let high = bound(at).unwrap_or(low * 2.0);
            let share = ((rank - below) / count).clamp(0.0, 1.0);
            return Some((low + (high - low) * share) / 1000.0);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(reporter: &str, requests: u64, failures: u64, mtls: bool) -> Edge {
        let peer = |workload: &str| {
            Some(Peer {
                workload: workload.to_owned(),
                ..Peer::default()
            })
        };
        Edge {
            source: peer("a"),
            destination: peer("b"),
            reporter: reporter.to_owned(),
            requests,
            failures,
            mtls,
            latency: vec![0, requests],
            ..Edge::default()
        }
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn rates_are_what_grew_in_the_window_and_both_ends_count_once() {
        let mut history = History::default();
        let look = |n| [edge("source", n, n / 10, true), edge("destination", n, 0, true)];
        history.add(at(100), &look(1000));
        assert_eq!(history.measures(history.links()).rate, 0.0);
        history.add(at(101), &look(1020));
        history.add(at(103), &look(1060));
        let measures = history.measures(history.links());
        assert_eq!((measures.rate, measures.success), (20.0, Some(0.9)));
        assert_eq!(measures.security, Security::Mtls);
        assert!(measures.p50.is_some_and(|p50| (0.1..0.25).contains(&p50)));
    }

    #[test]
    fn one_answer_without_mtls_shows_and_failures_that_never_left_do_not() {
        let mut history = History::default();
        history.add(at(0), &[edge("source", 9, 0, true)]);
        history.add(at(1), &[edge("source", 10, 0, true), edge("source", 3, 3, false)]);
        assert_eq!(history.measures(history.links()).security, Security::Mtls);
        history.add(at(2), &[edge("source", 10, 0, true), edge("source", 4, 3, false)]);
        assert_eq!(history.measures(history.links()).security, Security::Plaintext);
    }

    #[test]
    fn a_curve_begins_anew_after_a_pause_and_memory_is_bounded() {
        let mut history = History::default();
        for second in 0..400 {
            history.add(at(second), &[edge("source", second * 5, 0, true)]);
        }
        let series = history.series(history.links());
        assert_eq!(series.len(), KEPT.as_secs() as usize + 1);
        assert!(series.iter().all(|p| p.rate == 5.0));
        history.add(at(1000), &[edge("source", 9000, 0, true)]);
        assert!(history.series(history.links()).is_empty() && history.measures(history.links()).rate == 0.0);

        let look = |second| Look {
            at: at(second),
            seconds: 1.0,
            grown: vec![Default::default(); 7],
        };
        let mut looks: VecDeque<Look> = (0..20).map(look).collect();
        forget(&mut looks, at(20), 100);
        assert_eq!(
            looks.iter().map(|look| look.at).collect::<Vec<_>>(),
            (6..20).map(at).collect::<Vec<_>>()
        );
    }
}
