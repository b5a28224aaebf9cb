//! A worker's part of the statistics.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use leno_telemetry::stats::{Counts, HttpStat, ListenerStat, Stat, Stats, TcpStat};

use crate::quick_hash::QuickHash;

/// Its counters of what is known by a name of the configuration; those of a cluster are the cluster's.
pub(crate) struct WorkerCounts {
    pub(crate) stats: Arc<Stats>,
    pub(crate) http: Named<HttpStat>,
    pub(crate) listeners: Named<ListenerStat>,
    pub(crate) tcp: Named<TcpStat>,
}

pub(crate) struct Named<S>(RefCell<HashMap<String, Rc<Counts<S>>, QuickHash>>);

/// Something that lasts: one more now, one less when it is dropped.
#[derive(Debug)]
pub(crate) struct Lasting<S: Stat> {
    counts: Rc<Counts<S>>,
    active: S,
    /// Counted at the end.
    ended: Option<S>,
}

impl WorkerCounts {
    pub(crate) fn new(stats: Arc<Stats>) -> Self {
        Self {
            stats,
            http: Named(RefCell::default()),
            listeners: Named(RefCell::default()),
            tcp: Named(RefCell::default()),
        }
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

impl<S: Stat> Drop for Lasting<S> {
    fn drop(&mut self) {
        self.counts.dec(self.active);
        if let Some(ended) = self.ended {
            self.counts.inc(ended);
        }
    }
}
