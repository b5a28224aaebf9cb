//! Streams that nothing moves on, or that last too long: found by a coarse sweep.
//!
//! A timer per request would cost more than everything else that is done for most requests, and nobody needs an idle
//! time-out to the millisecond. So each connection lists its streams, each worker its connections, and once a second
//! they are looked at. What has moved since the last look counts as moved now.
//!
//! The route's time-out is meant more exactly. For it a worker has one timer, set to the earliest deadline known: when
//! it fires, all streams are looked at, and it is set again. As almost every request ends long before its deadline, it
//! fires about once in the time-out's length.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::hurry::Shorter;

/// Between two looks for deadlines.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// One stream's limits and when something last moved.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Cell<Limits>,
    began: Instant,
    /// Since the last sweep: bytes cost no look at the clock.
    moved: Cell<bool>,
    last_moved: Cell<Instant>,
    request_ended: Cell<Option<Instant>>,
    /// How long the answer may take from then on.
    patience: Cell<Option<Duration>>,
    expired: Cell<Option<Expired>>,
    waker: RefCell<Option<Waker>>,
    /// Of a connection: bytes from its client and to it.
    passed: Cell<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// From the first byte of the head to the last of the body.
    pub(crate) request: Option<Duration>,
    /// The whole stream.
    pub(crate) whole: Option<Duration>,
    /// An answer that has come to its end, without a byte that the client takes; zero: none. None: as `idle`.
    pub(crate) flush: Option<Duration>,
}

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    Idle,
    Request,
    Whole,
    /// The answer, by the route's time-out.
    Answer,
}

/// What has a watch of its own.
pub(crate) trait Watched {
    fn watch(&self) -> &Watch;
}

/// One connection's streams, for the worker's sweep. HTTP/1 has one at a time.
#[derive(Default)]
pub(crate) struct Streams(RefCell<SmallVec<[Weak<dyn Watched>; 1]>>);

/// A worker's timer for the deadlines of all its streams.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    next: Cell<Option<Instant>>,
    earlier: Notify,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(now: Instant, limits: Limits) -> Self {
        Self {
            limits: Cell::new(limits),
            began: now,
            moved: Cell::new(false),
            last_moved: Cell::new(now),
            request_ended: Cell::new(None),
            patience: Cell::new(None),
            expired: Cell::new(None),
            waker: RefCell::default(),
            passed: Cell::default(),
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// A route's own limits replace the listener's.
    pub(crate) fn limit(&self, idle: Option<Duration>, whole: Option<Duration>, flush: Option<Duration>) {
        let limits = self.limits.get();
        // A route's 0 s says: no limit.
        let replaced = |old: Option<Duration>, new: Option<Duration>| match new {
            Some(new) => Some(new).filter(|new| !new.is_zero()),
            None => old,
        };
        self.limits.set(Limits {
            idle: replaced(limits.idle, idle),
            whole: replaced(limits.whole, whole),
            flush: flush.or(limits.flush),
            ..limits
        });
    }

    /// A connection has passed so many bytes on, from its client and to it.
    pub(crate) fn pass(&self, received: u64, sent: u64) {
        self.passed.set((received, sent));
        self.moved();
    }

    pub(crate) fn passed(&self) -> (u64, u64) {
        self.passed.get()
    }

    /// Nothing but the client is waited for any more.
    pub(crate) fn flush(&self) {
        let limits = self.limits.get();
        self.patience.set(None);
        self.limits.set(Limits {
            idle: limits
                .flush
                .map_or(limits.idle, |flush| Some(flush).filter(|flush| !flush.is_zero())),
            ..Limits::default()
        });
    }

    pub(crate) fn moved(&self) {
        self.moved.set(true);
    }

    /// The request has been received to its end.
    pub(crate) fn end_request(&self, now: Instant) {
        self.request_ended.set(Some(now));
        self.moved();
    }

    pub(crate) fn request_has_ended(&self) -> bool {
        self.request_ended.get().is_some()
    }

    /// How long the request took to be received, once it has been.
    pub(crate) fn request_duration(&self) -> Option<Duration> {
        let ended = self.request_ended.get()?;
        // Most requests end where they begin, and to compare is cheaper than to subtract.
        Some(match ended == self.began {
            true => Duration::ZERO,
            false => ended.saturating_duration_since(self.began),
        })
    }

    /// The answer is to be over so long after the end of the request (Envoy: "the entire downstream request").
    pub(crate) fn answer_within(&self, patience: Option<Duration>) {
        self.patience.set(patience);
    }

    /// When the answer is to be over; None before the request has ended, or without a limit.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.request_ended.get()?.checked_add(self.patience.get()?)
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

    fn check(&self, now: Instant, stream_idle: Shorter) {
        if self.moved.take() {
            self.last_moved.set(now);
        }
        let Limits {
            idle, request, whole, ..
        } = self.limits.get();
        let idle = idle.map(|idle| stream_idle.of(idle));
        let over = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        let expired = if self.deadline().is_some_and(|at| at <= now) {
            Expired::Answer
        } else if over(self.began, whole) {
            Expired::Whole
        } else if over(self.began, request) && self.request_ended.get().is_none() {
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

impl Watched for Watch {
    fn watch(&self) -> &Watch {
        self
    }
}

// === impl Streams ===

impl Streams {
    pub(crate) fn add<T: Watched + 'static>(&self, stream: &Rc<T>) {
        let stream: Weak<dyn Watched> = Rc::downgrade(stream) as Weak<T>;
        let mut streams = self.0.borrow_mut();
        let_go(&mut streams);
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(stream);
    }

    /// A stream ends: a weak reference would keep its memory until the next look.
    pub(crate) fn let_go(&self) {
        // The look itself may have held the last strong one.
        if let Ok(mut streams) = self.0.try_borrow_mut() {
            let_go(&mut streams);
        }
    }

    /// Ends what is over its limits; the earliest deadline of the others.
    pub(crate) fn sweep(&self, now: Instant, stream_idle: Shorter) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        self.0.borrow_mut().retain(|stream| {
            let Some(stream) = stream.upgrade() else {
                return false;
            };
            let watch = stream.watch();
            watch.check(now, stream_idle);
            if let Some(at) = watch.deadline().filter(|_| watch.expired.get().is_none()) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
            true
        });
        next
    }
}

/// The newest that have ended.
fn let_go(streams: &mut SmallVec<[Weak<dyn Watched>; 1]>) {
    while streams.last().is_some_and(|last| last.strong_count() == 0) {
        streams.pop();
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

// === impl Deadlines ===

impl Deadlines {
    pub(crate) fn add(&self, at: Instant) {
        if self.next.get().is_none_or(|next| at < next) {
            self.next.set(Some(at));
            self.earlier.notify_one();
        }
    }

    /// Streams have been looked at; this is the earliest deadline left.
    pub(crate) fn reset(&self, now: Instant, next: Option<Instant>) {
        let next = next.map(|next| next.max(now + LEAST_PAUSE));
        let before = self.next.replace(next);
        // Whoever waits may wait for a later one, or for none.
        if next.is_some_and(|next| before.is_none_or(|before| next < before)) {
            self.earlier.notify_one();
        }
    }

    /// When streams should be looked at.
    pub(crate) async fn due(&self) {
        loop {
            match self.next.get() {
                None => self.earlier.notified().await,
                Some(at) => tokio::select! {
                    () = sleep_until(at.into()) => return,
                    () = self.earlier.notified() => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn expired(limits: Limits, after: Duration, touch: impl FnOnce(&Watch)) -> Option<Expired> {
        let begin = Instant::now();
        let streams = Streams::default();
        let watch = Rc::new(Watch::new(begin, limits));
        streams.add(&watch);
        touch(&watch);
        streams.sweep(begin + after, Shorter::default());
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
            expired(limits, MINUTE * 9, |w| w.limit(Some(Duration::ZERO), None, None)),
            None
        );
        assert_eq!(
            expired(limits, MINUTE, |w| w.limit(None, Some(MINUTE / 2), None)),
            Some(Expired::Whole)
        );
    }

    #[test]
    fn an_answer_that_only_waits_to_be_taken_has_a_limit_of_its_own() {
        let limits = Limits {
            idle: Some(MINUTE),
            whole: Some(MINUTE),
            flush: Some(MINUTE * 3),
            ..Limits::default()
        };
        assert_eq!(expired(limits, MINUTE * 2, Watch::flush), None);
        assert_eq!(expired(limits, MINUTE * 3, Watch::flush), Some(Expired::Idle));
        let never = Limits {
            flush: Some(Duration::ZERO),
            ..limits
        };
        assert_eq!(expired(never, MINUTE * 9, Watch::flush), None);
        let same = Limits {
            flush: None,
            ..limits
        };
        assert_eq!(expired(same, MINUTE, Watch::flush), Some(Expired::Idle));
    }

    #[test]
    fn a_request_that_has_ended_is_not_late() {
        let limits = Limits {
            request: Some(MINUTE),
            ..Limits::default()
        };
        assert_eq!(expired(limits, MINUTE, |_| {}), Some(Expired::Request));
        let ended = |watch: &Watch| watch.end_request(watch.began);
        assert_eq!(expired(limits, MINUTE, ended), None);
    }

    #[test]
    fn an_answer_is_late_by_the_route_s_time_out_from_the_end_of_the_request() {
        let patient = |watch: &Watch| watch.answer_within(Some(MINUTE));
        assert_eq!(expired(Limits::default(), MINUTE, patient), None);
        let ended = |watch: &Watch| {
            patient(watch);
            watch.end_request(watch.began + MINUTE);
        };
        assert_eq!(expired(Limits::default(), MINUTE, ended), None);
        assert_eq!(
            expired(Limits::default(), MINUTE * 2, ended),
            Some(Expired::Answer)
        );
    }

    #[test]
    fn a_sweep_tells_the_earliest_deadline_that_is_left() {
        let begin = Instant::now();
        let streams = Streams::default();
        let watches = [1, 3, 2].map(|minutes| {
            let watch = Rc::new(Watch::new(begin, Limits::default()));
            watch.answer_within(Some(MINUTE * minutes));
            watch.end_request(begin);
            streams.add(&watch);
            watch
        });
        assert_eq!(streams.sweep(begin, Shorter::default()), Some(begin + MINUTE));
        assert_eq!(
            streams.sweep(begin + MINUTE, Shorter::default()),
            Some(begin + MINUTE * 2)
        );
        drop(watches);
        assert_eq!(streams.sweep(begin, Shorter::default()), None);
    }

    #[tokio::test]
    async fn a_deadline_that_is_found_earlier_than_the_one_waited_for_is_kept() {
        let deadlines = Deadlines::default();
        let now = Instant::now();
        deadlines.add(now + MINUTE);
        let mut due = std::pin::pin!(deadlines.due());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(due.as_mut().poll(&mut cx).is_pending());
        deadlines.reset(now, Some(now + LEAST_PAUSE));
        due.await;
    }

    #[test]
    fn ended_streams_do_not_pile_up() {
        let streams = Streams::default();
        for _ in 0..100 {
            streams.add(&Rc::new(Watch::new(Instant::now(), Limits::default())));
        }
        assert_eq!(streams.0.borrow().len(), 1);
    }
}
