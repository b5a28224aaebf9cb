//! What a worker has: one thread's own pools, balancers and view of the configuration.
//!
//! Nothing on a request's way is shared between workers but what is per process by meaning (circuit breakers) and
//! what never changes (the snapshot). Tasks stay on their thread, so they need no `Send` and no lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant, SystemTime};

use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::endpoint::{Internal, Passed};
use leno_engine::decide::balance::LocalCluster;
use leno_engine::decide::filter::{KnownPeers, LocalMetadata};
use leno_engine::decide::notes;
use leno_engine::runtime::Setting;
use leno_proto::envoy::config::core::v3::Node;
use leno_telemetry::stats::{Counts, HttpStat, ListenerStat, Stats, TcpStat};
use tokio::io::DuplexStream;
use tokio::time::MissedTickBehavior;

use crate::codec::h1::Workspace;
use crate::connect::{Connector, InternalListeners, WorkloadSockets};
use crate::counts::WorkerCounts;
use crate::drain::Drain;
use crate::ending::{Ending, Endings, Lifetime};
use crate::idle::Deadlines;
use crate::inbox::{Message, Within, Workers};
use crate::load::Loads;
use crate::lookup::Demand;
use crate::overload::Overload;
use crate::quick_hash::QuickHash;
use crate::random::Random;
use crate::reported::Part;
use crate::state::{ClusterState, Config, Published};
use crate::tcp::Scratch;
use crate::telemetry::Reporter;
use crate::tls::Contexts;
use crate::updates::Updates;
use crate::upstream::Upstream;

/// How often idle streams, pooled connections and ejected endpoints are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// Bytes in each direction of a connection to an internal listener.
const WITHIN: usize = 64 * 1024;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) published: Arc<Published>,
    pub(crate) demand: Demand,
    pub(crate) workload: Option<Arc<dyn WorkloadSockets>>,
    pub(crate) local_metadata: LocalMetadata,
    pub(crate) node: Node,
    pub(crate) fail_closed: Vec<(std::net::IpAddr, u8)>,
    /// What others are told of clients that have only a loopback address.
    pub(crate) own_address: std::net::Ipv4Addr,
    pub(crate) connection_ids: AtomicU64,
    pub(crate) loads: Arc<Loads>,
    /// Somebody wants health checks to fail.
    pub(crate) health_failed: AtomicBool,
    pub(crate) stats: Arc<Stats>,
    pub(crate) updates: Updates,
    /// None: nothing is ever too much.
    pub(crate) overload: Option<Box<Overload>>,
    /// Connections of clients at a time.
    pub(crate) max_connections: Setting<u64>,
}

/// One worker's own state.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) random: Random,
    pub(crate) scratch: Scratch,
    pub(crate) http1: Rc<Workspace>,
    pub(crate) reporter: Reporter,
    pub(crate) tls: Contexts,
    pub(crate) workers: Workers,
    pub(crate) counts: WorkerCounts,
    snapshot: RefCell<Snapshot>,
    upstreams: RefCell<HashMap<String, Rc<Upstream>, QuickHash>>,
    pub(crate) deadlines: Deadlines,
    pub(crate) peers: RefCell<KnownPeers>,
    endings: Endings,
    /// The two clocks, as they were read together.
    clocks: Cell<(Instant, SystemTime)>,
    swept: Cell<u64>,
}

/// The configuration that a request began with. Cheap to clone: no count that other workers touch.
#[derive(Clone, Debug)]
#[expect(
    clippy::redundant_allocation,
    reason = "counted by the worker alone: the inner count is shared by all"
)]
pub(crate) struct Snapshot(Rc<Arc<Config>>);

// === impl Worker ===

impl Worker {
    pub(crate) fn new(
        index: usize,
        shared: Arc<Shared>,
        workers: Workers,
        reporter: Reporter,
        tls: Contexts,
    ) -> Self {
        Self {
            index,
            snapshot: RefCell::new(Snapshot(Rc::new(shared.published.load()))),
            counts: WorkerCounts::new(Arc::clone(&shared.stats)),
            shared,
            random: Random::default(),
            scratch: Scratch::default(),
            http1: Rc::default(),
            reporter,
            tls,
            workers,
            upstreams: RefCell::default(),
            deadlines: Deadlines::default(),
            peers: RefCell::default(),
            endings: Endings::default(),
            clocks: Cell::new((Instant::now(), SystemTime::now())),
            swept: Cell::new(0),
        }
    }

    /// Of its node; may be empty.
    pub(crate) fn zone(&self) -> &str {
        let locality = self.shared.node.locality.as_ref();
        locality.map_or("", |locality| &locality.zone)
    }

    /// What its connections to upstreams are made with.
    pub(crate) fn connector(&self) -> Connector<'_> {
        Connector {
            tls: &self.tls,
            workload: self.shared.workload.as_deref(),
            http1: &self.http1,
            scratch: &self.scratch,
            internal: self,
            ids: &self.shared.connection_ids,
            counts: None,
        }
    }

    pub(crate) fn http_counts(&self, listener: &str, prefix: &str) -> Rc<Counts<HttpStat>> {
        self.counts.of_manager(listener, prefix)
    }

    pub(crate) fn listener_counts(&self, name: &str) -> Rc<Counts<ListenerStat>> {
        self.counts.listeners.get(&self.counts.stats, name)
    }

    pub(crate) fn tcp_counts(&self, prefix: &str) -> Rc<Counts<TcpStat>> {
        self.counts.tcp.get(&self.counts.stats, prefix)
    }

    /// The newest configuration: one atomic load unless it has changed.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot.borrow_mut();
        if self.shared.published.generation() != snapshot.generation() {
            *snapshot = Snapshot(Rc::new(self.shared.published.load()));
        }
        snapshot.clone()
    }

    /// A cluster as this worker sees it.
    pub(crate) fn upstream(&self, snapshot: &Snapshot, name: &str) -> Option<Rc<Upstream>> {
        let generation = snapshot.generation();
        if let Some(upstream) = self.upstreams.borrow().get(name)
            && upstream.is_of(generation)
        {
            return Some(Rc::clone(upstream));
        }
        let state = snapshot.cluster(name)?;
        let upstream = self.take_over(state, snapshot.local(), name, generation);
        if let Discovery::Aggregate(names) = &state.cluster.discovery {
            let members = names.iter().filter_map(|name| self.upstream(snapshot, name));
            upstream.set_members(members.filter(|member| !member.is_aggregate()).collect());
        }
        Some(upstream)
    }

    /// Brings a cluster up to date.
    fn take_over(
        &self,
        state: &Arc<ClusterState>,
        local: Option<&Arc<LocalCluster>>,
        name: &str,
        generation: u64,
    ) -> Rc<Upstream> {
        let mut upstreams = self.upstreams.borrow_mut();
        if let Some(upstream) = upstreams.get(name) {
            upstream.refresh(state, local);
            upstream.set_generation(generation);
            return Rc::clone(upstream);
        }
        let upstream = Rc::new(Upstream::new(
            Arc::clone(state),
            local.cloned(),
            self.random.next(),
            &self.counts.stats,
        ));
        upstream.set_generation(generation);
        upstreams.insert(name.to_owned(), Rc::clone(&upstream));
        upstream
    }

    /// What of these clusters' load was since the last time.
    pub(crate) fn take_loads(&self, names: &[String]) -> Part {
        let upstreams = self.upstreams.borrow();
        let known = names.iter().filter_map(|name| Some((name, upstreams.get(name)?)));
        known
            .map(|(name, upstream)| (name.clone(), upstream.take_load()))
            .collect()
    }

    /// A new connection's end, and its streams', which this worker looks after.
    pub(crate) fn ending(&self, drain: &Arc<Drain>, lifetime: Lifetime) -> Rc<Ending> {
        let now = Instant::now();
        let ending = Ending::new(drain, lifetime, now);
        if let Some(at) = self.endings.add(&ending, now) {
            self.deadlines.add(at);
        }
        ending
    }

    /// The time of day of a moment: logs want it, and one clock is enough for a request to look at.
    pub(crate) fn wall_time(&self, moment: Instant) -> SystemTime {
        let (instant, time) = self.clocks.get();
        match moment.checked_duration_since(instant) {
            Some(since) => time + since,
            None => time - instant.saturating_duration_since(moment),
        }
    }

    /// Looks after streams, pools and reports, for as long as the worker lives.
    pub(crate) async fn look_after(&self) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = sweep.tick() => self.sweep(),
                () = self.deadlines.due() => self.look(),
            }
        }
    }

    /// Ends what is late or drained, of connections and of what is on them.
    pub(crate) fn look(&self) {
        self.look_at(Instant::now());
    }

    fn look_at(&self, now: Instant) {
        let overload = self.shared.overload.as_deref();
        let hurry = overload.map(Overload::hurry).unwrap_or_default();
        let next = self.endings.sweep(now, hurry);
        self.deadlines.reset(now, next);
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.clocks.set((now, SystemTime::now()));
        self.tls.look_for_revoked();
        self.look_at(now);
        let snapshot = self.snapshot();
        let mut upstreams = self.upstreams.borrow_mut();
        if self.swept.replace(snapshot.generation()) != snapshot.generation() {
            upstreams.retain(|name, _| snapshot.cluster(name).is_some());
        }
        for (name, upstream) in upstreams.iter() {
            if let Some(state) = snapshot.cluster(name) {
                upstream.refresh(state, snapshot.local());
            }
            upstream.sweep(now);
        }
        drop(upstreams);
        self.reporter.flush();
    }
}

impl InternalListeners for Worker {
    fn connect(&self, to: &Internal, passed: Passed, notes: notes::Passed) -> Option<DuplexStream> {
        let snapshot = self.snapshot();
        snapshot
            .listener(&to.listener)
            .filter(|state| state.listener.internal)?;
        let (ours, stream) = tokio::io::duplex(WITHIN);
        let within = Within {
            stream,
            listener: to.listener.clone(),
            id: to.id.clone(),
            passed,
            notes,
        };
        self.workers.send(self.index, Message::Within(within));
        Some(ours)
    }
}

// === impl Snapshot ===

impl Deref for Snapshot {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}
