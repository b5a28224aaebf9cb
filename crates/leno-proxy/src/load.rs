//! How many connections each worker has, so that a new one goes to the worker that has the fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The loads of all workers.
#[derive(Debug)]
pub(crate) struct Loads(Vec<Load>);

/// Connections of one worker, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// A connection counted as a worker's load, until dropped.
pub(crate) struct Counted {
    loads: Arc<Loads>,
    worker: usize,
}

// === impl Loads ===

impl Loads {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Load::default()).collect())
    }

    pub(crate) fn workers(&self) -> usize {
        self.0.len()
    }

    /// Connections of all workers.
    pub(crate) fn total(&self) -> usize {
        self.0.iter().map(|load| load.0.load(Relaxed)).sum()
    }

    /// The least loaded worker; `own` if none has less.
    pub(crate) fn least(&self, own: usize) -> usize {
        let load = |worker: usize| self.0.get(worker).map_or(usize::MAX, |l| l.0.load(Relaxed));
        let least = (0..self.0.len())
            .min_by_key(|worker| load(*worker))
            .unwrap_or(own);
        if load(least) < load(own) { least } else { own }
    }

    pub(crate) fn count(self: &Arc<Self>, worker: usize) -> Counted {
        if let Some(load) = self.0.get(worker) {
            load.0.fetch_add(1, Relaxed);
        }
        Counted {
            loads: Arc::clone(self),
            worker,
        }
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.loads.0.get(self.worker) {
            load.0.fetch_sub(1, Relaxed);
        }
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counted({})", self.worker)
    }
}
