//! A cluster as one worker sees it: its balancer and its connections.

mod by_host;
mod count;
mod load;
mod pool;
mod seats;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use leno_engine::compile::cluster::{Cluster, Discovery, Transport, UpstreamProtocol};
use leno_engine::compile::endpoint::{Endpoint, Target};
use leno_engine::compile::listener::Address;
use leno_engine::decide::balance::{Balancer, Host, LocalCluster, Note, Notes, PickContext, PickError, Row};
use leno_engine::decide::drop_overload::Dropped;
use leno_engine::decide::health::{self, ClusterHealth};
use leno_engine::decide::limits::{Permit, Priority, Resource};
use leno_engine::decide::notes;
use leno_engine::decide::outlier::Outcome;
use leno_engine::decide::proxy_protocol::Client;
use leno_engine::message::{RequestHead, ResponseHead};
use leno_telemetry::stats::{ClusterStat, Counts, Stats};

use crate::alpn::Offer;
use crate::destination::{Destination, Purpose, Try};
use crate::health::Health;
use crate::outcome::{Failure, StreamError};
use crate::quick_hash::QuickHash;
use crate::random::Random;
use crate::reported::ClusterLoad;
use crate::state::ClusterState;

/// In an answer: the endpoint wants nothing more.
const IMMEDIATE_FAIL: &str = "x-envoy-immediate-health-check-fail";
pub(crate) use count::Besides;
pub(crate) use pool::{Checkout, Pool};
pub(crate) use seats::Taken;

#[derive(Debug)]
pub(crate) struct Upstream {
    state: RefCell<Arc<ClusterState>>,
    pub(crate) counts: Rc<Counts<ClusterStat>>,
    /// What some of its answers are counted as besides.
    answers: count::Answers,
    balancer: RefCell<Balancer>,
    local: RefCell<Option<Arc<LocalCluster>>>,
    pools: RefCell<HashMap<PoolKey, Rc<Pool>>>,
    /// Pools by what a request has at hand, where nothing else decides.
    shortcuts: RefCell<HashMap<ShortcutKey, Shortcut, QuickHash>>,
    /// Of an aggregate: whose endpoints it has.
    members: RefCell<Vec<Rc<Upstream>>>,
    hosts: by_host::Hosts,
    seats: seats::Seats,
    /// The configuration that its state is of.
    generation: Cell<Option<u64>>,
    /// Since load was last told of: requests for which there was no room.
    dropped: Cell<u64>,
    /// Those among them that were dropped as the control plane wants it.
    overload: Cell<u64>,
    random: Random,
}

/// An endpoint, and the cluster that it is of: of an aggregate one of its members.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) host: Host,
}

/// The endpoint's address in memory, which the shortcut keeps alive; what is offered; whether the connection is
/// inbound.
type ShortcutKey = (usize, Offer, bool);

#[derive(Debug)]
struct Shortcut {
    _endpoint: Arc<Endpoint>,
    pool: Rc<Pool>,
}

/// What connections must have in common to be used for each other's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    address: Address,
    /// The transport's address, which the pool's destination keeps alive; 0 is plaintext.
    transport: usize,
    client: Option<Client>,
    apart: Option<u64>,
    passed: notes::Passed,
    host: Option<String>,
    offer: Offer,
    inbound: bool,
}

// === impl Upstream ===

impl Upstream {
    /// `local`: the proxies like this one.
    pub(crate) fn new(
        state: Arc<ClusterState>,
        local: Option<Arc<LocalCluster>>,
        seed: u64,
        stats: &Stats,
    ) -> Self {
        let assignment = state.assignment.clone().unwrap_or_default();
        let mut balancer = Balancer::new(&state.cluster, assignment, known(&state), seed);
        balancer.set_local(local.clone());
        Self {
            counts: Rc::new(stats.counts(&state.cluster.stat_name)),
            answers: count::Answers::default(),
            balancer: RefCell::new(balancer),
            local: RefCell::new(local),
            pools: RefCell::default(),
            shortcuts: RefCell::default(),
            members: RefCell::default(),
            hosts: by_host::Hosts::default(),
            seats: seats::Seats::default(),
            generation: Cell::new(None),
            dropped: Cell::new(0),
            overload: Cell::new(0),
            random: Random::default(),
            state: RefCell::new(state),
        }
    }

    /// Takes over a newer state. Connections to endpoints that are gone, or made another way, are not used again.
    pub(crate) fn refresh(&self, state: &Arc<ClusterState>, local: Option<&Arc<LocalCluster>>) {
        if self.local.borrow().as_ref().map(Arc::as_ptr) != local.map(Arc::as_ptr) {
            self.local.replace(local.cloned());
            self.balancer.borrow_mut().set_local(local.cloned());
        }
        if Arc::ptr_eq(&self.state.borrow(), state) {
            return;
        }
        self.shortcuts.borrow_mut().clear();
        let old = self.state.replace(Arc::clone(state));
        let assignment = state.assignment.clone().unwrap_or_default();
        let mut balancer = self.balancer.borrow_mut();
        balancer.update(&state.cluster, assignment, known(state));
        let mut pools = self.pools.borrow_mut();
        let made_otherwise =
            old.cluster.transport != state.cluster.transport || old.cluster.http2 != state.cluster.http2;
        if made_otherwise || state.cluster.closes_on_change && are_others(&old, state) {
            pools.clear();
        } else if !has_no_own(&state.cluster) {
            pools.retain(|key, _| {
                balancer
                    .hosts()
                    .any(|host| address(&host.endpoint) == Some(&key.address))
            });
        }
    }

    /// What its load was since the last time.
    pub(crate) fn take_load(&self) -> ClusterLoad {
        ClusterLoad {
            dropped: self.dropped.take(),
            overload: self.overload.take(),
            endpoints: self.balancer.borrow().take_loads(),
        }
    }

    /// A request was refused for want of room.
    pub(crate) fn drop_one(&self) {
        self.dropped.set(self.dropped.get() + 1);
    }

    /// Whether this request is dropped, as the control plane wants some to be.
    pub(crate) fn drops(&self) -> Option<Dropped> {
        let state = self.state.borrow();
        let dropped = state
            .assignment
            .as_ref()?
            .drop
            .as_ref()?
            .takes(self.random.next())?;
        self.overload.set(self.overload.get() + 1);
        Some(dropped)
    }

    /// Whether it has the state of this configuration already.
    pub(crate) fn is_of(&self, generation: u64) -> bool {
        self.generation.get() == Some(generation)
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.set(Some(generation));
    }

    /// False while its endpoints are not known.
    pub(crate) fn is_discovered(&self) -> bool {
        let state = self.state.borrow();
        state.assignment.is_some() || has_no_own(&state.cluster)
    }

    /// Its endpoints are names that nobody has looked up yet.
    pub(crate) fn waits_for_names(&self) -> bool {
        let state = self.state.borrow();
        let named = matches!(
            state.cluster.discovery,
            Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }
        );
        named && state.assignment.is_none() && state.cluster.waits_for_names
    }

    /// Those that an aggregate has in a row. An aggregate among them has no endpoints of its own to give.
    pub(crate) fn set_members(&self, members: Vec<Rc<Upstream>>) {
        *self.members.borrow_mut() = members;
    }

    pub(crate) fn is_by_host(&self) -> bool {
        is_by_host(&self.state.borrow().cluster)
    }

    /// Its limits are those of whom it picks from.
    pub(crate) fn is_aggregate(&self) -> bool {
        is_aggregate(&self.state.borrow().cluster)
    }

    /// While nobody knows yet who is well.
    pub(crate) fn cold(&self) -> Option<Arc<Health>> {
        let state = self.state.borrow();
        let own = state.health.as_ref().filter(|health| health.is_cold()).cloned();
        own.or_else(|| self.members.borrow().iter().find_map(|member| member.cold()))
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.state.borrow().cluster)
    }

    /// By which name the server is to be known that takes a request.
    pub(crate) fn server_name<'h>(&self, head: &'h RequestHead) -> &'h [u8] {
        let state = self.state.borrow();
        let header = state.cluster.sni_header.as_ref();
        let said = header.and_then(|name| head.field(name));
        said.filter(|name| !name.is_empty()).unwrap_or(&head.authority)
    }

    /// Connections for each request, where that is more than one.
    pub(crate) fn preconnect(&self) -> Option<f64> {
        self.state.borrow().cluster.preconnect
    }

    pub(crate) fn protocol(&self) -> UpstreamProtocol {
        if let Some(first) = self.members.borrow().first() {
            return first.protocol();
        }
        self.state.borrow().cluster.protocol
    }

    pub(crate) fn acquire(&self, resource: Resource, priority: Priority) -> Option<Permit> {
        self.state.borrow().limits.acquire(resource, priority)
    }

    pub(crate) fn pick(self: &Rc<Self>, cx: &PickContext<'_>) -> Result<Picked, Failure> {
        let picked = match self.is_aggregate() {
            true => self.pick_of_members(cx),
            false => self.pick_own(cx),
        };
        if picked.is_err() {
            self.counts.inc(ClusterStat::CxNoneHealthy);
        }
        picked.map_err(|e| match e {
            PickError::NotThere(status) => Failure::NotThere(status),
            PickError::NoHealthyEndpoint | PickError::NoOriginalDestination => Failure::NoHealthyUpstream,
        })
    }

    /// Connections to endpoints that are unwell are not used again: new ones may do better.
    fn heed_health(&self) {
        let mut balancer = self.balancer.borrow_mut();
        if !balancer.heed_health() {
            return;
        }
        let unwell: Vec<Address> = balancer
            .unwell()
            .filter_map(|host| address(&host.endpoint).cloned())
            .collect();
        if !unwell.is_empty() {
            self.shortcuts.borrow_mut().clear();
            self.pools
                .borrow_mut()
                .retain(|key, _| !unwell.contains(&key.address));
        }
    }

    fn pick_own(self: &Rc<Self>, cx: &PickContext<'_>) -> Result<Picked, PickError> {
        if self.is_by_host() {
            return Ok(Picked {
                host: self.named(cx)?,
                upstream: Rc::clone(self),
            });
        }
        self.heed_health();
        let notes = Notes::default();
        let picked = self.balancer.borrow_mut().pick(&PickContext {
            notes: Some(&notes),
            ..*cx
        });
        if !notes.is_empty() {
            self.count_notes(&notes);
        }
        let host = picked?;
        Ok(Picked {
            upstream: Rc::clone(self),
            host,
        })
    }

    fn count_notes(&self, notes: &Notes) {
        for note in Notes::ALL.into_iter().filter(|note| notes.has(*note)) {
            self.counts.inc(match note {
                Note::Panic => ClusterStat::LbHealthyPanic,
                Note::LocalNotOk => ClusterStat::LbLocalClusterNotOk,
                Note::Direct => ClusterStat::LbZoneRoutingAllDirectly,
                Note::Sampled => ClusterStat::LbZoneRoutingSampled,
                Note::CrossZone => ClusterStat::LbZoneRoutingCrossZone,
                Note::NoCapacityLeft => ClusterStat::LbZoneNoCapacityLeft,
            });
        }
    }

    fn pick_of_members(&self, cx: &PickContext<'_>) -> Result<Picked, PickError> {
        // An aggregate has no endpoint by itself that one could ask for.
        if let Some(wish) = cx.wish.filter(|wish| wish.strict) {
            return Err(PickError::NotThere(wish.status_if_missing));
        }
        let members = self.members.borrow();
        let mut row = Row::default();
        for member in members.iter() {
            member.heed_health();
            row.add(&member.balancer.borrow());
        }
        let panic_threshold = self.state.borrow().cluster.panic_threshold;
        let chosen = row.choose(panic_threshold, cx, |target| {
            let mut numbered = members.iter().enumerate();
            numbered.find_map(|(at, member)| Some((at, member.balancer.borrow().priority_of(target)?)))
        });
        let chosen = chosen.ok_or(PickError::NoHealthyEndpoint)?;
        let member = members.get(chosen.member).ok_or(PickError::NoHealthyEndpoint)?;
        member.pick_own(&PickContext {
            place: Some(chosen.place),
            wish: None,
            ..*cx
        })
    }

    /// How a connection to this endpoint is made.
    pub(crate) fn destination(&self, host: &Host, purpose: &Purpose<'_>) -> Result<Destination, Failure> {
        let state = self.state.borrow();
        let address = address(&host.endpoint).ok_or(Failure::NoHealthyUpstream)?.clone();
        let transport = state.cluster.transport.of(&host.endpoint).clone();
        let name = match transport.tls() {
            Some(tls) if tls.auto_host_sni || tls.auto_san_validation => {
                let hostname = &host.endpoint.hostname;
                let authority = purpose.authority.and_then(|a| std::str::from_utf8(a).ok());
                authority
                    .map(|authority| without_port(authority).to_owned())
                    .or_else(|| (!hostname.is_empty()).then(|| hostname.clone()))
            }
            _ => None,
        };
        let passed = match purpose.behalf.and_then(|behalf| behalf.notes) {
            Some(notes) if transport.passes() && !notes.is_empty() => notes.passed(),
            _ => Vec::new(),
        };
        let is_told = transport.introduction().is_some();
        let toward = address.socket().map(|to| state.cluster.socket_toward(to));
        let (source, options) = toward.unwrap_or_default();
        Ok(Destination {
            source,
            options,
            tries: Try::all(&state.cluster, &host.endpoint, &address),
            address,
            transport,
            host: name,
            offer: purpose.offer,
            inbound: purpose.inbound,
            client: purpose.behalf.filter(|_| is_told).map(Client::from),
            apart: purpose.behalf.filter(|_| state.cluster.apart).map(|of| of.id),
            passed,
            timeout: state.cluster.connect_timeout,
        })
    }

    /// The pool of [`Self::destination`].
    pub(crate) fn pool_for(&self, host: &Host, purpose: &Purpose<'_>) -> Result<Rc<Pool>, Failure> {
        let key = (
            Arc::as_ptr(&host.endpoint) as usize,
            purpose.offer,
            purpose.inbound,
        );
        if let Some(shortcut) = self.shortcuts.borrow().get(&key) {
            return Ok(Rc::clone(&shortcut.pool));
        }
        let to = self.destination(host, purpose)?;
        let pool = self.pool(&to);
        // An original destination is another endpoint each time; a name may be another with each request, and a client.
        if to.host.is_none()
            && to.client.is_none()
            && to.apart.is_none()
            && !to.transport.passes()
            && !is_original_dst(&self.state.borrow().cluster)
        {
            let shortcut = Shortcut {
                _endpoint: Arc::clone(&host.endpoint),
                pool: Rc::clone(&pool),
            };
            self.shortcuts.borrow_mut().insert(key, shortcut);
        }
        Ok(pool)
    }

    pub(crate) fn pool(&self, to: &Destination) -> Rc<Pool> {
        let key = PoolKey {
            address: to.address.clone(),
            transport: match &to.transport {
                Transport::Raw => 0,
                Transport::Tls(tls) => Arc::as_ptr(tls) as usize,
                Transport::Introduced(introduced) => Arc::as_ptr(introduced) as usize,
                Transport::Passing(behind) => Arc::as_ptr(behind) as usize,
            },
            client: to.client.clone(),
            apart: to.apart,
            passed: to
                .passed
                .iter()
                .filter(|(_, object)| object.hashable)
                .cloned()
                .collect(),
            host: to.host.clone(),
            offer: to.offer,
            inbound: to.inbound,
        };
        let mut pools = self.pools.borrow_mut();
        let pool = pools
            .entry(key)
            .or_insert_with(|| Rc::new(Pool::new(to.clone(), self.cluster())));
        pool.set_tries(&to.tries);
        Rc::clone(pool)
    }

    /// A connection that an answer is to come on.
    pub(crate) fn report_connected(&self, host: &Host) {
        self.report(host, Outcome::LocalSuccess);
    }

    /// A connection of which nothing more is known than that it was made.
    pub(crate) fn report_reached(&self, host: &Host) {
        self.report(host, Outcome::Connected);
    }

    pub(crate) fn report_answer(&self, host: &Host, head: &ResponseHead) {
        let outcome = match &self.state.borrow().cluster.errors {
            None => Outcome::Status(head.status),
            Some(errors) => errors.outcome(head),
        };
        self.report(host, outcome);
        let state = self.state.borrow();
        if let Some(health) = &state.health
            && let Some(check) = &state.cluster.health_check
            && let Some(host) = host.health()
            && head.headers.contains(IMMEDIATE_FAIL)
        {
            health.known.exclude(host);
            health.known.fail(host, check, health::Failure::Passive);
        }
    }

    pub(crate) fn report_failure(&self, host: &Host, failure: &Failure) {
        match failure {
            // The client's doing.
            Failure::Stream(StreamError::Malformed { .. }) => {}
            Failure::Connect(_) | Failure::Stream(_) => self.report(host, Outcome::LocalFailure),
            Failure::ConnectTimeout | Failure::TryTimeout | Failure::TryIdle | Failure::Timeout => {
                self.report(host, Outcome::LocalTimeout);
            }
            Failure::Overflow
            | Failure::Dropped(_)
            | Failure::NoHealthyUpstream
            | Failure::NotThere(_)
            | Failure::NoCluster
            | Failure::Unanswered
            | Failure::Expired { .. }
            | Failure::UpstreamDuration
            | Failure::Downstream => {}
        }
    }

    fn report(&self, host: &Host, outcome: Outcome) {
        let state = self.state.borrow();
        if let Some(health) = &state.health
            && let Some(config) = &state.cluster.outlier
            && let Some(host) = host.health()
        {
            health
                .known
                .report(host, config, outcome, Instant::now(), self.random.next());
        }
    }

    pub(crate) fn sweep(&self, now: Instant) {
        self.balancer.borrow_mut().tick(now);
        self.forget(now);
        self.forget_seats();
        let idle = self.state.borrow().cluster.idle_timeout;
        let mut pools = self.pools.borrow_mut();
        let before = pools.len();
        pools.retain(|_, pool| {
            pool.sweep(now, idle, &self.counts);
            !pool.is_unused()
        });
        if pools.len() < before {
            self.shortcuts.borrow_mut().clear();
        }
    }
}

fn known(state: &ClusterState) -> Option<Arc<ClusterHealth>> {
    state.health.as_ref().map(|health| Arc::clone(&health.known))
}

/// Endpoints have come or gone.
fn are_others(old: &ClusterState, new: &ClusterState) -> bool {
    let all = |state: &ClusterState| -> HashSet<Target> {
        let endpoints = state.assignment.iter().flat_map(|all| all.endpoints());
        endpoints.map(|endpoint| endpoint.address.clone()).collect()
    };
    all(old) != all(new)
}

/// None: its name is not resolved.
pub(crate) fn address(endpoint: &Endpoint) -> Option<&Address> {
    match &endpoint.address {
        Target::Address(address) => Some(address),
        Target::Name { .. } => None,
    }
}

fn is_original_dst(cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::OriginalDst)
}

fn is_by_host(cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::DynamicForward(_))
}

/// Its endpoints are not its own.
fn has_no_own(cluster: &Cluster) -> bool {
    is_original_dst(cluster) || is_by_host(cluster) || is_aggregate(cluster)
}

fn is_aggregate(cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::Aggregate(_))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}
