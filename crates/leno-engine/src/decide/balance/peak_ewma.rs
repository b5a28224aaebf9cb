//! PEAK_EWMA: of two hosts drawn at random the one that costs less, `latency × (requests under way + 1)`.
//!
//! Latency is from a request's first byte to the answer's, as an exponentially weighted moving mean by time (Envoy docs:
//! "Peak EWMA Load Balancer", of the contrib extensions). What is older than the decay time is forgotten, so that a host
//! that was slow is tried again. Neither weights nor answers' statuses count.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{Balancer, Host, PickContext, Policy, mix};
use crate::compile::cluster::{BalancePolicy, PeakEwma};

/// Of a host, on one worker.
#[derive(Debug, Default)]
pub(super) struct Latency(Cell<Option<Measured>>);

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Milliseconds.
    mean: f64,
    /// When an answer came last.
    at: Instant,
}

impl Policy for PeakEwma {
    fn pick(&mut self, hosts: &[Host], cx: &PickContext<'_>, _attempt: u32) -> Option<usize> {
        let count = hosts.len() as u64;
        let one = mix(cx.random, 1).checked_rem(count)?;
        // One of the others.
        let step = mix(cx.random, 2).checked_rem(count - 1).unwrap_or(0) + 1;
        let other = (one + step) % count;
        let (one, other) = (one as usize, other as usize);
        let cost = |at: usize| hosts.get(at).map_or(f64::INFINITY, |host| self.cost(host));
        Some(if cost(other) < cost(one) { other } else { one })
    }
}

impl PeakEwma {
    fn cost(&self, host: &Host) -> f64 {
        let active = f64::from(host.state.active.get());
        match host.state.latency.0.get() {
            Some(measured) => measured.mean * (active + 1.0),
            // It may be about to fail.
            None if active > 0.0 => self.penalty + active,
            None => milliseconds(self.default_latency),
        }
    }
}

// === impl Latency ===

impl Latency {
    fn take(&self, took: Duration, decay: Duration, now: Instant) {
        let took = milliseconds(took);
        let mean = match self.0.get() {
            None => took,
            Some(Measured { mean, at }) => {
                let age = now.saturating_duration_since(at).as_secs_f64();
                let kept = (-age / decay.as_secs_f64()).exp();
                took + (mean - took) * kept
            }
        };
        self.0.set(Some(Measured { mean, at: now }));
    }

    fn forget(&self, decay: Duration, now: Instant) {
        let is_old = |measured: Measured| now.saturating_duration_since(measured.at) >= decay;
        if self.0.get().is_some_and(is_old) {
            self.0.set(None);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

// === impl Balancer ===

impl Balancer {
    /// Whether it matters how long answers take.
    pub fn heeds_latency(&self) -> bool {
        matches!(self.settings.choice.policy, BalancePolicy::PeakEwma(_))
    }

    /// An answer has begun so long after its request.
    pub fn report_latency(&self, host: &Host, took: Duration, now: Instant) {
        if let BalancePolicy::PeakEwma(settings) = &self.settings.choice.policy {
            host.state.latency.take(took, settings.decay, now);
        }
    }

    pub(super) fn forget_latencies(&self, now: Instant) {
        if let BalancePolicy::PeakEwma(settings) = &self.settings.choice.policy {
            for state in self.states.values() {
                state.latency.forget(settings.decay, now);
            }
        }
    }
}
