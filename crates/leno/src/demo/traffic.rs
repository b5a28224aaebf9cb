//! What the control plane's traffic stream says, as rates over the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use leno_proto::control::{Edge, Peer};

use crate::seeing::show;
use crate::seeing::sums::Sums;

/// Rates are over this long.
const WINDOW: Duration = Duration::from_secs(5);

/// One line of the view: a caller and a called version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeName {
    pub source: String,
    pub destination: String,
}

/// Sums since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub sums: Sums,
    service: String,
    principal: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: EdgeName,
    /// Of what the caller asks of the service; None: nothing.
    pub share: Option<f64>,
    pub per_second: f64,
    /// Share of the window's requests that succeeded; None: there were none.
    pub success: Option<f64>,
    pub p50: Option<Duration>,
    pub p95: Option<Duration>,
    pub p99: Option<Duration>,
    /// None: nobody was reached.
    pub mtls: Option<bool>,
    /// The called side's SPIFFE id, as recorded in the handshake.
    pub principal: String,
    pub total: Sums,
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
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    pub fn totals(&self) -> impl Iterator<Item = (&EdgeName, &Totals)> {
        self.samples.back().into_iter().flat_map(|(_, sums)| sums)
    }

    pub fn rows(&self) -> Vec<Row> {
        let (Some((from, before)), Some((to, after))) = (self.samples.front(), self.samples.back()) else {
            return Vec::new();
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        let grown: BTreeMap<&EdgeName, Sums> = after
            .iter()
            .map(|(name, now)| {
                let nothing = Sums::default();
                let earlier = before.get(name).map_or(&nothing, |totals| &totals.sums);
                (name, now.sums.since(earlier))
            })
            .collect();
        let asked = |source: &str, service: &str| -> u64 {
            let same = after
                .iter()
                .filter(|(name, totals)| name.source == source && totals.service == service);
            same.filter_map(|(name, _)| grown.get(name))
                .map(|sums| sums.requests)
                .sum()
        };
        let rows = after.iter().map(|(name, now)| {
            let grown = grown.get(name).cloned().unwrap_or_default();
            row(name, now, &grown, asked(&name.source, &now.service), seconds)
        });
        rows.collect()
    }
}

impl Totals {
    fn add(&mut self, edge: &Edge) {
        self.sums.add(edge);
        self.service.clone_from(&edge.destination_service);
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
        // Nobody was reached, or somebody outside.
        destination = show::service(&edge.destination_service);
    }
    EdgeName { source, destination }
}

fn row(name: &EdgeName, now: &Totals, grown: &Sums, asked: u64, seconds: f64) -> Row {
    Row {
        name: name.clone(),
        share: (asked > 0).then(|| grown.requests as f64 / asked as f64),
        per_second: if seconds > 0.0 {
            grown.requests as f64 / seconds
        } else {
            0.0
        },
        success: grown.success(),
        p50: grown.quantile(0.50),
        p95: grown.quantile(0.95),
        p99: grown.quantile(0.99),
        mtls: match (grown.plaintext, now.principal.is_empty()) {
            (0, true) => None,
            (plaintext, _) => Some(plaintext == 0),
        },
        principal: now.principal.clone(),
        total: now.sums.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(requests: u64, failures: u64, mtls: bool) -> Edge {
        let peer = |app: &str| {
            Some(Peer {
                app: app.into(),
                version: "v1".into(),
                workload: format!("{app}-v1"),
                principal: if mtls {
                    format!("spiffe://m/{app}")
                } else {
                    String::new()
                },
                ..Peer::default()
            })
        };
        Edge {
            source: peer("a"),
            destination: peer("b"),
            destination_service: "b.default.svc.cluster.local".into(),
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
        assert_eq!(rows[0].mtls, Some(true));
    }

    #[test]
    fn one_plaintext_request_in_the_window_shows() {
        let start = Instant::now();
        let mut traffic = Traffic::default();
        traffic.add(start, &[edge(100, 0, true)]);
        traffic.add(
            start + Duration::from_secs(1),
            &[edge(110, 0, true), edge(1, 0, false)],
        );
        assert_eq!(traffic.rows()[0].mtls, Some(false));
    }

    #[test]
    fn shares_are_of_the_service_and_who_does_not_answer_is_named() {
        let mut traffic = Traffic::default();
        let mut second = edge(30, 0, true);
        if let Some(peer) = &mut second.destination {
            peer.version = "v2".into();
        }
        let unanswered = Edge {
            destination: None,
            ..edge(10, 10, false)
        };
        let now = Instant::now();
        traffic.add(now, &[]);
        traffic.add(
            now + Duration::from_secs(1),
            &[edge(60, 0, true), second, unanswered],
        );
        let rows = traffic.rows();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.name.destination.as_str(), row.share.unwrap(), row.mtls))
            .collect();
        assert_eq!(
            shown,
            [
                ("b v1", 0.6, Some(true)),
                ("b v2", 0.3, Some(true)),
                ("b.default", 0.1, None)
            ]
        );
    }
}
