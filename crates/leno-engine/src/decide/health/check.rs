//! Active health checks: what one more answer means.
//!
//! Envoy's `HealthCheckerImplBase`: an endpoint is out after so many failures in a row and back after so many
//! successes. The very first answer decides alone, so that a cluster is there soon.

use std::time::Duration;

use bytes::Bytes;

use super::flags::Flags;
use crate::compile::cluster::health_check::{HealthCheck, HttpProbe, Intervals, TcpProbe};

/// Why a check has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The answer says so. `retriable`: one such answer is not enough.
    Active {
        status: Option<u16>,
        retriable: bool,
    },
    /// An answer to a request says so.
    Passive,
    Network,
    Timeout,
}

/// What an answer has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// A few more such, and it does.
    Pending,
    Changed,
}

/// What is to be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Added { first: bool },
    Passed,
    Degraded,
    NoLongerDegraded,
    Ejected(Failure),
    Failed { failure: Failure, first: bool },
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub change: Change,
    pub notes: Vec<Note>,
}

/// One endpoint's answers in a row.
#[derive(Debug)]
pub(super) struct Streak {
    /// It is asked at all.
    pub(super) asked: bool,
    pub(super) first: bool,
    passed: u32,
    failed: u32,
}

// === impl Failure ===

impl Failure {
    pub fn is_network(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }
}

// === impl Streak ===

impl Streak {
    pub(super) fn new(asked: bool) -> Self {
        Self {
            asked,
            first: true,
            passed: 0,
            failed: 0,
        }
    }

    pub(super) fn pass(&mut self, check: &HealthCheck, flags: &mut Flags, degraded: bool) -> Verdict {
        self.failed = 0;
        let mut notes = Vec::new();
        let mut change = Change::None;
        if flags.has(Flags::FAILED_CHECK) {
            change = Change::Pending;
            if self.first || self.one_more_passed() == check.healthy_threshold {
                *flags = flags.without(Flags::FAILED_CHECK | Flags::TIMED_OUT | Flags::EXCLUDED);
                change = Change::Changed;
                notes.push(Note::Added { first: self.first });
            }
        }
        if change != Change::Changed {
            notes.push(Note::Passed);
        }
        change = clear_unchecked(flags, change);
        if degraded != flags.has(Flags::DEGRADED_CHECK) {
            *flags = match degraded {
                true => flags.with(Flags::DEGRADED_CHECK),
                false => flags.without(Flags::DEGRADED_CHECK),
            };
            notes.push(if degraded {
                Note::Degraded
            } else {
                Note::NoLongerDegraded
            });
            if change == Change::None {
                change = Change::Changed;
            }
        }
        self.first = false;
        Verdict { change, notes }
    }

    pub(super) fn fail(&mut self, check: &HealthCheck, flags: &mut Flags, failure: Failure) -> Verdict {
        self.passed = 0;
        let mut notes = Vec::new();
        let mut change = Change::None;
        if !flags.has(Flags::FAILED_CHECK) {
            let at_once = match failure {
                Failure::Active { retriable, .. } => !retriable,
                Failure::Passive => true,
                Failure::Network | Failure::Timeout => false,
            };
            change = Change::Pending;
            if at_once || self.one_more_failed() == check.unhealthy_threshold {
                *flags = flags.with(Flags::FAILED_CHECK);
                change = Change::Changed;
                notes.push(Note::Ejected(failure));
            }
        }
        *flags = match failure == Failure::Timeout && flags.has(Flags::FAILED_CHECK) {
            true => flags.with(Flags::TIMED_OUT),
            false => flags.without(Flags::TIMED_OUT),
        };
        change = clear_unchecked(flags, change);
        notes.push(Note::Failed {
            failure,
            first: self.first,
        });
        self.first = false;
        Verdict { change, notes }
    }

    fn one_more_passed(&mut self) -> u32 {
        self.passed = self.passed.saturating_add(1);
        self.passed
    }

    fn one_more_failed(&mut self) -> u32 {
        self.failed = self.failed.saturating_add(1);
        self.failed
    }
}

/// Who is left out of account is another now, even where nobody's health is.
fn clear_unchecked(flags: &mut Flags, change: Change) -> Change {
    if !flags.has(Flags::UNCHECKED) {
        return change;
    }
    *flags = flags.without(Flags::UNCHECKED);
    Change::Changed
}

// === impl Intervals ===

impl Intervals {
    /// How long it is to the next check. `met`: the cluster has had a connection.
    pub fn next(&self, met: bool, passed: bool, change: Change, random: u64) -> Duration {
        let base = match (met, passed, change) {
            (true, false, Change::Pending) => self.unhealthy_edge,
            (true, false, _) => self.unhealthy,
            (true, true, Change::Pending) => self.healthy_edge,
            (true, true, _) => self.healthy,
            (false, true, Change::None | Change::Changed) => self.no_traffic_healthy,
            (false, _, _) => self.no_traffic,
        };
        self.spread(base, self.jitter, random)
    }

    /// How long it is to the first one.
    pub fn first(&self, random: u64) -> Duration {
        match self.initial_jitter.is_zero() {
            true => Duration::ZERO,
            false => self.spread(Duration::ZERO, self.initial_jitter, random),
        }
    }

    /// In milliseconds, and never none: checks that follow each other at once would leave time for nothing else.
    fn spread(&self, base: Duration, jitter: Duration, random: u64) -> Duration {
        let mut time = millis(base);
        let share = u64::from(self.jitter_percent).saturating_mul(time) / 100;
        time += random.checked_rem(share).unwrap_or(0);
        time += (random >> 32).checked_rem(millis(jitter)).unwrap_or(0);
        Duration::from_millis(time.max(1))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

// === impl HttpProbe ===

impl HttpProbe {
    /// What is wanted of the body is in it.
    pub fn is_answer(&self, body: &[u8]) -> bool {
        has_in_order(body, &self.receive)
    }
}

// === impl TcpProbe ===

impl TcpProbe {
    /// What is wanted has come.
    pub fn is_answer(&self, received: &[u8]) -> bool {
        has_in_order(received, &self.receive)
    }
}

/// Each behind the one before, with anything between.
fn has_in_order(mut bytes: &[u8], wanted: &[Bytes]) -> bool {
    wanted.iter().filter(|one| !one.is_empty()).all(|one| {
        let at = bytes.windows(one.len()).position(|window| window == &one[..]);
        match at {
            Some(at) => {
                bytes = bytes.get(at + one.len()..).unwrap_or_default();
                true
            }
            None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_their_order() {
        let wanted = |parts: &[&'static str]| parts.iter().map(|part| Bytes::from(*part)).collect::<Vec<_>>();
        assert!(has_in_order(b"1 ping 2 pong", &wanted(&["ping", "pong"])));
        assert!(!has_in_order(b"pong ping", &wanted(&["ping", "pong"])));
        assert!(!has_in_order(b"ping", &wanted(&["ping", "ping"])));
        assert!(has_in_order(b"", &wanted(&[])));
    }
}
