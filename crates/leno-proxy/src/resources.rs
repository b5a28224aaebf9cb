//! What xDS has told, and what of it is in force: a resource waits (warms) until what it refers to is there.
//!
//! Listener → route configuration → cluster → endpoints: each is accepted when it arrives, and put in force when
//! all that it names is in force or known not to exist. A change of routes to a new cluster is therefore never
//! seen by a request before the cluster can serve it (make before break, from the client's side too).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::endpoint::Assignment;
use leno_engine::compile::http::RouteSource;
use leno_engine::compile::listener::{FilterChain, Listener, TerminalFilter};
use leno_engine::compile::route::{Action, ClusterChoice, RouteTable};
use leno_proto::type_url;

/// Envoy's default `initial_fetch_timeout`: after it, what waits goes into force without what it waits for.
pub const WARMING_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Endpoints,
    Cluster,
    Route,
    Listener,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Endpoints, Kind::Cluster, Kind::Route, Kind::Listener];

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Endpoints => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Cluster => type_url::CLUSTER,
            Self::Route => type_url::ROUTE_CONFIGURATION,
            Self::Listener => type_url::LISTENER,
        }
    }

    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.type_url() == type_url)
    }
}

pub type Name = (Kind, String);

/// A validated resource.
#[derive(Debug)]
pub enum Compiled {
    Endpoints(Box<Assignment>),
    Cluster(Box<Cluster>),
    Route(Box<RouteTable>),
    Listener(Box<Listener>),
}

/// One step for the workers' configuration.
#[derive(Debug)]
pub enum Change {
    Set(String, Compiled),
    Remove(Name),
}

#[derive(Debug)]
struct Entry {
    /// Until it goes into force: from then on the workers have it.
    compiled: Option<Compiled>,
    needs: BTreeSet<Name>,
    version: String,
    body: Bytes,
    since: Instant,
}

#[derive(Debug, Default)]
pub struct Resources {
    active: BTreeMap<Name, Entry>,
    warming: BTreeMap<Name, Entry>,
    absent: BTreeSet<Name>,
    rejected: BTreeMap<Name, String>,
}

impl Resources {
    pub fn accept(&mut self, name: Name, version: String, body: Bytes, compiled: Compiled, now: Instant) {
        self.absent.remove(&name);
        self.rejected.remove(&name);
        let needs = needs(&compiled);
        self.warming.insert(name, Entry { compiled: Some(compiled), needs, version, body, since: now });
    }

    /// The newest version is bad; the last good one stays in force.
    pub fn reject(&mut self, name: Name, why: String) {
        self.rejected.insert(name, why);
    }

    /// The control plane says that there is none.
    pub fn remove(&mut self, name: &Name) -> Option<Change> {
        self.warming.remove(name);
        self.rejected.remove(name);
        self.absent.insert(name.clone());
        self.active.remove(name).map(|_| Change::Remove(name.clone()))
    }

    /// Nobody refers to it any more.
    pub fn forget(&mut self, name: &Name) -> Option<Change> {
        let change = self.remove(name);
        self.absent.remove(name);
        change
    }

    pub fn is_active(&self, name: &Name) -> bool {
        self.active.contains_key(name)
    }

    pub fn is_absent(&self, name: &Name) -> bool {
        self.absent.contains(name)
    }

    pub fn is_warming(&self) -> bool {
        !self.warming.is_empty()
    }

    /// Puts in force what no longer waits, children first. `settled` says of a name that is not here whether the
    /// control plane has nothing (more) to say of it.
    pub fn promote(&mut self, now: Instant, settled: impl Fn(&Name) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            let ready: Vec<_> = self
                .warming
                .iter()
                .filter(|(_, e)| now.duration_since(e.since) >= WARMING_TIMEOUT || e.needs.iter().all(|n| self.is_resolved(n, &settled)))
                .map(|(name, _)| name.clone())
                .collect();
            if ready.is_empty() {
                return changes;
            }
            for name in ready {
                if let Some(mut entry) = self.warming.remove(&name) {
                    changes.extend(entry.compiled.take().map(|c| Change::Set(name.1.clone(), c)));
                    self.active.insert(name, entry);
                }
            }
        }
    }

    /// A child that is active but has a newer version warming still serves.
    fn is_resolved(&self, name: &Name, settled: &impl Fn(&Name) -> bool) -> bool {
        self.active.contains_key(name) || self.absent.contains(name) || (!self.warming.contains_key(name) && settled(name))
    }

    /// Every name that can be reached from `roots`, in force or warming.
    pub fn reachable(&self, roots: impl Iterator<Item = Name>) -> BTreeSet<Name> {
        let mut seen: BTreeSet<Name> = BTreeSet::new();
        let mut todo: Vec<Name> = roots.collect();
        while let Some(name) = todo.pop() {
            let entries = [self.active.get(&name), self.warming.get(&name)];
            if seen.insert(name) {
                todo.extend(entries.into_iter().flatten().flat_map(|e| e.needs.iter().cloned()));
            }
        }
        seen
    }

    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.active.keys().chain(self.warming.keys())
    }

    /// For `leno config`: name, version, body, and why a newer version was rejected.
    pub fn dump(&self) -> impl Iterator<Item = (&Name, &str, &Bytes, Option<&str>)> {
        self.active.iter().map(|(name, e)| (name, e.version.as_str(), &e.body, self.rejected.get(name).map(String::as_str)))
    }
}

/// What a resource names and cannot serve without.
fn needs(compiled: &Compiled) -> BTreeSet<Name> {
    match compiled {
        Compiled::Endpoints(_) => BTreeSet::new(),
        Compiled::Cluster(cluster) => match &cluster.discovery {
            Discovery::Eds(service) => BTreeSet::from([(Kind::Endpoints, service.clone())]),
            _ => BTreeSet::new(),
        },
        Compiled::Route(table) => table_needs(table),
        Compiled::Listener(listener) => {
            let chains = listener.chains.iter().chain(&listener.default_chain);
            chains.flat_map(|chain| chain_needs(chain)).collect()
        }
    }
}

fn chain_needs(chain: &FilterChain) -> BTreeSet<Name> {
    match &chain.terminal {
        TerminalFilter::Tcp(proxy) => proxy.clusters.iter().map(|(name, _)| (Kind::Cluster, name.clone())).collect(),
        TerminalFilter::Http(http) => match &http.routes {
            RouteSource::Rds(name) => BTreeSet::from([(Kind::Route, name.clone())]),
            RouteSource::Inline(table) => table_needs(table),
        },
    }
}

fn table_needs(table: &RouteTable) -> BTreeSet<Name> {
    let forwards = table.hosts.iter().flat_map(|h| &h.routes).filter_map(|r| match &r.action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::Respond { .. } => None,
    });
    let mut names = BTreeSet::new();
    for forward in forwards {
        match &forward.cluster {
            ClusterChoice::One(name) => {
                names.insert((Kind::Cluster, name.clone()));
            }
            ClusterChoice::Weighted(list) => names.extend(list.iter().map(|c| (Kind::Cluster, c.name.clone()))),
            // Named by the request: nothing to wait for.
            ClusterChoice::Header(_) => {}
        }
        names.extend(forward.mirrors.iter().map(|m| (Kind::Cluster, m.cluster.clone())));
    }
    names
}
