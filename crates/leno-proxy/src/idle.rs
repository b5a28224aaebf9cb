//! Streams that nothing moves on, or that last too long: found by a coarse sweep.
//!
//! A timer per request would cost more than everything else that is done for most requests, and nobody needs an idle
//! time-out to the millisecond. So each connection lists its streams, each worker its connections, and once a second
//! they are looked at. What has moved since the last look counts as moved now.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// One stream's limits and when something last moved.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Cell<Limits>,
    began: Instant,
    /// Since the last sweep: bytes cost no look at the clock.
    moved: Cell<bool>,
    last_moved: Cell<Instant>,
    request_ended: Cell<bool>,
    expired: Cell<Option<Expired>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// From the first byte of the head to the last of the body.
    pub(crate) request: Option<Duration>,
    /// The whole stream.
    pub(crate) whole: Option<Duration>,
}

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    Idle,
    Request,
    Whole,
}

/// One connection's streams, for the worker's sweep.
#[derive(Debug, Default)]
pub(crate) struct Streams(RefCell<Vec<Weak<Watch>>>);

// === impl Watch ===

impl Watch {
    pub(crate) fn new(now: Instant, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits: Cell::new(limits),
            began: now,
            moved: Cell::new(false),
            last_moved: Cell::new(now),
            request_ended: Cell::new(false),
            expired: Cell::new(None),
            waker: RefCell::default(),
        })
    }

    /// A route's own limits replace the listener's.
    pub(crate) fn limit(&self, idle: Option<Duration>, whole: Option<Duration>) {
        let limits = self.limits.get();
        // A route's 0 s says: no limit.
        let replaced = |old: Option<Duration>, new: Option<Duration>| match new {
            Some(new) => Some(new).filter(|new| !new.is_zero()),
            None => old,
        };
        self.limits.set(Limits {
            idle: replaced(limits.idle, idle),
            whole: replaced(limits.whole, whole),
            ..limits
        });
    }

    pub(crate) fn moved(&self) {
        self.moved.set(true);
    }

    pub(crate) fn end_request(&self) {
        self.request_ended.set(true);
        self.moved();
    }

    /// Ready when the stream is to end.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Expired> {
        match self.expired.get() {
            Some(expired) => Poll::Ready(expired),
            None => {
                let mut waker = self.waker.borrow_mut();
                match &mut *waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    fn check(&self, now: Instant) {
        if self.moved.take() {
            self.last_moved.set(now);
        }
        let Limits { idle, request, whole } = self.limits.get();
        let over = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        let expired = if over(self.began, whole) {
            Expired::Whole
        } else if over(self.began, request) && !self.request_ended.get() {
            Expired::Request
        } else if over(self.last_moved.get(), idle) {
            Expired::Idle
        } else {
            return;
        };
        if self.expired.replace(Some(expired)).is_none()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

// === impl Streams ===

impl Streams {
    pub(crate) fn add(&self, watch: &Rc<Watch>) {
        let mut streams = self.0.borrow_mut();
        // Room is made when it runs out: what has ended goes before the list grows.
        if streams.len() == streams.capacity() {
            streams.retain(|watch| watch.strong_count() > 0);
        }
        streams.push(Rc::downgrade(watch));
    }

    pub(crate) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|watch| match watch.upgrade() {
            Some(watch) => {
                watch.check(now);
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn expired(limits: Limits, after: Duration, touch: impl FnOnce(&Watch)) -> Option<Expired> {
        let begin = Instant::now();
        let streams = Streams::default();
        let watch = Watch::new(begin, limits);
        streams.add(&watch);
        touch(&watch);
        streams.sweep(begin + after);
        watch.expired.get()
    }

    #[test]
    fn a_stream_on_which_nothing_moves_expires() {
        let limits = Limits {
            idle: Some(MINUTE),
            ..Limits::default()
        };
        assert_eq!(expired(limits, MINUTE / 2, |_| {}), None);
        assert_eq!(expired(limits, MINUTE, |_| {}), Some(Expired::Idle));
    }

    #[test]
    fn a_route_may_lift_the_listeners_limit() {
        let limits = Limits {
            idle: Some(MINUTE),
            ..Limits::default()
        };
        assert_eq!(
            expired(limits, MINUTE * 9, |w| w.limit(Some(Duration::ZERO), None)),
            None
        );
        assert_eq!(
            expired(limits, MINUTE, |w| w.limit(None, Some(MINUTE / 2))),
            Some(Expired::Whole)
        );
    }

    #[test]
    fn a_request_that_has_ended_is_not_late() {
        let limits = Limits {
            request: Some(MINUTE),
            ..Limits::default()
        };
        assert_eq!(expired(limits, MINUTE, |_| {}), Some(Expired::Request));
        assert_eq!(expired(limits, MINUTE, Watch::end_request), None);
    }
}
