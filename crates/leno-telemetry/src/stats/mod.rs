//! Envoy's statistics, by Envoy's names (<https://www.envoyproxy.io/docs/envoy/latest/operations/stats_overview>).
//!
//! As with [`crate::metrics`], each worker alone writes its own counters, with plain loads and stores, and whoever asks
//! sums them. What is counted together (a cluster, a listener, a connection manager's prefix) is a [`Scope`]; a worker
//! has its counters of one in a [`Counts`], made when it first meets it, so that a name is looked for but once.

mod histogram;
mod meter;
mod names;
mod snapshot;
mod statsd;
mod tags;
mod text;

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use smallvec::SmallVec;

use histogram::Histogram;

pub use histogram::{BOUNDS, Bin, Distribution, QUANTILES};
pub use meter::{Meter, Metering};
pub use names::{
    Alone, AnswerStat, AnswerTime, ClusterStat, ClusterTime, HttpStat, HttpTime, Kind, ListenerStat,
    ListenerTime, OpenTelemetryStat, RouteStat, RouteTime, Stat, TcpStat, Time, ZipkinStat,
};
pub use snapshot::{Sample, Snapshot};
pub use statsd::statsd;
pub use tags::Tagged;
pub use text::{Asked, Buckets, Form, Shown, text};

/// What is counted together, with the first part of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Cluster,
    /// Some of a cluster's answers: of requests from inside, of canaries, from zone to zone. The name is `CLUSTER.WHICH`.
    Answers,
    /// A virtual cluster, or a route that has a prefix, of a virtual host.
    VirtualHost,
    Http,
    Listener,
    Tcp,
    OpenTelemetry,
    Zipkin,
    /// Of nothing: its names are whole.
    Alone,
}

/// All workers' counters. Reading does not disturb the workers.
#[derive(Debug, Default)]
pub struct Stats {
    blocks: Mutex<Vec<Registered>>,
}

/// Forgotten when no worker has it any more.
#[derive(Debug)]
struct Registered {
    scope: Scope,
    name: String,
    /// Of a connection manager: the listener's name.
    listener: Option<String>,
    block: Weak<Block>,
}

#[derive(Debug)]
struct Block {
    counters: Box<[AtomicU64]>,
    times: Box<[Histogram]>,
    /// By status code, those that have occurred.
    codes: Mutex<Vec<OfCode>>,
    /// By names that a configuration or a request says.
    named: Mutex<Vec<(Box<str>, Arc<Named>)>>,
}

#[derive(Debug)]
enum Named {
    Count(AtomicU64),
    Time(Histogram),
}

/// So many names of one scope are counted by one worker: a client may say some of them.
const MAX_NAMED: usize = 4096;

/// A status code, and how often it has occurred.
type OfCode = (u16, Arc<AtomicU64>);

type ByName = HashMap<Box<str>, Arc<Named>>;

/// One worker's counters of one scope.
#[derive(Debug)]
pub struct Counts<S> {
    block: Arc<Block>,
    codes: RefCell<SmallVec<[OfCode; 4]>>,
    /// Most have none.
    named: RefCell<Option<Box<ByName>>>,
    _of: PhantomData<S>,
}

// === impl Stats ===

impl Stats {
    /// A worker's counters of this scope.
    pub fn counts<S: Stat>(&self, name: &str) -> Counts<S> {
        self.register(name, None)
    }

    /// A worker's counters of a connection manager's prefix, as far as it is this listener's: what is told by listener is
    /// counted no second time.
    pub fn counts_at(&self, listener: &str, prefix: &str) -> Counts<HttpStat> {
        self.register(prefix, Some(listener.to_owned()))
    }

    fn register<S: Stat>(&self, name: &str, listener: Option<String>) -> Counts<S> {
        let block = Arc::new(Block {
            counters: S::NAMES.iter().map(|_| AtomicU64::new(0)).collect(),
            times: S::Time::NAMES.iter().map(|_| Histogram::default()).collect(),
            codes: Mutex::default(),
            named: Mutex::default(),
        });
        let mut blocks = lock(&self.blocks);
        // Clusters come and go.
        if blocks.len() == blocks.capacity() {
            blocks.retain(|known| known.block.strong_count() > 0);
        }
        blocks.push(Registered {
            scope: S::SCOPE,
            name: name.to_owned(),
            listener,
            block: Arc::downgrade(&block),
        });
        Counts {
            block,
            codes: RefCell::default(),
            named: RefCell::default(),
            _of: PhantomData,
        }
    }

    /// Sets every counter to zero; what is a state, and no count, stays.
    pub fn reset_counters(&self) {
        for known in lock(&self.blocks).iter() {
            let Some(block) = known.block.upgrade() else {
                continue;
            };
            for (counter, (_, kind)) in block.counters.iter().zip(names::of(known.scope)) {
                if *kind == Kind::Counter {
                    counter.store(0, Relaxed);
                }
            }
            block.times.iter().for_each(Histogram::reset);
            for (_, counter) in lock(&block.codes).iter() {
                counter.store(0, Relaxed);
            }
            for (_, named) in lock(&block.named).iter() {
                match &**named {
                    Named::Count(counter) => counter.store(0, Relaxed),
                    Named::Time(histogram) => histogram.reset(),
                }
            }
        }
    }

    fn each(&self, mut look: impl FnMut(&Registered, &Block)) {
        for known in lock(&self.blocks).iter() {
            if let Some(block) = known.block.upgrade() {
                look(known, &block);
            }
        }
    }
}

// === impl Counts ===

impl<S: Stat> Counts<S> {
    pub fn add(&self, stat: S, amount: u64) {
        if let Some(counter) = self.block.counters.get(stat.index()) {
            add(counter, amount);
        }
    }

    pub fn inc(&self, stat: S) {
        self.add(stat, 1);
    }

    /// Of a state: one less.
    pub fn dec(&self, stat: S) {
        self.add(stat, u64::MAX);
    }

    /// It has taken so long.
    pub fn took(&self, what: S::Time, time: Duration) {
        if let Some(histogram) = self.block.times.get(what.index()) {
            histogram.observe(millis(time));
        }
    }

    /// A counter by a name below the scope's.
    pub fn named(&self, name: &str, amount: u64) {
        self.with_named(
            name,
            || Named::Count(AtomicU64::new(0)),
            |named| {
                if let Named::Count(counter) = named {
                    add(counter, amount);
                }
            },
        );
    }

    /// It has taken so long, by a name below the scope's.
    pub fn took_named(&self, name: &str, time: Duration) {
        self.observed_named(name, millis(time));
    }

    /// A value of a distribution, by a name below the scope's.
    pub fn observed_named(&self, name: &str, value: u64) {
        self.with_named(
            name,
            || Named::Time(Histogram::default()),
            |named| {
                if let Named::Time(histogram) = named {
                    histogram.observe(value);
                }
            },
        );
    }

    fn with_named(&self, name: &str, new: impl FnOnce() -> Named, count: impl FnOnce(&Named)) {
        let mut known = self.named.borrow_mut();
        let known = known.get_or_insert_default();
        if let Some(named) = known.get(name) {
            return count(named);
        }
        if known.len() < MAX_NAMED {
            let named = Arc::new(new());
            count(&named);
            lock(&self.block.named).push((name.into(), Arc::clone(&named)));
            known.insert(name.into(), named);
        }
    }

    /// An answer with this status.
    pub fn code(&self, status: u16) {
        let mut codes = self.codes.borrow_mut();
        if let Some((_, counter)) = codes.iter().find(|(known, _)| *known == status) {
            return add(counter, 1);
        }
        let counter = Arc::new(AtomicU64::new(1));
        lock(&self.block.codes).push((status, Arc::clone(&counter)));
        codes.push((status, counter));
    }
}

/// Of a time longer than all that can be told apart, as many as there can be.
#[inline]
fn millis(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1000);
    whole.saturating_add(time.subsec_millis().into())
}

/// Not `fetch_add`: there is one writer. A state may go below zero here, and not in the sum.
#[inline]
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// What is behind these locks stays whole whoever panics: lists that only grow, or shrink by whole elements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_count_is_added_up() {
        let stats = Stats::default();
        let (one, other) = (stats.counts::<ClusterStat>("a"), stats.counts::<ClusterStat>("a"));
        one.inc(ClusterStat::RqTotal);
        other.add(ClusterStat::RqTotal, 2);
        other.dec(ClusterStat::RqActive);
        one.inc(ClusterStat::RqActive);
        one.inc(ClusterStat::RqActive);
        one.code(503);
        other.code(503);
        let snapshot = Snapshot::of(&stats);
        assert_eq!(snapshot.value("cluster.a.upstream_rq_total"), Some(3));
        assert_eq!(snapshot.value("cluster.a.upstream_rq_active"), Some(1));
        assert_eq!(snapshot.value("cluster.a.upstream_rq_503"), Some(2));
        stats.reset_counters();
        let snapshot = Snapshot::of(&stats);
        assert_eq!(snapshot.value("cluster.a.upstream_rq_total"), Some(0));
        assert_eq!(snapshot.value("cluster.a.upstream_rq_active"), Some(1));
    }

    #[test]
    fn what_no_worker_has_is_forgotten() {
        let stats = Stats::default();
        drop(stats.counts::<ClusterStat>("a"));
        assert_eq!(Snapshot::of(&stats).value("cluster.a.upstream_rq_total"), None);
    }
}
