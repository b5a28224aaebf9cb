//! Ending connections without failing a request.
//!
//! A filter chain that has changed, or a process that is to end, drains: HTTP/2 clients get GOAWAY, HTTP/1 clients
//! get `Connection: close` with their next response. An idle HTTP/1 connection is only closed when the drain time is
//! over, because a request may already be on its way. What is in flight is finished; it is cut off only by the end of
//! the process, or by a change that forbids the connection ([`CutBy`]).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
}

/// What connections of one filter chain watch.
#[derive(Debug)]
pub(crate) struct Drain(watch::Sender<Phase>);

/// One connection's view: its chain's drain and its own idleness.
#[derive(Debug)]
pub(crate) struct ConnectionDrain {
    phase: watch::Receiver<Phase>,
    /// A tunnel outlives the connection that it was, and is to be reached as long as it is there.
    chain: Arc<Drain>,
    activity: Rc<Activity>,
    began: Instant,
    lifetime: Lifetime,
}

/// How long a connection may last, apart from its chain's drain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lifetime {
    /// Without a stream.
    pub(crate) idle: Option<Duration>,
    /// Until it is drained (`max_connection_duration`), and from then on until it is cut off.
    pub(crate) most: Option<(Duration, Duration)>,
}

/// Whether a connection is in use.
#[derive(Debug)]
pub(crate) struct Activity {
    streams: Cell<u32>,
    last: Cell<Instant>,
}

/// A stream in progress, and when it ended if somebody has looked.
#[derive(Debug)]
pub(crate) struct Active(Rc<Activity>, Option<std::time::Instant>);

// === impl Drain ===

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Drain {
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

    /// Connections of the chain.
    pub(crate) fn connections(&self) -> usize {
        self.0.receiver_count()
    }

    /// A drain in progress is only ever shortened.
    fn enter(&self, close_idle: Instant, cut: Option<(Instant, CutBy)>) {
        self.0.send_modify(|phase| {
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
        });
    }

    pub(crate) fn connection(
        self: &Arc<Self>,
        activity: Rc<Activity>,
        lifetime: Lifetime,
    ) -> ConnectionDrain {
        ConnectionDrain {
            phase: self.0.subscribe(),
            chain: Arc::clone(self),
            activity,
            began: Instant::now(),
            lifetime,
        }
    }
}

// === impl ConnectionDrain ===

impl ConnectionDrain {
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serving || self.over().is_some_and(|at| at <= Instant::now())
    }

    /// What cuts the connection off, once it does.
    pub(crate) fn cut_by(&self) -> Option<CutBy> {
        match *self.phase.borrow() {
            Phase::Draining {
                cut: Some((at, by)), ..
            } if at <= Instant::now() => Some(by),
            _ => None,
        }
    }

    /// A second view of the same drain.
    pub(crate) fn watch(&self) -> Self {
        Self {
            phase: self.phase.clone(),
            chain: Arc::clone(&self.chain),
            activity: Rc::clone(&self.activity),
            began: self.began,
            lifetime: self.lifetime,
        }
    }

    /// When an HTTP/1 connection should end after what it is doing: drained, or idle for too long.
    pub(crate) async fn close_idle(&mut self) {
        loop {
            let phase = *self.phase.borrow_and_update();
            let close = match phase {
                Phase::Serving => None,
                Phase::Draining { close_idle, .. } => Some(close_idle),
            };
            let close = earliest(close, self.over());
            let now = Instant::now();
            if close.is_some_and(|at| at <= now) || self.idle_until().is_some_and(|at| at <= now) {
                return;
            }
            self.wait(earliest(close, self.next_look(now))).await;
        }
    }

    /// When an HTTP/2 connection should say GOAWAY.
    pub(crate) async fn started_or_idle(&mut self) {
        loop {
            let phase = *self.phase.borrow_and_update();
            let now = Instant::now();
            let end = earliest(self.over(), self.idle_until());
            if phase != Phase::Serving || end.is_some_and(|at| at <= now) {
                return;
            }
            self.wait(earliest(self.over(), self.next_look(now))).await;
        }
    }

    /// When the process takes no more excuses, or the connection has lasted for too long.
    pub(crate) async fn close_now(&mut self) {
        loop {
            let phase = *self.phase.borrow_and_update();
            let cut = match phase {
                Phase::Serving => None,
                Phase::Draining { cut, .. } => cut.map(|(at, _)| at),
            };
            let cut = earliest(cut, self.cut());
            if cut.is_some_and(|at| at <= Instant::now()) {
                return;
            }
            self.wait(cut).await;
        }
    }

    fn idle_until(&self) -> Option<Instant> {
        if self.activity.streams.get() > 0 {
            return None;
        }
        Some(self.activity.last.get() + self.lifetime.idle?)
    }

    /// When it has lasted for as long as it may.
    fn over(&self) -> Option<Instant> {
        self.lifetime.most.map(|(most, _)| self.began + most)
    }

    fn cut(&self) -> Option<Instant> {
        self.lifetime.most.map(|(most, drain)| self.began + most + drain)
    }

    /// When idleness is to be looked at again: nothing is armed per request.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        self.idle_until().or_else(|| Some(now + self.lifetime.idle?))
    }

    async fn wait(&mut self, until: Option<Instant>) {
        let changed = async {
            if self.phase.changed().await.is_err() {
                // The chain is gone with its last configuration; its drain has been started before.
                std::future::pending::<()>().await;
            }
        };
        match until {
            None => changed.await,
            Some(at) => tokio::select! {
                () = changed => {}
                () = sleep_until(at) => {}
            },
        }
    }
}

// === impl CutBy ===

impl CutBy {
    /// For records (`%RESPONSE_CODE_DETAILS%`, `%CONNECTION_TERMINATION_DETAILS%`).
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Strict => "strict_mtls",
        }
    }
}

// === impl Activity ===

impl Activity {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            last: Cell::new(Instant::now()),
        })
    }

    pub(crate) fn begin(self: &Rc<Self>) -> Active {
        self.streams.set(self.streams.get() + 1);
        Active(Rc::clone(self), None)
    }
}

impl Active {
    /// It ends at once, and what time it is is known.
    pub(crate) fn end(&mut self, now: std::time::Instant) {
        self.1 = Some(now);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0
            .last
            .set(self.1.map_or_else(Instant::now, Instant::from_std));
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_idle_connection_closes_only_when_the_drain_time_is_over() {
        let drain = Arc::new(Drain::default());
        let activity = Activity::new();
        let mut connection = drain.connection(Rc::clone(&activity), Lifetime::default());
        let begin = Instant::now();
        drain.start(Duration::from_millis(40));
        assert!(connection.is_draining());
        connection.close_idle().await;
        assert!(begin.elapsed() >= Duration::from_millis(40));
    }

    #[tokio::test]
    async fn a_busy_connection_is_not_idle() {
        let drain = Arc::new(Drain::default());
        let activity = Activity::new();
        let mut connection = drain.connection(
            Rc::clone(&activity),
            Lifetime {
                idle: Some(Duration::from_millis(10)),
                most: None,
            },
        );
        let active = activity.begin();
        let busy = tokio::time::timeout(Duration::from_millis(50), connection.close_idle());
        assert!(busy.await.is_err());
        drop(active);
        connection.close_idle().await;
    }

    #[tokio::test]
    async fn a_connection_lasts_no_longer_than_it_may() {
        let drain = Arc::new(Drain::default());
        let activity = Activity::new();
        let _busy = activity.begin();
        let most = (Duration::from_millis(30), Duration::from_millis(30));
        let lifetime = Lifetime {
            idle: None,
            most: Some(most),
        };
        let begin = Instant::now();
        let mut connection = drain.connection(activity, lifetime);
        assert!(!connection.is_draining());
        connection.started_or_idle().await;
        assert!(connection.is_draining() && begin.elapsed() >= most.0);
        connection.close_idle().await;
        connection.close_now().await;
        assert!(begin.elapsed() >= most.0 + most.1);
    }

    #[tokio::test]
    async fn a_changed_chain_never_cuts_what_is_in_flight() {
        let drain = Arc::new(Drain::default());
        let mut connection = drain.connection(Activity::new(), Lifetime::default());
        drain.start(Duration::from_millis(5));
        let cut = tokio::time::timeout(Duration::from_millis(50), connection.close_now());
        assert!(cut.await.is_err());
        drain.finish(Duration::from_millis(20));
        connection.close_now().await;
    }

    #[tokio::test]
    async fn a_forbidden_chain_is_cut_at_once_and_keeps_its_reason() {
        let drain = Arc::new(Drain::default());
        let activity = Activity::new();
        let _busy = activity.begin();
        let mut connection = drain.connection(activity, Lifetime::default());
        drain.finish(Duration::from_secs(60));
        assert_eq!(connection.cut_by(), None);
        drain.forbid(CutBy::Strict);
        drain.finish(Duration::from_secs(60));
        connection.close_now().await;
        assert_eq!(connection.cut_by(), Some(CutBy::Strict));
    }
}
