//! Which endpoint of a cluster takes the next request.
//!
//! First the priority (by health, overprovisioned), then the locality (where weighted), then the policy's own choice
//! among the endpoints: one file per policy, one row in [`policy`]. What is computed from health is computed when
//! health changes, not when a request comes. A balancer belongs to one worker.

mod active;
mod aggregate;
mod bounded;
mod client_side;
mod health;
mod least_request;
pub mod load;
mod maglev;
mod murmur;
mod peak_ewma;
mod priority;
mod random;
mod ring_hash;
mod round_robin;
mod schedule;
mod subset;
mod wish;
mod zone;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xxhash_rust::xxh64::xxh64;

pub use self::active::Active;
pub use self::aggregate::{Chosen, Row};
use self::health::Level;
use self::load::{Load, Loaded};

pub use self::priority::Place;
use self::priority::{Class, Left};
use self::subset::Subsets;
pub use self::zone::{LocalCluster, Note, Notes};
use super::health::{ClusterHealth, Flags, HostHealth, Standing};
use super::wish::{Wish, Wishes};
use crate::compile::cluster::{
    BalancePolicy, Cluster, HashFunction, HashKey, Hashing, LeastRequest, SlowStart, Statuses, SubsetConfig,
    ZoneAware,
};
use crate::compile::endpoint::{Assignment, Endpoint, Health, Target};
use crate::compile::listener::Address;
use crate::compile::metadata::Fields;
use crate::compile::route::HostPredicate;

/// What one worker knows of an endpoint; it survives changes of the assignment.
#[derive(Debug)]
pub struct EndpointState {
    /// Requests (HTTP) or connections (TCP) under way.
    pub active: Cell<u32>,
    /// What the process knows of it; None: it is not looked after.
    health: Option<Arc<HostHealth>>,
    /// As it was when the balance was made.
    flags: Cell<Flags>,
    /// What its reports of its load have come to; 0: nothing.
    told_weight: Cell<u32>,
    pub load: Load,
    /// How long its answers take, where that counts.
    latency: peak_ewma::Latency,
    /// In slow start: what of its weight it has, a fraction.
    ramp: Cell<f64>,
    /// In slow start: when it was first seen.
    since: Cell<Option<Instant>>,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            active: Cell::new(0),
            health: None,
            flags: Cell::default(),
            told_weight: Cell::new(0),
            load: Load::default(),
            latency: peak_ewma::Latency::default(),
            ramp: Cell::new(1.0),
            since: Cell::new(None),
        }
    }
}

/// An endpoint with its state.
#[derive(Clone, Debug)]
pub struct Host {
    pub endpoint: Arc<Endpoint>,
    pub state: Rc<EndpointState>,
}

/// What a pick depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    pub random: u64,
    /// By the route's hash policies.
    pub hash: Option<u64>,
    /// What the route asks of endpoints' metadata: their subset.
    pub metadata: Option<&'a Fields>,
    /// Endpoints of earlier attempts.
    pub previous: &'a [Target],
    /// Endpoints that are avoided if `attempts` allow.
    pub omit: &'a [HostPredicate],
    /// How often another endpoint is picked when one of `omit` came up (`host_selection_retry_max_attempts`).
    pub attempts: u32,
    /// The priorities of `previous` are left out, looked at anew after so many.
    pub leave_priorities: Option<u32>,
    /// For clusters whose endpoint is the request's own host.
    pub authority: Option<&'a [u8]>,
    /// For `ORIGINAL_DST` clusters.
    pub original_destination: Option<SocketAddr>,
    /// Where an aggregate cluster has chosen one of this cluster's levels.
    pub place: Option<Place>,
    /// Of the first attempt.
    pub wish: Option<&'a Wish>,
    /// Of all attempts.
    pub wishes: Option<&'a Wishes>,
    /// What is met on the way.
    pub notes: Option<&'a Notes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    #[error("no healthy upstream")]
    NoHealthyEndpoint,
    #[error("the endpoint that was asked for is not there")]
    NotThere(u16),
    #[error("the original destination is not known")]
    NoOriginalDestination,
}

/// A cluster's balance on one worker.
#[derive(Debug)]
pub struct Balancer {
    settings: Settings,
    assignment: Arc<Assignment>,
    local: Option<Arc<LocalCluster>>,
    states: HashMap<Target, Rc<EndpointState>>,
    levels: Vec<Level>,
    subsets: Option<Subsets>,
    seed: u64,
    health: Option<Arc<ClusterHealth>>,
    /// The generation of it that is in the levels.
    seen: u64,
    last_weighed: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq)]
struct Settings {
    choice: Choice,
    subsets: Option<Arc<SubsetConfig>>,
    panic_threshold: u32,
    /// How endpoints are that may be asked for.
    wished: Statuses,
}

/// How one of a priority's hosts is chosen.
#[derive(Clone, Debug, PartialEq)]
struct Choice {
    policy: BalancePolicy,
    locality_weighted: bool,
    zone: ZoneAware,
}

/// What levels are made by, besides health.
struct Rules<'r> {
    panic_threshold: u32,
    zone: ZoneAware,
    local: Option<&'r LocalCluster>,
}

/// A policy's choice among the hosts of one set.
trait Policy: std::fmt::Debug {
    /// Index of the chosen host; `attempt` counts from 0. `hosts` are those that the policy was made for.
    fn pick(&mut self, hosts: &[Host], cx: &PickContext<'_>, attempt: u32) -> Option<usize>;
}

/// The table of policies.
fn policy(policy: &BalancePolicy, hosts: &[WeightedHost<'_>], seed: u64) -> Box<dyn Policy> {
    match *policy {
        BalancePolicy::RoundRobin { .. } => Box::new(round_robin::RoundRobin::new(hosts, seed)),
        BalancePolicy::ClientSide(_) => {
            let weight = |index: usize| hosts.get(index).map_or(1.0, |host| host.host.weight());
            Box::new(client_side::ClientSideWeighted::new(hosts.len(), seed, weight))
        }
        BalancePolicy::LeastRequest(ref settings) => {
            Box::new(least_request::LeastRequest::new(settings, hosts, seed))
        }
        BalancePolicy::PeakEwma(settings) => Box::new(settings),
        BalancePolicy::Random | BalancePolicy::ClusterProvided => Box::new(random::Random),
        BalancePolicy::RingHash {
            minimum,
            maximum,
            function,
            hashing,
        } => {
            let hash: fn(&[u8]) -> u64 = match function {
                HashFunction::XxHash => |bytes| xxh64(bytes, 0),
                HashFunction::Murmur2 => murmur::murmur2,
            };
            let ring = ring_hash::RingHash::new(hosts, (minimum, maximum), hash, hashing.key);
            bounded(Box::new(ring), hashing, hosts)
        }
        BalancePolicy::Maglev { table_size, hashing } => {
            let table = maglev::Maglev::new(hosts, table_size, hashing.key);
            bounded(Box::new(table), hashing, hosts)
        }
    }
}

fn bounded(policy: Box<dyn Policy>, hashing: Hashing, hosts: &[WeightedHost<'_>]) -> Box<dyn Policy> {
    match hashing.bound {
        None => policy,
        Some(factor) => Box::new(bounded::Bounded::new(policy, factor, hosts)),
    }
}

/// A host and its share of the set's load; shares add up to one. Locality weights are already in it.
#[derive(Clone, Copy, Debug)]
struct WeightedHost<'h> {
    host: &'h Host,
    share: f64,
}

// === impl PickContext ===

impl PickContext<'_> {
    fn omits(&self, endpoint: &Endpoint) -> bool {
        self.omit.iter().any(|predicate| match predicate {
            HostPredicate::Previous => self.previous.contains(&endpoint.address),
            HostPredicate::Metadata(fields) => {
                let mut fields = fields.iter();
                fields.all(|(name, value)| endpoint.metadata.get(name) == Some(value))
            }
        })
    }
}

// === impl Host ===

impl Host {
    pub fn start(&self) -> Active {
        self.state.active.set(self.state.active.get() + 1);
        Active::new(self.state.clone())
    }

    /// What it weighs now.
    fn weight(&self) -> f64 {
        let weight = match self.state.told_weight.get() {
            0 => self.endpoint.weight,
            told => told,
        };
        f64::from(weight) * self.state.ramp.get()
    }

    /// What consistent hashing knows it by.
    fn hash_key(&self, key: HashKey) -> Cow<'_, str> {
        match (&self.endpoint.hash_key, key) {
            (Some(own), _) => own.into(),
            (None, HashKey::Hostname) => self.endpoint.hostname.as_str().into(),
            (None, HashKey::Address) => self.endpoint.address.to_string().into(),
        }
    }

    /// None: it is not used while there are others.
    fn class(&self) -> Option<Class> {
        match self.endpoint.standing(self.state.flags.get()) {
            Standing::Healthy => Some(Class::Healthy),
            Standing::Degraded => Some(Class::Degraded),
            Standing::Unhealthy => None,
        }
    }

    /// It is neither well nor unwell: there is nothing to be known of it, or it wants nothing more.
    fn is_left_out(&self) -> bool {
        self.state.flags.get().has(Flags::UNCHECKED | Flags::EXCLUDED)
    }

    /// What the process knows of it.
    pub fn health(&self) -> Option<&Arc<HostHealth>> {
        self.state.health.as_ref()
    }
}

// === impl Balancer ===

impl Balancer {
    /// `health` is all workers'. `seed`: a random number, so that workers and proxies do not all begin with the same
    /// endpoint.
    pub fn new(
        cluster: &Cluster,
        assignment: Arc<Assignment>,
        health: Option<Arc<ClusterHealth>>,
        seed: u64,
    ) -> Self {
        let mut this = Self {
            settings: Settings::of(cluster),
            assignment,
            local: None,
            states: HashMap::new(),
            levels: Vec::new(),
            subsets: None,
            seed,
            health,
            seen: 0,
            last_weighed: None,
        };
        this.rebuild();
        this
    }

    /// Takes a new cluster or assignment; endpoints that stay keep their state.
    pub fn update(
        &mut self,
        cluster: &Cluster,
        assignment: Arc<Assignment>,
        health: Option<Arc<ClusterHealth>>,
    ) {
        let settings = Settings::of(cluster);
        if settings == self.settings && assignment == self.assignment && is_same(&self.health, &health) {
            return;
        }
        self.health = health;
        self.settings = settings;
        self.assignment = assignment;
        self.rebuild();
    }

    /// Takes what is known of the proxies like this one; None: localities are all the same.
    pub fn set_local(&mut self, local: Option<Arc<LocalCluster>>) {
        if self.local != local {
            self.local = local;
            self.rebuild();
        }
    }

    pub fn pick(&mut self, cx: &PickContext<'_>) -> Result<Host, PickError> {
        if self.settings.choice.policy == BalancePolicy::ClusterProvided {
            return self.original_destination(cx);
        }
        self.heed_health();
        if let Some(decided) = cx.wish.and_then(|wish| self.grant(wish)) {
            return decided;
        }
        if let Some(host) = cx.wishes.and_then(|wishes| self.grant_next(wishes)) {
            return Ok(host);
        }
        let mut last = None;
        let left = self.left_priorities(cx);
        for attempt in 0..=cx.attempts {
            let again;
            let cx = match attempt {
                0 => cx,
                _ => {
                    let random = mix(cx.random, attempt);
                    again = PickContext { random, ..*cx };
                    &again
                }
            };
            let Some(host) = self.pick_once(cx, attempt, &left) else {
                break;
            };
            if !cx.omits(&host.endpoint) {
                return Ok(host);
            }
            last = Some(host);
        }
        last.ok_or(PickError::NoHealthyEndpoint)
    }

    /// Every endpoint, for views and for warming.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.levels.iter().flat_map(Level::hosts)
    }

    /// What each endpoint had to do since the last time; nothing of those that had nothing.
    pub fn take_loads(&self) -> Vec<(Target, Loaded)> {
        let states = self.states.iter();
        let loads = states.map(|(address, state)| (address.clone(), state.load.take(state.active.get())));
        loads.filter(|(_, loaded)| !loaded.is_nothing()).collect()
    }

    /// Those that checks or their requests have put out.
    pub fn unwell(&self) -> impl Iterator<Item = &Host> {
        self.hosts()
            .filter(|host| host.state.flags.get().has(Flags::FAILED_CHECK | Flags::EJECTED))
    }

    /// Takes in what has changed of the endpoints' health. True: something has.
    pub fn heed_health(&mut self) -> bool {
        let stale = self
            .health
            .as_ref()
            .is_some_and(|health| health.generation() != self.seen);
        if stale {
            self.rebuild();
        }
        stale
    }

    /// Lets new endpoints grow, and old measurements go. To be called often.
    pub fn tick(&mut self, now: Instant) {
        self.weigh(now);
        self.forget_latencies(now);
        self.let_grow(now);
    }

    fn let_grow(&mut self, now: Instant) {
        let Some(slow_start) = self.settings.slow_start() else {
            return;
        };
        let mut grown = false;
        for state in self.states.values().filter(|state| state.ramp.get() < 1.0) {
            let since = state.since.get().unwrap_or(now);
            state.since.set(Some(since));
            state
                .ramp
                .set(slow_start.weight(now.saturating_duration_since(since)));
            grown |= state.ramp.get() == 1.0;
        }
        if grown {
            self.rebuild();
        }
    }

    fn left_priorities(&self, cx: &PickContext<'_>) -> Left {
        match cx.leave_priorities.filter(|_| cx.place.is_none()) {
            None => Left::new(),
            Some(every) => priority::tried(&health::standings(&self.levels), cx.previous, every, |target| {
                self.priority_of(target)
            }),
        }
    }

    /// The priority of an endpoint.
    pub fn priority_of(&self, target: &Target) -> Option<usize> {
        let is_there = |level: &Level| level.hosts().any(|host| host.endpoint.address == *target);
        self.levels.iter().position(is_there)
    }

    fn pick_once(&mut self, cx: &PickContext<'_>, attempt: u32, left: &Left) -> Option<Host> {
        let (levels, choice) = (&mut self.levels, &self.settings.choice);
        if !left.is_empty() && self.subsets.is_none() {
            return health::pick_among_others(levels, left, choice, self.seed, cx, attempt);
        }
        match &mut self.subsets {
            None => health::pick(levels, choice, self.seed, cx, attempt),
            Some(subsets) => subsets.pick(levels, choice, self.seed, cx, attempt),
        }
    }

    fn original_destination(&mut self, cx: &PickContext<'_>) -> Result<Host, PickError> {
        let address = cx.original_destination.ok_or(PickError::NoOriginalDestination)?;
        Ok(Host {
            endpoint: Arc::new(Endpoint::at(address)),
            state: Rc::default(),
        })
    }

    fn rebuild(&mut self) {
        let mut states = HashMap::with_capacity(self.states.len());
        let old = &self.states;
        let slow_start = self.settings.slow_start();
        // First: what changes from now on is seen the next time.
        self.seen = self.health.as_ref().map_or(0, |health| health.generation());
        let health = self.health.as_deref();
        let fresh = |known: Option<Arc<HostHealth>>| {
            let state = EndpointState {
                health: known,
                ..EndpointState::default()
            };
            if let Some(slow_start) = slow_start {
                state.ramp.set(slow_start.weight(Duration::ZERO));
            }
            Rc::new(state)
        };
        let mut host = |endpoint: &Arc<Endpoint>| {
            let key = &endpoint.address;
            let state: &mut Rc<EndpointState> = states.entry(key.clone()).or_insert_with(|| {
                let known = health.and_then(|health| health.host(key));
                let flags = known.as_ref().map(|known| known.flags()).unwrap_or_default();
                let same = |state: &&Rc<EndpointState>| is_same(&state.health, &known);
                let state = old.get(key).filter(same).cloned();
                let state = state.unwrap_or_else(|| fresh(known));
                state.flags.set(flags);
                state
            });
            Host {
                endpoint: endpoint.clone(),
                state: state.clone(),
            }
        };
        let (assignment, settings) = (&self.assignment, &self.settings);
        let rules = Rules {
            panic_threshold: settings.panic_threshold,
            zone: settings.choice.zone,
            local: self.local.as_deref(),
        };
        self.levels = health::levels(assignment, &rules, &|_| true, false, &mut host);
        let subsets = settings.subsets.as_ref();
        self.subsets =
            subsets.map(|subsets| Subsets::new(subsets, assignment, &rules, &settings.choice, &mut host));
        self.states = states;
        self.seed = mix(self.seed, 1);
    }
}

// === impl Settings ===

impl Settings {
    fn slow_start(&self) -> Option<&SlowStart> {
        match &self.choice.policy {
            BalancePolicy::RoundRobin { slow_start }
            | BalancePolicy::LeastRequest(LeastRequest { slow_start, .. }) => slow_start.as_ref(),
            BalancePolicy::ClientSide(settings) => settings.slow_start.as_ref(),
            _ => None,
        }
    }

    fn of(cluster: &Cluster) -> Self {
        Self {
            choice: Choice {
                policy: cluster.balance.clone(),
                locality_weighted: cluster.locality_weighted,
                zone: cluster.zone,
            },
            subsets: cluster.subsets.clone(),
            panic_threshold: cluster.panic_threshold,
            wished: cluster.wished,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint of which only the address is known.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address: Target::Address(Address::Socket(address)),
            others: Vec::new(),
            hostname: String::new(),
            weight: 1,
            health: Health::Unknown,
            hash_key: None,
            metadata: Default::default(),
            transport_match: Default::default(),
            other_metadata: None,
            locality_metadata: Default::default(),
            workload: None,
            told: None,
            check: None,
        }
    }
}

fn is_same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr)
}

/// Whether some weigh more than others.
fn is_uneven(hosts: &[WeightedHost<'_>]) -> bool {
    let mut weights = hosts.iter().map(|host| host.host.weight());
    let first = weights.next();
    weights.any(|weight| Some(weight) != first)
}

/// Another random number from one and a counter (SplitMix64's finalizer); the same for counter 0.
fn mix(random: u64, counter: u32) -> u64 {
    if counter == 0 {
        return random;
    }
    let mut z = random.wrapping_add(u64::from(counter).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
