//! Passive health: an endpoint that fails too often in a row leaves the balance for a while.
//!
//! Envoy's consecutive detectors (`outlier_detection.proto`). The state is per worker: each worker ejects by what it
//! has seen itself, so an endpoint may be out on one worker and in on another; with N workers it takes up to N times
//! as many failures until all have ejected it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::compile::cluster::OutlierDetection;

/// How a request or a connection to an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status; for gRPC the status Envoy maps it to.
    Status(u16),
    /// TCP: connected. HTTP: an answer came (told besides [`Outcome::Status`] only where local errors are split).
    LocalSuccess,
    /// The connection could not be made, or ended before an answer.
    LocalFailure,
    /// No answer in time.
    LocalTimeout,
}

/// One endpoint's counters.
#[derive(Debug, Default)]
pub struct OutlierState {
    consecutive_5xx: Cell<u32>,
    consecutive_gateway: Cell<u32>,
    consecutive_local: Cell<u32>,
    /// While ejected: since when.
    ejected_at: Cell<Option<Instant>>,
    /// How often the base time counts: one more each time, one less for each interval in peace.
    multiplier: Cell<u32>,
}

// === impl OutlierState ===

impl OutlierState {
    pub fn is_ejected(&self) -> bool {
        self.ejected_at.get().is_some()
    }

    /// Counts; true when the endpoint should be ejected.
    pub fn count(&self, config: &OutlierDetection, outcome: Outcome) -> bool {
        let tripped = match (outcome, config.split_external_local) {
            (Outcome::Status(status), _) => self.count_status(config, status),
            (Outcome::LocalSuccess, true) => {
                self.consecutive_local.set(0);
                false
            }
            (Outcome::LocalSuccess, false) => false,
            (Outcome::LocalFailure | Outcome::LocalTimeout, true) => {
                reached(&self.consecutive_local, config.consecutive_local_origin_failure)
            }
            // Unsplit, local errors count as the answers Envoy would give for them.
            (Outcome::LocalFailure, false) => self.count_status(config, 503),
            (Outcome::LocalTimeout, false) => self.count_status(config, 504),
        };
        tripped && !self.is_ejected()
    }

    fn count_status(&self, config: &OutlierDetection, status: u16) -> bool {
        if !(500..600).contains(&status) {
            self.consecutive_5xx.set(0);
            self.consecutive_gateway.set(0);
            return false;
        }
        let gateway = if (502..=504).contains(&status) {
            reached(&self.consecutive_gateway, config.consecutive_gateway_failure)
        } else {
            self.consecutive_gateway.set(0);
            false
        };
        reached(&self.consecutive_5xx, config.consecutive_5xx) || gateway
    }

    pub fn eject(&self, config: &OutlierDetection, now: Instant) {
        self.ejected_at.set(Some(now));
        // Beyond the maximum a larger multiplier would only delay forgiveness.
        if config.base_ejection_time.saturating_mul(self.multiplier.get()) < config.max_ejection_time {
            self.multiplier.set(self.multiplier.get() + 1);
        }
    }

    /// Once an interval: true when the endpoint comes back.
    pub fn check(&self, config: &OutlierDetection, now: Instant) -> bool {
        let Some(since) = self.ejected_at.get() else {
            self.multiplier.set(self.multiplier.get().saturating_sub(1));
            return false;
        };
        if now.saturating_duration_since(since) < self.ejection_time(config) {
            return false;
        }
        self.ejected_at.set(None);
        self.consecutive_5xx.set(0);
        self.consecutive_gateway.set(0);
        self.consecutive_local.set(0);
        true
    }

    fn ejection_time(&self, config: &OutlierDetection) -> Duration {
        let time = config.base_ejection_time.saturating_mul(self.multiplier.get());
        time.min(config.max_ejection_time.max(config.base_ejection_time))
    }
}

/// Whether one more of `total` endpoints may go when `ejected` are out.
pub fn may_eject(config: &OutlierDetection, ejected: usize, total: usize) -> bool {
    let share = (ejected as u64 + 1) * 100;
    share <= u64::from(config.max_ejection_percent) * total as u64
        || (config.always_eject_one_host && ejected == 0)
}

fn reached(counter: &Cell<u32>, limit: Option<u32>) -> bool {
    counter.set(counter.get().saturating_add(1));
    match limit {
        Some(limit) if counter.get() >= limit => {
            counter.set(0);
            true
        }
        _ => false,
    }
}
