//! Ending connections without failing a request.
//!
//! A filter chain that has changed, or a process that is to end, drains: HTTP/2 clients get GOAWAY, HTTP/1 clients
//! get `Connection: close` with their next response. An idle HTTP/1 connection is only closed when the drain time is
//! over, because a request may already be on its way. What is in flight is finished; it is cut off only by the end of
//! the process, or by a change that forbids the connection ([`CutBy`]).
//!
//! Connections do not wait for any of this: whoever starts a drain tells the workers, and they look after their
//! connections ([`crate::ending`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Serving,
    Draining {
        /// Idle connections are closed from here on.
        close_idle: Instant,
        /// Everything is.
        cut: Option<(Instant, CutBy)>,
    },
}

/// Why what is in flight is not let finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutBy {
    /// The process ends.
    Shutdown,
    /// The port takes no plaintext any more.
    Strict,
    /// The policies do not allow it any more.
    Policy,
    /// The peer's certificate was taken back.
    Revoked,
}

/// What connections of one filter chain are told; shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Whose chain it is.
    listener: Box<str>,
    started: AtomicBool,
    phase: Mutex<Phase>,
}

// === impl Drain ===

impl Drain {
    pub(crate) fn of(listener: &str) -> Self {
        Self {
            listener: listener.into(),
            ..Self::default()
        }
    }

    /// The listener's name.
    pub(crate) fn listener(&self) -> &str {
        &self.listener
    }

    /// Lets connections end within `time`, as they become idle.
    pub(crate) fn start(&self, time: Duration) {
        self.enter(Instant::now() + time, None);
    }

    /// As [`Self::start`]; what is left after `time` is cut off.
    pub(crate) fn finish(&self, time: Duration) {
        let cut = Instant::now() + time;
        self.enter(cut - time / 8, Some((cut, CutBy::Shutdown)));
    }

    /// Ends every connection now.
    pub(crate) fn forbid(&self, by: CutBy) {
        let now = Instant::now();
        self.enter(now, Some((now, by)));
    }

    /// A drain in progress is only ever shortened.
    fn enter(&self, close_idle: Instant, cut: Option<(Instant, CutBy)>) {
        let mut phase = self.lock();
        *phase = match *phase {
            Phase::Serving => Phase::Draining { close_idle, cut },
            Phase::Draining {
                close_idle: old,
                cut: old_cut,
            } => Phase::Draining {
                close_idle: old.min(close_idle),
                cut: match (old_cut, cut) {
                    (Some(old), Some(new)) if new.0 < old.0 => Some(new),
                    (old, new) => old.or(new),
                },
            },
        };
        self.started.store(true, Ordering::Release);
    }

    /// Asked with every response: one load.
    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.has_started() {
            true => *self.lock(),
            false => Phase::Serving,
        }
    }

    /// What is behind the lock is one value: whole whoever panics.
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl CutBy ===

impl CutBy {
    /// For records (`%RESPONSE_CODE_DETAILS%`, `%CONNECTION_TERMINATION_DETAILS%`).
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Strict => "strict_mtls",
            Self::Policy => "authorization_policy",
            Self::Revoked => "certificate_revoked",
        }
    }
}
