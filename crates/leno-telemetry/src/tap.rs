//! Live requests: which of them somebody asks for, and what is told of each.
//!
//! Nobody pays for what nobody watches: a worker looks at one number that changes when a tap comes or goes. A tap never
//! holds a request up: what its reader does not take in time is lost, and counted.

mod filter;
mod told;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use leno_proto::control::TapRecord;

use crate::record::{LocalWorkload, RequestRecord};

pub use filter::{BadFilter, Filter};

/// Who reads a tap: takes a record, or says that it has no room for it.
pub type Reader = Box<dyn Fn(TapRecord) -> Result<(), Full> + Send + Sync>;

/// The reader has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The taps of a process.
#[derive(Debug, Default)]
pub struct Taps {
    /// Changes with `taps`.
    generation: AtomicU64,
    taps: Mutex<Vec<Arc<Tap>>>,
}

/// One reader's wish.
pub struct Tap {
    pub id: u64,
    filter: Filter,
    /// Records in a second.
    limit: u32,
    /// The second that is counted, and the records of it so far.
    second: AtomicU64,
    lost: AtomicU64,
    over_limit: AtomicU64,
    reader: Reader,
}

/// One worker's view of the taps.
#[derive(Debug)]
pub struct Tapping {
    all: Arc<Taps>,
    seen: u64,
    taps: Vec<Arc<Tap>>,
}

// === impl Taps ===

impl Taps {
    /// False: there are `most` already.
    pub fn add(&self, tap: Arc<Tap>, most: usize) -> bool {
        let mut added = false;
        self.change(|taps| {
            // The same again is asked for where it is not known whether the first has arrived.
            taps.retain(|known| known.id != tap.id);
            added = taps.len() < most;
            if added {
                taps.push(tap);
            }
        });
        added
    }

    pub fn remove(&self, id: u64) {
        self.change(|taps| taps.retain(|tap| tap.id != id));
    }

    pub fn clear(&self) {
        self.change(Vec::clear);
    }

    /// Number and losses of each tap since the last call.
    pub fn losses(&self) -> Vec<Losses> {
        let taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        taps.iter().map(|tap| tap.losses()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Tap>>)) {
        let mut taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut taps);
        self.generation.fetch_add(1, Relaxed);
    }
}

/// What of a tap's requests was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub id: u64,
    /// The reader was too slow.
    pub lost: u64,
    /// There were more than the limit.
    pub over_limit: u64,
}

// === impl Tap ===

impl Tap {
    /// `limit`: records in a second.
    pub fn new(id: u64, filter: Filter, limit: u32, reader: Reader) -> Self {
        Self {
            id,
            filter,
            limit,
            second: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            reader,
        }
    }

    fn offer(&self, record: &RequestRecord<'_>, local: &LocalWorkload) {
        if !self.filter.matches(record) {
            return;
        }
        if !self.is_within_limit(record) {
            self.over_limit.fetch_add(1, Relaxed);
        } else if (self.reader)(told::tell(record, local)) == Err(Full) {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Counts by the second in which the request ended.
    fn is_within_limit(&self, record: &RequestRecord<'_>) -> bool {
        let end = (record.start + record.duration).duration_since(UNIX_EPOCH);
        let second = end.map_or(0, |end| end.as_secs()) << 32;
        let count = |counted: u64| {
            let so_far = if counted >> 32 << 32 == second {
                counted & u64::from(u32::MAX)
            } else {
                0
            };
            (so_far < u64::from(self.limit)).then_some(second | (so_far + 1))
        };
        self.second.fetch_update(Relaxed, Relaxed, count).is_ok()
    }

    fn losses(&self) -> Losses {
        Losses {
            id: self.id,
            lost: self.lost.swap(0, Relaxed),
            over_limit: self.over_limit.swap(0, Relaxed),
        }
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap")
            .field("id", &self.id)
            .field("filter", &self.filter)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

// === impl Tapping ===

impl Tapping {
    pub fn new(all: Arc<Taps>) -> Self {
        Self {
            all,
            seen: 0,
            taps: Vec::new(),
        }
    }

    /// Shows a request that has ended to whoever watches.
    pub fn request(&mut self, record: &RequestRecord<'_>, local: &LocalWorkload) {
        let generation = self.all.generation.load(Relaxed);
        if generation != self.seen {
            self.look(generation);
        }
        for tap in &self.taps {
            tap.offer(record, local);
        }
    }

    #[cold]
    fn look(&mut self, generation: u64) {
        self.seen = generation;
        let taps = self.all.taps.lock().unwrap_or_else(PoisonError::into_inner);
        self.taps.clone_from(&taps);
    }
}
