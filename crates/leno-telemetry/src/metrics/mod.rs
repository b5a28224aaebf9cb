//! Istio's standard metrics (<https://istio.io/latest/docs/reference/config/metrics/>), counted per worker.
//!
//! Each worker owns a [`Shard`] and alone writes its counters, with plain loads and stores: an atomic addition that
//! two workers fight for costs more than the rest of a record. Whoever scrapes sums the shards. A label set is made
//! when it is first seen; from then on a request costs a comparison and a dozen stores, a hash if label sets take
//! turns too fast, and no allocation.
//! Peers choose some of the labels, so their number is bounded; what comes after is counted as `overflow`.

mod identity;
mod report;
mod series;
mod text;

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leno_engine::decide::filter::PeerMetadata;
use smallvec::SmallVec;

use crate::record::{ConnectionRecord, DownstreamRecord, LocalWorkload, RequestRecord, UpstreamRecord};
use identity::{OwnedIdentity, Protocol};
use series::Series;

pub(crate) use identity::{Identity, Reporter};
pub use report::Changes;
pub use series::{LATENCY_BOUNDS_US, SIZE_BOUNDS_BYTES};

/// Label sets that one worker keeps apart.
const MAX_SERIES: usize = 2048;
/// Places where a label set is looked for before its hash is computed.
const GLANCES: usize = 64;

/// All workers' counters. Shared; reading does not disturb the workers.
#[derive(Debug)]
pub struct Metrics {
    local: LocalWorkload,
    shards: Mutex<Vec<Arc<Register>>>,
}

/// One worker's counters.
#[derive(Debug)]
pub struct Shard {
    register: Arc<Register>,
    hasher: RandomState,
    /// By hash of the identity: where among `series` those are that have it.
    index: HashMap<u64, SmallVec<[u32; 2]>, BuildHasherDefault<Hashed>>,
    series: Vec<Arc<Series>>,
    /// By [`Identity::glance`]: which of `series` was found last.
    glances: [u32; GLANCES],
    overflow: [Option<Arc<Series>>; 3],
}

/// What a shard and its readers share: locked when a label set is new, and by readers.
#[derive(Debug, Default)]
struct Register(Mutex<Vec<Arc<Series>>>);

// === impl Metrics ===

impl Metrics {
    pub fn new(local: LocalWorkload) -> Self {
        Metrics {
            local,
            shards: Mutex::default(),
        }
    }

    /// Whose requests these are.
    pub fn local(&self) -> &LocalWorkload {
        &self.local
    }

    /// A new worker's counters. They stay in the sums after the shard is dropped.
    pub fn shard(&self) -> Shard {
        let register = Arc::new(Register::default());
        lock(&self.shards).push(Arc::clone(&register));
        Shard {
            register,
            hasher: RandomState::new(),
            index: HashMap::default(),
            series: Vec::new(),
            glances: [0; GLANCES],
            overflow: Default::default(),
        }
    }

    /// Every label set that Prometheus knows with the sum of its counters: Istio's metrics have no routes.
    fn sums(&self) -> HashMap<OwnedIdentity, series::Sums> {
        let mut sums: HashMap<OwnedIdentity, series::Sums> = HashMap::new();
        for register in lock(&self.shards).iter() {
            for series in lock(&register.0).iter() {
                let identity = OwnedIdentity {
                    route: String::new(),
                    made_by: String::new(),
                    rule: 0,
                    ..series.identity.clone()
                };
                series.add_to(sums.entry(identity).or_default());
            }
        }
        sums
    }
}

// === impl Shard ===

impl Shard {
    /// Counts an HTTP request that has ended.
    pub fn request(&mut self, record: &RequestRecord<'_>) {
        let identity = Identity::of_request(record);
        self.series(&identity).request(record);
    }

    /// Counts a TCP connection that has begun.
    pub fn connection_opened(
        &mut self,
        downstream: &DownstreamRecord,
        upstream: Option<UpstreamRecord<'_>>,
        peer: &PeerMetadata,
    ) {
        let identity = Identity::of_connection(downstream, upstream, peer, Default::default());
        self.series(&identity).opened();
    }

    /// Counts a TCP connection that has ended, and its bytes.
    pub fn connection_closed(&mut self, record: &ConnectionRecord<'_>) {
        let identity = Identity::of_connection(record.downstream, record.upstream, record.peer, record.flags);
        self.series(&identity).closed(record);
    }

    fn series(&mut self, identity: &Identity<'_>) -> &Series {
        let glance = identity.glance() % GLANCES;
        let seen = self.glances[glance] as usize;
        if self.is_of(seen, identity) {
            return &self.series[seen];
        }
        let hash = self.hasher.hash_one(identity);
        let known = self
            .index
            .get(&hash)
            .into_iter()
            .flatten()
            .map(|at| *at as usize)
            .find(|at| self.is_of(*at, identity));
        let at = match known {
            Some(at) => at,
            None if self.series.len() < MAX_SERIES => {
                let at = self.series.len();
                self.index.entry(hash).or_default().push(at as u32);
                self.series.push(self.register.add(identity.into()));
                at
            }
            None => return self.overflow(identity.protocol),
        };
        self.glances[glance] = at as u32;
        &self.series[at]
    }

    fn is_of(&self, at: usize, identity: &Identity<'_>) -> bool {
        let series = self.series.get(at);
        series.is_some_and(|series| series.identity.matches(identity))
    }

    fn overflow(&mut self, protocol: Protocol) -> &Series {
        let register = &self.register;
        self.overflow[protocol as usize]
            .get_or_insert_with(|| register.add(OwnedIdentity::overflow(protocol)))
    }
}

// === impl Register ===

impl Register {
    fn add(&self, identity: OwnedIdentity) -> Arc<Series> {
        let series = Arc::new(Series::new(identity));
        lock(&self.0).push(Arc::clone(&series));
        series
    }
}

/// The index's keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is behind these locks stays whole whoever panics: lists that only grow.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
