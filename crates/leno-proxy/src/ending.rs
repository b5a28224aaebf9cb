//! How a connection comes to its end, apart from its peers' doing: its chain drains, nothing happens on it, or it has
//! lasted for as long as it may.
//!
//! A connection waits for none of this with a task, a timer or a channel: each would cost more than the rest of what
//! an idle connection holds, and setting it up a good part of what a new one takes. Its worker has a list of all its
//! connections and looks after them: once a second, when it is told that a drain has begun, and when the next of their
//! deadlines comes. What it finds is left here as flags, and the connection's task is woken.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use leno_engine::decide::health::HostHealth;
use leno_telemetry::record::TlsFacts;

use crate::drain::{CutBy, Drain, Phase};
use crate::handshake::Handshake;
use crate::hurry::Hurry;
use crate::idle::Streams;

/// A shorter idle time is kept to the millisecond; for others the look once a second is enough.
const COARSE: Duration = Duration::from_secs(10);

/// How long a connection may last, apart from its chain's drain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifetime {
    /// Without a stream.
    pub(crate) idle: Option<Duration>,
    /// Until it is drained (`max_connection_duration`), and from then on until it is cut off.
    pub(crate) most: Option<Box<(Duration, Duration)>>,
    /// Its timers are as long however much there is to do.
    pub(crate) patient: bool,
    /// It ends when that is found unwell.
    pub(crate) upstream: Option<Arc<HostHealth>>,
    /// Its end when it would not be let in any more.
    pub(crate) guard: Option<Rc<dyn Guard>>,
    /// Its end when what the peer has shown in it is taken back.
    pub(crate) shown: Option<Arc<dyn TlsFacts>>,
    /// As well, of the upstream that it goes on to.
    pub(crate) upstream_shown: Option<Arc<Handshake>>,
}

/// Says whether a connection that was let in would be let in again.
pub(crate) trait Guard: std::fmt::Debug {
    fn forbids(&self, drain: &Drain) -> bool;
}

/// One connection's end, and what its worker's sweep looks after.
#[derive(Debug)]
pub(crate) struct Ending {
    drain: Arc<Drain>,
    lifetime: Lifetime,
    began: Instant,
    /// Streams in progress, and when the last one ended.
    active: Cell<u32>,
    last: Cell<Instant>,
    due: Cell<Due>,
    waker: RefCell<Option<Waker>>,
    /// What has time limits of its own on it.
    pub(crate) streams: Streams,
    /// Having lasted for as long as it may, it ends with the answer to its next request, and not before; whether that
    /// has come. None: it is drained.
    with_answer: Cell<Option<bool>>,
    /// What ends just now has been given up by the client, whose connection goes on.
    pub(crate) given_up: Cell<bool>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Drained,
    /// It has lasted for as long as it may.
    Old,
    Idle,
}

/// What has been found out; it is never taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    /// No new streams: GOAWAY.
    leave: bool,
    /// The end after what is being done.
    close_idle: bool,
    /// The end, whatever is being done.
    close_now: bool,
}

/// A stream in progress, and when it ended if somebody has looked.
#[derive(Debug)]
pub(crate) struct Active(Rc<Ending>, Option<Instant>);

/// A worker's connections.
#[derive(Debug, Default)]
pub(crate) struct Endings(RefCell<Vec<Weak<Ending>>>);

// === impl Ending ===

impl Ending {
    pub(crate) fn new(drain: &Arc<Drain>, lifetime: Lifetime, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            drain: Arc::clone(drain),
            lifetime,
            began: now,
            active: Cell::new(0),
            last: Cell::new(now),
            due: Cell::default(),
            waker: RefCell::default(),
            streams: Streams::default(),
            with_answer: Cell::default(),
            given_up: Cell::default(),
        })
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// A stream begins.
    pub(crate) fn begin(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        if self.with_answer.get().is_some() && self.is_over() {
            self.with_answer.set(Some(true));
        }
        Active(Rc::clone(self), None)
    }

    pub(crate) fn end_with_answer(&self) {
        self.with_answer.set(Some(false));
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.has_started() || self.with_answer.get().unwrap_or_else(|| self.is_over())
    }

    fn is_over(&self) -> bool {
        self.over().is_some_and(|at| at <= Instant::now())
    }

    /// What cuts the connection off, once it does.
    pub(crate) fn cut_by(&self) -> Option<CutBy> {
        match self.drain.phase() {
            Phase::Draining {
                cut: Some((at, by)), ..
            } if at <= Instant::now() => Some(by),
            _ if self.is_revoked() => Some(CutBy::Revoked),
            _ => None,
        }
    }

    /// Policies do not allow it any more.
    pub(crate) fn is_forbidden(&self) -> bool {
        let guard = self.lifetime.guard.as_ref();
        guard.is_some_and(|guard| guard.forbids(&self.drain))
    }

    fn is_revoked(&self) -> bool {
        let Lifetime {
            shown,
            upstream_shown: upstream,
            ..
        } = &self.lifetime;
        shown.as_ref().is_some_and(|shown| shown.is_revoked())
            || upstream.as_ref().is_some_and(|shown| shown.is_revoked())
    }

    pub(crate) fn is_upstream_out(&self) -> bool {
        self.lifetime
            .upstream
            .as_ref()
            .is_some_and(|upstream| upstream.is_out())
    }

    /// An HTTP/1 connection ends after what it is doing: it is drained, or idle for too long.
    pub(crate) fn is_to_close_idle(&self) -> bool {
        self.due.get().close_idle
    }

    /// The process takes no more excuses, or the connection has lasted for too long.
    pub(crate) fn is_to_close_now(&self) -> bool {
        self.due.get().close_now
    }

    /// Why it has been found that it is to end; None: it has not.
    pub(crate) fn why(&self) -> Option<Why> {
        if !self.due.get().leave {
            return None;
        }
        Some(match self.over() {
            _ if self.drain.has_started() => Why::Drained,
            Some(at) if at <= Instant::now() => Why::Old,
            _ => Why::Idle,
        })
    }

    /// The task to be woken when there is news.
    pub(crate) fn wake(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// When [`Self::is_to_close_idle`].
    pub(crate) fn poll_close_idle(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |due| due.close_idle)
    }

    /// When an HTTP/2 connection should say GOAWAY.
    pub(crate) async fn leave(&self) {
        poll_fn(|cx| self.poll(cx, |due| due.leave)).await;
    }

    /// When [`Self::is_to_close_now`].
    pub(crate) fn poll_close_now(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |due| due.close_now)
    }

    pub(crate) async fn close_now(&self) {
        poll_fn(|cx| self.poll_close_now(cx)).await;
    }

    fn poll(&self, cx: &Context<'_>, is_due: impl Fn(Due) -> bool) -> Poll<()> {
        self.wake(cx);
        match is_due(self.due.get()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Finds out what is due, and when something will be that cannot wait for the next look.
    pub(crate) fn look(&self, now: Instant, hurry: &Hurry) -> Option<Instant> {
        let idle_time = self.lifetime.idle.map(|idle| hurry.connection_idle.of(idle));
        let (draining, drained, cut) = match self.drain.phase() {
            Phase::Serving => (false, None, None),
            Phase::Draining { close_idle, cut } => (true, Some(close_idle), cut.map(|(at, _)| at)),
        };
        let idle = self.idle_until(idle_time);
        let (over, end) = match self.with_answer.get() {
            Some(_) => (None, None),
            None => (self.over(), self.end()),
        };
        let is_past = |times: &[Option<Instant>]| times.iter().flatten().any(|at| *at <= now);
        let (before, revoked) = (self.due.get(), self.is_revoked());
        let due = Due {
            leave: before.leave || draining || revoked || is_past(&[over, idle]),
            close_idle: before.close_idle || is_past(&[drained, over, idle]),
            close_now: before.close_now
                || is_past(&[cut, end])
                || self.is_upstream_out()
                || revoked
                || (draining && self.is_forbidden()),
        };
        if due != before {
            self.due.set(due);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
        let short = idle_time.filter(|idle| *idle < COARSE);
        let idle = short.map(|short| idle.unwrap_or(now + short));
        let ahead = [drained, over, cut, end, idle];
        ahead.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn idle_until(&self, time: Option<Duration>) -> Option<Instant> {
        match self.active.get() {
            0 => Some(self.last.get() + time?),
            _ => None,
        }
    }

    /// When it has lasted for as long as it may.
    fn over(&self) -> Option<Instant> {
        let (most, _) = *self.lifetime.most.as_deref()?;
        Some(self.began + most)
    }

    fn end(&self) -> Option<Instant> {
        let (most, drain) = *self.lifetime.most.as_deref()?;
        Some(self.began + most + drain)
    }
}

// === impl Active ===

impl Active {
    /// It ends at once, and what time it is is known.
    pub(crate) fn end(&mut self, now: Instant) {
        self.1 = Some(now);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.last.set(self.1.unwrap_or_else(Instant::now));
    }
}

// === impl Endings ===

impl Endings {
    /// Another connection. The result: when it must be looked at.
    pub(crate) fn add(&self, ending: &Rc<Ending>, now: Instant) -> Option<Instant> {
        self.0.borrow_mut().push(Rc::downgrade(ending));
        ending.look(now, &Hurry::default())
    }

    /// Looks after all of them, and what is on them. The result: when the next must be looked at.
    pub(crate) fn sweep(&self, now: Instant, hurry: Hurry) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        self.0.borrow_mut().retain(|ending| match ending.upgrade() {
            Some(ending) => {
                let hurry = match ending.lifetime.patient {
                    true => Hurry::default(),
                    false => hurry,
                };
                let streams = ending.streams.sweep(now, hurry.stream_idle);
                let ahead = [next, ending.look(now, &hurry), streams];
                next = ahead.into_iter().flatten().min();
                true
            }
            None => false,
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ending(drain: &Arc<Drain>, lifetime: Lifetime) -> (Rc<Ending>, Instant) {
        let now = Instant::now();
        (Ending::new(drain, lifetime, now), now)
    }

    fn due(ending: &Ending, now: Instant) -> (bool, bool, bool) {
        ending.look(now, &Hurry::default());
        let Due {
            leave,
            close_idle,
            close_now,
        } = ending.due.get();
        (leave, close_idle, close_now)
    }

    #[test]
    fn an_idle_connection_closes_only_when_the_drain_time_is_over() {
        let drain = Arc::new(Drain::default());
        let (ending, now) = ending(&drain, Lifetime::default());
        assert_eq!(ending.look(now, &Hurry::default()), None);
        drain.start(SECOND * 4);
        assert!(ending.is_draining());
        assert!(
            ending
                .look(now, &Hurry::default())
                .is_some_and(|next| next >= now + SECOND * 4)
        );
        assert_eq!(due(&ending, now + SECOND * 3), (true, false, false));
        assert_eq!(due(&ending, now + SECOND * 5), (true, true, false));
    }

    #[test]
    fn a_busy_connection_is_not_idle() {
        let lifetime = Lifetime {
            idle: Some(SECOND),
            most: None,
            patient: false,
            upstream: None,
            guard: None,
            shown: None,
            upstream_shown: None,
        };
        let (ending, now) = ending(&Arc::default(), lifetime);
        let active = ending.begin();
        assert_eq!(ending.look(now, &Hurry::default()), Some(now + SECOND));
        assert_eq!(due(&ending, now + SECOND * 2), (false, false, false));
        drop(active);
        let ended = ending.last.get();
        assert_eq!(due(&ending, ended + SECOND / 2), (false, false, false));
        assert_eq!(due(&ending, ended + SECOND), (true, true, false));
    }

    #[test]
    fn a_long_idle_time_sets_no_timer() {
        let lifetime = Lifetime {
            idle: Some(COARSE),
            most: None,
            patient: false,
            upstream: None,
            guard: None,
            shown: None,
            upstream_shown: None,
        };
        let (ending, now) = ending(&Arc::default(), lifetime);
        assert_eq!(ending.look(now, &Hurry::default()), None);
        assert_eq!(due(&ending, now + COARSE), (true, true, false));
    }

    #[test]
    fn a_connection_lasts_no_longer_than_it_may() {
        let lifetime = Lifetime {
            idle: None,
            most: Some(Box::new((SECOND, SECOND))),
            patient: false,
            upstream: None,
            guard: None,
            shown: None,
            upstream_shown: None,
        };
        let (ending, now) = ending(&Arc::default(), lifetime);
        let _busy = ending.begin();
        assert_eq!(ending.look(now, &Hurry::default()), Some(now + SECOND));
        assert!(!ending.is_draining());
        assert_eq!(due(&ending, now + SECOND), (true, true, false));
        assert_eq!(due(&ending, now + SECOND * 2), (true, true, true));
    }

    #[test]
    fn a_connection_may_wait_for_its_next_answer_to_end() {
        let lifetime = Lifetime {
            most: Some(Box::new((Duration::ZERO, Duration::ZERO))),
            ..Lifetime::default()
        };
        let (ending, now) = ending(&Arc::default(), lifetime);
        ending.end_with_answer();
        assert!(!ending.is_draining());
        assert_eq!(due(&ending, now + SECOND), (false, false, false));
        let _request = ending.begin();
        assert!(ending.is_draining());
    }

    #[test]
    fn a_changed_chain_never_cuts_what_is_in_flight() {
        let drain = Arc::new(Drain::default());
        let (ending, now) = ending(&drain, Lifetime::default());
        drain.start(SECOND);
        assert_eq!(due(&ending, now + SECOND * 60), (true, true, false));
        drain.finish(SECOND);
        assert_eq!(due(&ending, now + SECOND * 60), (true, true, true));
    }

    #[test]
    fn a_forbidden_chain_is_cut_at_once_and_keeps_its_reason() {
        let drain = Arc::new(Drain::default());
        let (ending, _) = ending(&drain, Lifetime::default());
        let _busy = ending.begin();
        drain.finish(SECOND * 60);
        assert_eq!(ending.cut_by(), None);
        drain.forbid(CutBy::Strict);
        drain.finish(SECOND * 60);
        assert_eq!(due(&ending, Instant::now()), (true, true, true));
        assert_eq!(ending.cut_by(), Some(CutBy::Strict));
    }

    #[derive(Debug)]
    struct Revoked(std::sync::atomic::AtomicBool);

    impl TlsFacts for Revoked {
        fn write(&self, _: &leno_engine::compile::access_log::TlsFact, _: &mut Vec<u8>) -> bool {
            false
        }

        fn is_revoked(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    #[test]
    fn a_connection_ends_when_what_its_peer_has_shown_is_taken_back() {
        let shown = Arc::new(Revoked(false.into()));
        let lifetime = Lifetime {
            shown: Some(Arc::clone(&shown) as _),
            ..Lifetime::default()
        };
        let (ending, now) = ending(&Arc::default(), lifetime);
        let _busy = ending.begin();
        assert_eq!(due(&ending, now), (false, false, false));
        shown.0.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(due(&ending, now), (true, false, true));
        assert_eq!(ending.cut_by(), Some(CutBy::Revoked));
    }

    #[test]
    fn what_is_due_wakes_the_connection() {
        let drain = Arc::new(Drain::default());
        let (ending, now) = ending(&drain, Lifetime::default());
        let endings = Endings::default();
        assert_eq!(endings.add(&ending, now), None);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        assert!(ending.poll_close_now(&cx).is_pending());
        drain.forbid(CutBy::Strict);
        endings.sweep(Instant::now(), Hurry::default());
        assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed));
        assert!(ending.poll_close_now(&cx).is_ready());
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
