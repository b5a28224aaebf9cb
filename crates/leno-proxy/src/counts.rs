//! A worker's part of the statistics.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use leno_telemetry::stats::{
    Alone, Counts, HttpStat, ListenerStat, OpenTelemetryStat, RouteStat, Stat, Stats, TcpStat, Time as _,
    ZipkinStat,
};

use crate::quick_hash::QuickHash;

/// Its counters of what is known by a name of the configuration; those of a cluster are the cluster's.
pub(crate) struct WorkerCounts {
    pub(crate) stats: Arc<Stats>,
    http: RefCell<Managers>,
    pub(crate) listeners: Named<ListenerStat>,
    pub(crate) tcp: Named<TcpStat>,
    pub(crate) routes: Named<RouteStat>,
    alone: OnceCell<Counts<Alone>>,
    tracing: (OnceCell<Counts<OpenTelemetryStat>>, OnceCell<Counts<ZipkinStat>>),
}

/// Of connection managers, by listener and then by prefix.
type Managers = HashMap<String, HashMap<String, Rc<Counts<HttpStat>>, QuickHash>, QuickHash>;

pub(crate) struct Named<S>(RefCell<HashMap<String, Rc<Counts<S>>, QuickHash>>);

/// Something that lasts: one more now, one less when it is dropped.
#[derive(Debug)]
pub(crate) struct Lasting<S: Stat> {
    counts: Rc<Counts<S>>,
    active: S,
    /// Counted at the end.
    ended: Option<S>,
}

/// Something that lasts, and how long: that is observed when it is dropped.
pub(crate) struct Timed<S: Stat> {
    counts: Rc<Counts<S>>,
    what: S::Time,
    pub(crate) began: Instant,
    /// Where somebody has looked at the clock.
    ended: Option<Instant>,
}

impl WorkerCounts {
    pub(crate) fn new(stats: Arc<Stats>) -> Self {
        Self {
            stats,
            http: RefCell::default(),
            listeners: Named(RefCell::default()),
            tcp: Named(RefCell::default()),
            routes: Named(RefCell::default()),
            alone: OnceCell::new(),
            tracing: Default::default(),
        }
    }

    /// A connection manager's, by the listener that has it.
    pub(crate) fn of_manager(&self, listener: &str, prefix: &str) -> Rc<Counts<HttpStat>> {
        let mut known = self.http.borrow_mut();
        if let Some(counts) = known
            .get(listener)
            .and_then(|of_listener| of_listener.get(prefix))
        {
            return Rc::clone(counts);
        }
        let counts = Rc::new(self.stats.counts_at(listener, prefix));
        let of_listener = known.entry(listener.to_owned()).or_default();
        of_listener.insert(prefix.to_owned(), Rc::clone(&counts));
        counts
    }

    /// What belongs to nothing but itself.
    pub(crate) fn alone(&self) -> &Counts<Alone> {
        self.alone.get_or_init(|| self.stats.counts(""))
    }

    /// Of all who get OpenTelemetry's spans.
    pub(crate) fn opentelemetry(&self) -> &Counts<OpenTelemetryStat> {
        self.tracing.0.get_or_init(|| self.stats.counts(""))
    }

    /// Of all who get Zipkin's spans.
    pub(crate) fn zipkin(&self) -> &Counts<ZipkinStat> {
        self.tracing.1.get_or_init(|| self.stats.counts(""))
    }
}

impl<S: Stat> Named<S> {
    pub(crate) fn get(&self, stats: &Stats, name: &str) -> Rc<Counts<S>> {
        let mut known = self.0.borrow_mut();
        if let Some(counts) = known.get(name) {
            return Rc::clone(counts);
        }
        let counts = Rc::new(stats.counts(name));
        known.insert(name.to_owned(), Rc::clone(&counts));
        counts
    }
}

impl<S: Stat> Lasting<S> {
    pub(crate) fn begin(counts: &Rc<Counts<S>>, active: S, ended: Option<S>) -> Self {
        counts.inc(active);
        Self {
            counts: Rc::clone(counts),
            active,
            ended,
        }
    }
}

impl<S: Stat> Lasting<S> {
    /// Where it is counted.
    pub(crate) fn counts(&self) -> &Rc<Counts<S>> {
        &self.counts
    }
}

impl<S: Stat> Timed<S> {
    pub(crate) fn begin(counts: &Rc<Counts<S>>, what: S::Time) -> Self {
        Self::since(Instant::now(), counts, what)
    }

    pub(crate) fn since(began: Instant, counts: &Rc<Counts<S>>, what: S::Time) -> Self {
        Self {
            counts: Rc::clone(counts),
            what,
            began,
            ended: None,
        }
    }

    /// It ends at once, and what time it is is known.
    pub(crate) fn end(&mut self, now: Instant) {
        self.ended = Some(now);
    }
}

impl<S: Stat> Drop for Timed<S> {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(Instant::now);
        self.counts
            .took(self.what, now.saturating_duration_since(self.began));
    }
}

impl<S: Stat> std::fmt::Debug for Timed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timed({})", self.what.index())
    }
}

impl<S: Stat> Drop for Lasting<S> {
    fn drop(&mut self) {
        self.counts.dec(self.active);
        if let Some(ended) = self.ended {
            self.counts.inc(ended);
        }
    }
}
