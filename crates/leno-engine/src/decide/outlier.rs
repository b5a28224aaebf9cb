//! Passive health of one endpoint: what is counted of how its requests end.
//!
//! Envoy's `DetectorHostMonitor`. One for all workers: what they have in common is not what each of them has seen. An
//! endpoint that does well is not written to, but for the two numbers of its success rate.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::compile::cluster::{ErrorMatcher, OutlierDetection};
use crate::message::ResponseHead;

/// How a request or a connection to an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status; for gRPC the status Envoy maps it to.
    Status(u16),
    /// An answer came (told besides [`Outcome::Status`], and of account only where local errors are split).
    LocalSuccess,
    /// Connected, and that is all there is to be known (TCP).
    Connected,
    /// The connection could not be made, or ended before an answer.
    LocalFailure,
    /// No answer in time.
    LocalTimeout,
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    SuccessRate,
    LocalOriginSuccessRate,
    FailurePercentage,
    LocalOriginFailurePercentage,
}

/// One endpoint's counters.
#[derive(Debug, Default)]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    /// Of answers, and of connections.
    pub(super) rates: [Rate; 2],
    ejection: Mutex<Ejection>,
}

/// Since the last interval.
#[derive(Debug, Default)]
pub(super) struct Rate {
    succeeded: AtomicU64,
    all: AtomicU64,
}

/// Where it is in being out and back.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    began: Option<Instant>,
    ended: Option<Instant>,
    /// How often the base time counts: one more each time, one less for each interval in peace.
    multiplier: u32,
    jitter: Duration,
    times: u32,
}

// === impl ErrorMatcher ===

impl ErrorMatcher {
    /// As Envoy, which makes an error of what matches and a success of everything else.
    pub fn outcome(&self, head: &ResponseHead) -> Outcome {
        Outcome::Status(if self.matches(head) { 500 } else { 200 })
    }

    fn matches(&self, head: &ResponseHead) -> bool {
        match self {
            Self::Any => true,
            Self::Or(any) => any.iter().any(|one| one.matches(head)),
            Self::And(all) => all.iter().all(|one| one.matches(head)),
            Self::Not(inner) => !inner.matches(head),
            Self::Headers(all) => all.iter().all(|header| header.matches_response(head)),
        }
    }
}

// === impl Monitor ===

impl Monitor {
    /// Counts; for what the endpoint should be ejected.
    pub(super) fn count(&self, config: &OutlierDetection, outcome: Outcome) -> SmallVec<[Kind; 2]> {
        match (outcome, config.split_external_local) {
            (Outcome::Status(status), _) => self.count_status(config, status),
            (Outcome::LocalSuccess, false) => SmallVec::new(),
            (Outcome::LocalSuccess | Outcome::Connected, true) => {
                self.rates[1].count(true);
                clear(&self.consecutive_local);
                SmallVec::new()
            }
            (Outcome::LocalFailure | Outcome::LocalTimeout, true) => {
                self.rates[1].count(false);
                let limit = config.consecutive_local_origin_failure.limit;
                let reached = reached(&self.consecutive_local, limit);
                reached
                    .then_some(Kind::ConsecutiveLocalOriginFailure)
                    .into_iter()
                    .collect()
            }
            // Unsplit, they count as the answers Envoy would give for them.
            (Outcome::Connected, false) => self.count_status(config, 200),
            (Outcome::LocalFailure, false) => self.count_status(config, 503),
            (Outcome::LocalTimeout, false) => self.count_status(config, 504),
        }
    }

    fn count_status(&self, config: &OutlierDetection, status: u16) -> SmallVec<[Kind; 2]> {
        let mut kinds = SmallVec::new();
        let failed = (500..600).contains(&status);
        self.rates[0].count(!failed);
        if !failed {
            clear(&self.consecutive_5xx);
            clear(&self.consecutive_gateway);
            return kinds;
        }
        if !(502..=504).contains(&status) {
            clear(&self.consecutive_gateway);
        } else if reached(
            &self.consecutive_gateway,
            config.consecutive_gateway_failure.limit,
        ) {
            kinds.push(Kind::ConsecutiveGatewayFailure);
        }
        if reached(&self.consecutive_5xx, config.consecutive_5xx.limit) {
            kinds.push(Kind::Consecutive5xx);
        }
        kinds
    }

    /// It has been decided on: the count begins anew.
    pub(super) fn forget(&self, kind: Kind) {
        match kind {
            Kind::Consecutive5xx => clear(&self.consecutive_5xx),
            Kind::ConsecutiveGatewayFailure => clear(&self.consecutive_gateway),
            Kind::ConsecutiveLocalOriginFailure => clear(&self.consecutive_local),
            Kind::SuccessRate
            | Kind::LocalOriginSuccessRate
            | Kind::FailurePercentage
            | Kind::LocalOriginFailurePercentage => {}
        }
    }

    pub(super) fn ejection(&self) -> MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is back: few new failures shall not put it out again.
    pub(super) fn returned(&self, now: Instant) {
        clear(&self.consecutive_5xx);
        clear(&self.consecutive_gateway);
        clear(&self.consecutive_local);
        self.ejection().ended = Some(now);
    }
}

/// Nothing is written where there is nothing to clear: workers would wait for each other.
fn clear(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}

/// One more, which is the last that was missing.
fn reached(counter: &AtomicU32, limit: u32) -> bool {
    counter.fetch_add(1, Relaxed).wrapping_add(1) == limit
}

// === impl Rate ===

impl Rate {
    fn count(&self, succeeded: bool) {
        self.all.fetch_add(1, Relaxed);
        if succeeded {
            self.succeeded.fetch_add(1, Relaxed);
        }
    }

    /// Percent of the successes, and of how many; a new interval begins.
    pub(super) fn take(&self) -> Option<(f64, u64)> {
        let (succeeded, all) = (self.succeeded.swap(0, Relaxed), self.all.swap(0, Relaxed));
        (all > 0).then(|| (succeeded as f64 * 100.0 / all as f64, all))
    }
}

// === impl Ejection ===

impl Ejection {
    pub(super) fn begin(&mut self, config: &OutlierDetection, now: Instant, random: u64) {
        self.began = Some(now);
        self.times = self.times.saturating_add(1);
        let most = u64::try_from(config.max_ejection_time_jitter.as_millis()).unwrap_or(u64::MAX);
        self.jitter = Duration::from_millis(random % most.saturating_add(1));
        let longest = config.max_ejection_time.saturating_add(config.base_ejection_time);
        // Beyond the maximum a larger multiplier would only delay forgiveness.
        if config.base_ejection_time.saturating_mul(self.multiplier) < longest {
            self.multiplier += 1;
        }
    }

    pub(super) fn is_over(&self, config: &OutlierDetection, now: Instant) -> bool {
        let time = config.base_ejection_time.saturating_mul(self.multiplier);
        let time = time.min(config.max_ejection_time).saturating_add(self.jitter);
        self.began
            .is_some_and(|began| now.saturating_duration_since(began) >= time)
    }

    /// How long ago it came back, or went out; and how often it has been out.
    pub(super) fn told(&self, ejected: bool, now: Instant) -> (Option<Duration>, u32) {
        let last = if ejected { self.ended } else { self.began };
        (last.map(|last| now.saturating_duration_since(last)), self.times)
    }

    /// An interval without ejection.
    pub(super) fn forgive(&mut self, config: &OutlierDetection, now: Instant) {
        let peace = |ended: Instant| now.saturating_duration_since(ended) >= config.interval;
        if self.ended.is_some_and(peace) {
            self.multiplier = self.multiplier.saturating_sub(1);
        }
    }
}
