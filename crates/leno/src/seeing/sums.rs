//! What was counted of requests and connections, and what follows from it.

use std::time::Duration;

use leno_proto::control::Edge;
use leno_telemetry::metrics::LATENCY_BOUNDS_US;

/// Sums since some beginning, or their growth between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of HTTP.
    pub requests: u64,
    pub failures: u64,
    /// Requests and connections without mutual TLS.
    pub plaintext: u64,
    /// Counts by [`LATENCY_BOUNDS_US`].
    pub latency: Vec<u64>,
    /// TCP connections.
    pub opened: u64,
    pub closed: u64,
    /// Connections that did not end well.
    pub broken: u64,
    /// Bytes of bodies and of connections, as the called side sees them.
    pub sent: u64,
    pub received: u64,
}

// === impl Sums ===

impl Sums {
    pub fn add(&mut self, edge: &Edge) {
        if edge.protocol == "tcp" {
            self.opened += edge.requests;
            self.closed += edge.closed;
            self.broken += edge.failures;
        } else {
            self.requests += edge.requests;
            self.failures += edge.failures;
        }
        self.plaintext += plaintext(edge);
        self.sent += edge.bytes_sent;
        self.received += edge.bytes_received;
        if self.latency.len() < edge.latency.len() {
            self.latency.resize(edge.latency.len(), 0);
        }
        for (sum, count) in self.latency.iter_mut().zip(&edge.latency) {
            *sum += count;
        }
    }

    /// The growth since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.latency.iter().chain(std::iter::repeat(&0));
        let latency = self.latency.iter().zip(earlier);
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
            plaintext: self.plaintext.saturating_sub(before.plaintext),
            latency: latency.map(|(now, before)| now.saturating_sub(*before)).collect(),
            opened: self.opened.saturating_sub(before.opened),
            closed: self.closed.saturating_sub(before.closed),
            broken: self.broken.saturating_sub(before.broken),
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.opened == 0 && self.closed == 0
    }

    /// Connections that are open, of sums since the beginning.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// The share of requests that succeeded; None: there were none.
    pub fn success(&self) -> Option<f64> {
        let good = self.requests.saturating_sub(self.failures);
        (self.requests > 0).then(|| good as f64 / self.requests as f64)
    }

    /// Linear within the bucket that holds the quantile.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total: u64 = self.latency.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q * total as f64;
        let mut below = 0.0;
        for (at, count) in self.latency.iter().enumerate() {
            let count = *count as f64;
            if below + count >= rank && count > 0.0 {
                let bound = |at: usize| LATENCY_BOUNDS_US.get(at).map(|bound| *bound as f64);
                let low = at.checked_sub(1).and_then(bound).unwrap_or(0.0);
                let high = bound(at).unwrap_or(low * 2.0);
                let share = ((rank - below) / count).clamp(0.0, 1.0);
                return Some(Duration::from_micros((low + (high - low) * share) as u64));
            }
            below += count;
        }
        None
    }
}

/// What failed before anybody was reached has not gone without mutual TLS: it has not gone.
fn plaintext(edge: &Edge) -> u64 {
    let reached = edge
        .destination
        .as_ref()
        .is_some_and(|peer| !peer.workload.is_empty());
    match (edge.mtls, reached) {
        (true, _) => 0,
        (false, true) => edge.requests,
        (false, false) => edge.requests.saturating_sub(edge.failures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
        latency[2] = 100;
        let sums = Sums {
            latency,
            ..Sums::default()
        };
        let p50 = sums.quantile(0.5).unwrap().as_micros() as u64;
        assert!(LATENCY_BOUNDS_US[1] <= p50 && p50 <= LATENCY_BOUNDS_US[2]);
        assert_eq!(Sums::default().quantile(0.5), None);
    }

    #[test]
    fn connections_are_no_requests() {
        let mut sums = Sums::default();
        let tcp = Edge {
            protocol: "tcp".into(),
            requests: 3,
            closed: 1,
            bytes_sent: 10,
            ..Edge::default()
        };
        sums.add(&tcp);
        assert_eq!((sums.requests, sums.open(), sums.sent), (0, 2, 10));
        assert_eq!(sums.success(), None);
        assert_eq!(sums.plaintext, 3);
    }
}
