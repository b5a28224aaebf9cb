//! The configuration in force: an immutable snapshot, made by one writer, read by every worker without a lock.
//!
//! A request keeps the snapshot that it began with; a connection takes the newest one at each request. Only what
//! belongs to a connection's start (filter chain match, TLS, HTTP options) cannot be taken over by an open
//! connection: when it changes, the connections of that chain, and only of that chain, drain.

mod changes;
mod defaults;
mod draining;
mod follower;
mod refused;
mod scopes;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use leno_engine::compile::cluster::{Cluster, Discovery, Transport};
use leno_engine::compile::endpoint::{Assignment, LocalityName};
use leno_engine::compile::extension::Configured;
use leno_engine::compile::http::{Scope, ScopeKey};
use leno_engine::compile::listener::{Address, Direction, FilterChain, Listener};
use leno_engine::compile::route::RouteTable;
use leno_engine::decide::balance::LocalCluster;
use leno_engine::decide::limits::ClusterLimits;
use leno_engine::runtime::Runtime;
use leno_tls::{Crypto, SecretSet, Secrets};
use tokio::sync::watch;

use self::changes::Changes;
pub(crate) use self::defaults::Defaults;
use self::draining::{Draining, Retired, drain_time};
use self::follower::Follower;
pub use self::refused::Refused;
use self::refused::{check_logs, refused};
use self::scopes::KnownScopes;
use crate::alpn::Offer;
pub use crate::cluster::ClusterState;
use crate::drain::Drain;
use crate::health::Health;
use crate::listen::Sockets;
use crate::quick_hash::QuickHash;
use crate::secret::Secret;
use crate::tls;

/// Everything a worker needs to serve, at one moment.
#[derive(Debug, Default, Clone)]
pub struct Config {
    generation: u64,
    listeners: HashMap<String, Arc<ListenerState>, QuickHash>,
    /// Listeners by exact address, for connections that were redirected.
    by_address: HashMap<SocketAddr, Arc<ListenerState>, QuickHash>,
    routes: HashMap<String, Arc<RouteTable>, QuickHash>,
    scopes: Arc<HashMap<ScopeKey, Arc<Scope>>>,
    /// Configurations of filters, by the filters' names.
    extensions: Arc<HashMap<String, Configured>>,
    clusters: HashMap<String, Arc<ClusterState>, QuickHash>,
    outlier_log: Option<Arc<Path>>,
    /// The proxies like this one, where zone-aware routing is to know of them.
    local: Option<Arc<LocalCluster>>,
}

#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) listener: Listener,
    drains: Vec<(Arc<FilterChain>, Arc<Drain>)>,
}

/// Where workers find the newest snapshot: one atomic load until it changes.
#[derive(Debug, Default)]
pub(crate) struct Published {
    generation: AtomicU64,
    config: Mutex<Arc<Config>>,
    /// For who waits for something in it.
    changed: watch::Sender<()>,
}

/// The single writer. Changes take effect together, at [`Updater::publish`].
#[derive(Debug)]
pub struct Updater {
    next: Config,
    assignments: HashMap<String, Arc<Assignment>>,
    scopes: KnownScopes,
    published: Arc<Published>,
    sockets: Sockets,
    secrets: Arc<Secrets>,
    crypto: Crypto,
    runtime: Runtime,
    /// Chains to drain once their successors are in force.
    retired: Vec<Retired>,
    /// Draining chains, which a draining process or a change that forbids them must still cut.
    draining: Vec<Draining>,
    stopped: Vec<String>,
    dns_clusters: watch::Sender<()>,
    follower: Follower,
    local: Option<(String, LocalityName)>,
    defaults: Defaults,
    /// Of clusters and of listeners.
    changes: (Changes, Changes),
}

// === impl Config ===

impl Config {
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn listener(&self, name: &str) -> Option<&Arc<ListenerState>> {
        self.listeners.get(name)
    }

    /// The listener for a redirected connection: its exact address, else the wildcard address with its port.
    pub(crate) fn listener_for(&self, destination: SocketAddr) -> Option<&Arc<ListenerState>> {
        let any: IpAddr = match destination {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        self.by_address
            .get(&destination)
            .or_else(|| self.by_address.get(&SocketAddr::new(any, destination.port())))
    }

    /// What has come in the place of a chain that drains: the chain of its listener that takes the same connections.
    pub(crate) fn successor(&self, drain: &Drain, of: &FilterChain) -> Option<&Arc<FilterChain>> {
        let listener = &self.listener(drain.listener())?.listener;
        let mut chains = listener.chains.iter().chain(&listener.default_chain);
        chains.find(|chain| chain.name == of.name && chain.matches == of.matches)
    }

    pub fn route(&self, name: &str) -> Option<&Arc<RouteTable>> {
        self.routes.get(name)
    }

    pub fn cluster(&self, name: &str) -> Option<&Arc<ClusterState>> {
        self.clusters.get(name)
    }

    pub(crate) fn local(&self) -> Option<&Arc<LocalCluster>> {
        self.local.as_ref()
    }

    pub fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.clusters.values()
    }

    /// Where it is written who is ejected.
    pub(crate) fn outlier_log(&self) -> Option<&Arc<Path>> {
        self.outlier_log.as_ref()
    }

    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values().map(|l| &l.listener)
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<RouteTable>> {
        self.routes.values()
    }

    fn index_addresses(&mut self) {
        self.by_address = HashMap::default();
        for state in self.listeners.values() {
            for address in &state.listener.addresses {
                // A listener that does not bind is there for redirected connections, so it comes first.
                if let Address::Socket(address) = address
                    && (!state.listener.bind_to_port || !self.by_address.contains_key(address))
                {
                    self.by_address.insert(*address, Arc::clone(state));
                }
            }
        }
    }
}

// === impl ListenerState ===

impl ListenerState {
    /// Keeps the chains (and their drains) of `old` that are the same. What is left of `old` is to drain.
    fn new(mut listener: Listener, old: Option<&ListenerState>) -> (Self, Vec<Retired>) {
        let mut kept: Vec<(Arc<FilterChain>, Arc<Drain>)> = old.map(|o| o.drains.clone()).unwrap_or_default();
        let mut drains = Vec::new();
        for chain in listener.chains.iter_mut().chain(&mut listener.default_chain) {
            match kept.iter().position(|(c, _)| c == chain) {
                Some(at) => {
                    let (same, drain) = kept.swap_remove(at);
                    *chain = Arc::clone(&same);
                    drains.push((same, drain));
                }
                None => drains.push((Arc::clone(chain), Arc::new(Drain::of(&listener.name)))),
            }
        }
        let retired = kept
            .into_iter()
            .map(|(chain, drain)| Retired {
                listener: listener.name.clone(),
                chain,
                drain,
            })
            .collect();
        (Self { listener, drains }, retired)
    }

    /// Whose word it is that this chain's connections, made before, are to end: the port takes mutual TLS only.
    fn forbids(&self, chain: &FilterChain) -> Option<&str> {
        if chain.tls.is_some() {
            return None;
        }
        let origin = match chain.matches.destination_port {
            Some(port) => self.listener.strict.get(&port),
            // A chain for any port, and none is left that takes plaintext as it did.
            None => {
                let mut rest = self.listener.chains.iter().chain(&self.listener.default_chain);
                match rest.any(|c| c.tls.is_none() && c.matches.destination_port.is_none()) {
                    true => None,
                    false => self.listener.strict.values().next(),
                }
            }
        };
        origin.map(String::as_str)
    }

    pub(crate) fn drain_of(&self, chain: &Arc<FilterChain>) -> Option<&Arc<Drain>> {
        let mut drains = self.drains.iter();
        drains.find(|(c, _)| Arc::ptr_eq(c, chain)).map(|(_, d)| d)
    }
}

// === impl Published ===

impl Published {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn load(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn store(&self, config: Arc<Config>) {
        let generation = config.generation;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        self.generation.store(generation, Ordering::Release);
        self.changed.send_replace(());
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

// === impl Updater ===

impl Updater {
    pub(crate) fn new(
        published: Arc<Published>,
        sockets: Sockets,
        secrets: Arc<Secrets>,
        crypto: Crypto,
        runtime: Runtime,
        follower: impl FnMut(&Config) + Send + 'static,
    ) -> Self {
        Self {
            next: Config::default(),
            assignments: HashMap::new(),
            scopes: KnownScopes::default(),
            published,
            sockets,
            secrets,
            crypto,
            runtime,
            retired: Vec::new(),
            draining: Vec::new(),
            stopped: Vec::new(),
            dns_clusters: watch::Sender::default(),
            follower: Follower(Some(Box::new(follower))),
            local: None,
            defaults: Defaults::default(),
            changes: Default::default(),
        }
    }

    /// Tells when a cluster whose endpoints are names has come, changed or gone.
    pub(crate) fn dns_clusters(&self) -> watch::Receiver<()> {
        self.dns_clusters.subscribe()
    }

    /// A certificate or trust that came by the network.
    pub fn upsert_secret(&mut self, name: &str, secret: Secret) {
        match secret {
            Secret::Identity(identity) => self.secrets.set_identity(name, identity),
            Secret::Trust(bundle) => self.secrets.set_bundle(name, bundle),
            Secret::Tickets(keys) => self.secrets.set_tickets(name, keys),
        }
    }

    /// Where the secrets are kept, and the cryptography that everything uses.
    pub(crate) fn tls(&self) -> (Arc<Secrets>, Crypto) {
        (Arc::clone(&self.secrets), self.crypto.clone())
    }

    pub(crate) fn secrets(&self) -> Arc<SecretSet> {
        self.secrets.load()
    }

    pub fn remove_secret(&mut self, name: &str) {
        self.secrets.update(|set| set.remove(name));
    }

    /// Of clusters and of listeners.
    pub(crate) fn changes(&self) -> (Changes, Changes) {
        self.changes
    }

    /// What will be in force after [`Self::publish`].
    pub fn config(&self) -> &Config {
        &self.next
    }

    /// Where it is written who is ejected.
    pub fn set_outlier_log(&mut self, path: Option<PathBuf>) {
        self.next.outlier_log = path.map(Arc::from);
    }

    /// Adds or replaces a listener. Its port is bound here, so that a port taken is an error of this listener.
    pub fn upsert_listener(&mut self, listener: Listener) -> Result<(), Refused> {
        for chain in listener.chains.iter().chain(&listener.default_chain) {
            if let Some(tls) = &chain.tls {
                let check = tls::register_server(tls, &self.secrets, &self.crypto);
                check.map_err(|source| refused(&listener.name, source))?;
            }
        }
        check_logs(&listener)?;
        self.sockets.bind(&listener)?;
        let name = listener.name.clone();
        self.stopped.retain(|s| *s != name);
        let old = self.next.listeners.get(&name).map(Arc::as_ref);
        let (state, retired) = ListenerState::new(listener, old);
        self.retired.extend(retired);
        let old = self.next.listeners.insert(name, Arc::new(state));
        self.changes.1.set(old.is_some());
        Ok(())
    }

    pub fn remove_listener(&mut self, name: &str) {
        let gone = self.next.listeners.remove(name);
        self.changes.1.remove(gone.is_some());
        if let Some(state) = gone {
            let retired = state.drains.iter().map(|(chain, drain)| Retired {
                listener: name.to_owned(),
                chain: Arc::clone(chain),
                drain: Arc::clone(drain),
            });
            self.retired.extend(retired);
            self.stopped.push(name.to_owned());
        }
    }

    pub fn upsert_route(&mut self, table: RouteTable) {
        self.next.routes.insert(table.name.clone(), Arc::new(table));
    }

    pub fn remove_route(&mut self, name: &str) {
        self.next.routes.remove(name);
    }

    pub fn upsert_cluster(&mut self, mut cluster: Cluster) -> Result<(), Refused> {
        self.defaults.complete(&mut cluster);
        // The same again: connections are pooled by their TLS context's address, and stay in use.
        if let Some(old) = self.next.clusters.get(&cluster.name) {
            if *old.cluster == cluster {
                return Ok(());
            }
            if old.cluster.transport == cluster.transport {
                cluster.transport = old.cluster.transport.clone();
            }
        }
        for tls in cluster.transport.all().filter_map(Transport::tls) {
            let check = tls::client_tls(tls, Offer::Tcp)
                .and_then(|_| tls::register(&tls.common, &self.secrets, &self.crypto));
            check.map_err(|source| refused(&cluster.name, source))?;
        }
        let assignment = match &cluster.discovery {
            Discovery::Static(assignment) => Some(Arc::clone(assignment)),
            Discovery::Eds(name, _) => self.assignments.get(name).cloned(),
            Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => {
                self.assignments.get(&cluster.name).cloned()
            }
            Discovery::OriginalDst | Discovery::DynamicForward(_) | Discovery::Aggregate(_) => None,
        };
        let allowed = cluster.limits.under(&cluster.name, &self.runtime.values());
        let limits = match self.next.clusters.get(&cluster.name) {
            Some(old) => {
                old.limits.set(&allowed);
                Arc::clone(&old.limits)
            }
            None => Arc::new(ClusterLimits::new(&allowed)),
        };
        if by_name(&cluster) {
            self.dns_clusters.send_replace(());
        }
        let old = self.next.clusters.get(&cluster.name);
        let health = Health::of(&cluster, old.and_then(|old| old.health.as_ref()));
        if let (Some(health), Some(assignment)) = (&health, &assignment) {
            health.known.set_members(&cluster, assignment);
        }
        let has_members = assignment
            .as_deref()
            .is_some_and(|one| one.endpoints().next().is_some());
        let state = ClusterState {
            changes: old.map_or(0, |old| old.changes) + u64::from(has_members),
            cluster: Arc::new(cluster),
            assignment,
            limits,
            health,
        };
        let old = self
            .next
            .clusters
            .insert(state.cluster.name.clone(), Arc::new(state));
        self.changes.0.set(old.is_some());
        Ok(())
    }

    /// The circuit breakers' limits, as the runtime has them now.
    pub(crate) fn take_runtime(&self) {
        let values = self.runtime.values();
        for ClusterState { cluster, limits, .. } in self.next.clusters.values().map(Arc::as_ref) {
            limits.set(&cluster.limits.under(&cluster.name, &values));
        }
    }

    pub fn remove_cluster(&mut self, name: &str) {
        let gone = self.next.clusters.remove(name);
        self.changes.0.remove(gone.is_some());
        if gone.is_some_and(|state| by_name(&state.cluster)) {
            self.assignments.remove(name);
            self.dns_clusters.send_replace(());
        }
    }

    /// Endpoints by EDS service name; for a DNS cluster, what its names resolved to, by the cluster's name.
    pub fn upsert_endpoints(&mut self, name: &str, assignment: Assignment) {
        let assignment = Arc::new(assignment);
        self.assignments.insert(name.to_owned(), Arc::clone(&assignment));
        self.assign(name, Some(assignment));
    }

    pub fn remove_endpoints(&mut self, name: &str) {
        self.assignments.remove(name);
        self.assign(name, None);
    }

    fn assign(&mut self, name: &str, assignment: Option<Arc<Assignment>>) {
        for state in self.next.clusters.values_mut() {
            let theirs = match &state.cluster.discovery {
                Discovery::Eds(service, _) => service == name,
                Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => state.cluster.name == name,
                Discovery::Static(_)
                | Discovery::OriginalDst
                | Discovery::DynamicForward(_)
                | Discovery::Aggregate(_) => false,
            };
            if theirs {
                *state = Arc::new(state.assigned(assignment.clone()));
            }
        }
    }

    /// Who was to leave this cluster, and is not well any more, leaves.
    pub(crate) fn let_leave(&mut self, cluster: &str) {
        if let Some(state) = self.next.clusters.get_mut(cluster) {
            *state = Arc::new(state.left());
            self.publish();
        }
    }

    /// Puts everything since the last call in force, then drains what it replaced.
    pub fn publish(&mut self) {
        self.next.generation += 1;
        self.next.index_addresses();
        self.index_scopes();
        self.find_local();
        self.published.store(Arc::new(self.next.clone()));
        if let Some(follow) = &mut self.follower.0 {
            follow(&self.next);
        }
        for name in self.stopped.drain(..) {
            self.sockets.close(&name);
        }
        self.sockets.open(|name| self.next.listeners.contains_key(name));
        for Retired {
            listener,
            chain,
            drain,
        } in self.retired.drain(..)
        {
            drain.start(drain_time(&chain));
            let drain = Arc::downgrade(&drain);
            self.draining.push(Draining {
                listener,
                chain,
                drain,
            });
        }
        self.draining.retain(|d| d.drain.strong_count() > 0);
        self.close_forbidden();
        if !self.draining.is_empty() {
            self.sockets.workers().look();
        }
    }

    /// The cluster of the proxies like this one, and where this one is.
    pub(crate) fn set_local(&mut self, name: String, own: LocalityName) {
        self.local = Some((name, own));
    }

    fn find_local(&mut self) {
        let Some((name, own)) = &self.local else { return };
        let state = self.next.clusters.get(name);
        let Some(assignment) = state.and_then(|state| state.assignment.as_ref()) else {
            self.next.local = None;
            return;
        };
        let same = |local: &Arc<LocalCluster>| Arc::ptr_eq(&local.assignment, assignment);
        if !self.next.local.as_ref().is_some_and(same) {
            self.next.local = Some(Arc::new(LocalCluster {
                own: own.clone(),
                assignment: Arc::clone(assignment),
            }));
        }
    }

    /// Nobody is told any more.
    pub(crate) fn forget_follower(&mut self) {
        self.follower = Follower(None);
    }

    /// Where a listener is listening; a port of 0 has become a real one.
    /// All that it listens on.
    pub fn listening(&self, listener: &str) -> Vec<Address> {
        self.sockets.listening(listener)
    }

    pub fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        self.sockets.addresses(listener)
    }

    fn listeners_of(&self, inbound_only: bool) -> impl Iterator<Item = &Arc<ListenerState>> {
        let listeners = self.next.listeners.values();
        listeners.filter(move |state| !inbound_only || state.listener.direction == Direction::Inbound)
    }

    /// Stops accepting; connections stay.
    pub(crate) fn stop_listening(&mut self, inbound_only: bool) {
        let names: Vec<String> = self
            .listeners_of(inbound_only)
            .map(|state| state.listener.name.clone())
            .collect();
        for name in &names {
            self.sockets.close(name);
        }
    }
}

/// Its endpoints are names, for somebody to resolve.
fn by_name(cluster: &Cluster) -> bool {
    matches!(
        cluster.discovery,
        Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }
    )
}
