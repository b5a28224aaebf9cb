//! What xDS has told, and what of it is in force: a resource waits (warms) until what it refers to is there.
//!
//! Listener → route configuration → cluster → endpoints: each is accepted when it arrives, and put in force when
//! all that it names is in force or known not to exist. A change of routes to a new cluster is therefore never
//! seen by a request before the cluster can serve it (make before break, from the client's side too).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_engine::compile::cluster::Transport;
use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::config_source::{Origin, Source};
use leno_engine::compile::endpoint::Assignment;
use leno_engine::compile::http::RouteSource;
use leno_engine::compile::listener::{FilterChain, Listener, TerminalFilter};
use leno_engine::compile::route::{Action, ClusterChoice, MirrorCluster, RouteTable};
use leno_engine::compile::tls::{CommonTls, SecretSource, TicketSource, TrustSource};
use leno_proto::type_url;

use crate::secret::{self, Secret};

/// Of what is no subscription (names that resolve, what leaves): after it, what waits goes into force without.
pub const WARMING_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Endpoints,
    Secret,
    Cluster,
    Route,
    Listener,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Endpoints,
        Kind::Secret,
        Kind::Cluster,
        Kind::Route,
        Kind::Listener,
    ];

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Endpoints => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Secret => type_url::SECRET,
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

/// What a resource names, and where that comes from.
pub type Needs = BTreeMap<Name, Source>;

/// A validated resource.
#[derive(Debug)]
pub enum Compiled {
    Endpoints(Box<Assignment>),
    Secret(Box<Secret>),
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
    /// Of a cluster whose endpoints are names.
    resolution: Resolution,
    needs: Needs,
    version: String,
    body: Bytes,
    since: Instant,
}

/// Whether somebody is still finding out what a cluster's names resolve to.
#[derive(Debug, Default)]
enum Resolution {
    #[default]
    Settled,
    Awaited,
    Done(Assignment),
}

#[derive(Debug, Default)]
pub struct Resources {
    /// The secrets `default` and `ROOTCA` are the proxy's own, made on this machine.
    own_identity: bool,
    active: BTreeMap<Name, Entry>,
    warming: BTreeMap<Name, Entry>,
    absent: BTreeSet<Name>,
    /// In force, removed by the control plane, and still referred to.
    leaving: BTreeMap<Name, Instant>,
    rejected: BTreeMap<Name, String>,
}

impl Resources {
    /// `own_identity`: the secrets `default` and `ROOTCA` are not asked for.
    pub fn new(own_identity: bool) -> Self {
        Self {
            own_identity,
            ..Self::default()
        }
    }

    /// What of it can come from nowhere, or comes from somewhere else than what has that name already.
    pub fn conflict(
        &self,
        compiled: &Compiled,
        known: &Needs,
        has: impl Fn(&Origin) -> bool,
    ) -> Option<String> {
        let needs = self.needs(compiled);
        if let Some(why) = without_origin(&needs, has) {
            return Some(why);
        }
        let mut needs = needs.iter();
        let conflicts = |(name, source): &(&Name, &Source)| {
            known.get(name).is_some_and(|known| known.origin != source.origin)
        };
        let ((kind, name), _) = needs.find(conflicts)?;
        Some(format!(
            "{kind:?} {name:?} comes from another source already; one name has one source"
        ))
    }

    fn needs(&self, compiled: &Compiled) -> Needs {
        let mut needs = needs(compiled);
        needs.retain(|(kind, name), _| {
            *kind != Kind::Secret || secret::comes_by_network(name, self.own_identity)
        });
        needs
    }

    pub fn accept(&mut self, name: Name, version: String, body: Bytes, compiled: Compiled, now: Instant) {
        self.absent.remove(&name);
        self.leaving.remove(&name);
        self.rejected.remove(&name);
        let needs = self.needs(&compiled);
        let resolution = match is_named(&compiled) {
            true => Resolution::Awaited,
            false => Resolution::Settled,
        };
        self.warming.insert(
            name,
            Entry {
                compiled: Some(compiled),
                resolution,
                needs,
                version,
                body,
                since: now,
            },
        );
    }

    /// What the names of a cluster that waits resolve to.
    pub fn resolved(&mut self, cluster: &str, assignment: Assignment) {
        if let Some(entry) = self.warming.get_mut(&(Kind::Cluster, cluster.to_owned())) {
            entry.resolution = Resolution::Done(assignment);
        }
    }

    /// The newest version is bad; the last good one stays in force.
    pub fn reject(&mut self, name: Name, why: String) {
        self.rejected.insert(name, why);
    }

    /// The control plane says that there is none. What is in force and still referred to leaves later, with
    /// [`Self::depart`]: until its successors are in force too, it serves.
    pub fn remove(&mut self, name: &Name, now: Instant) {
        self.warming.remove(name);
        self.rejected.remove(name);
        self.absent.insert(name.clone());
        if self.active.contains_key(name) {
            self.leaving.insert(name.clone(), now);
        }
    }

    /// Takes out of force what was removed and nothing in force refers to any more.
    pub fn depart(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            let needed: BTreeSet<&Name> = self.active.values().flat_map(|e| e.needs.keys()).collect();
            let due = |since: &Instant| now.duration_since(*since) >= WARMING_TIMEOUT;
            let mut leaving = self.leaving.iter();
            let Some(name) = leaving
                .find(|(n, since)| due(since) || !needed.contains(n))
                .map(|(n, _)| n.clone())
            else {
                return changes;
            };
            self.leaving.remove(&name);
            changes.extend(self.active.remove(&name).map(|_| Change::Remove(name)));
        }
    }

    /// Nobody refers to it any more.
    pub fn forget(&mut self, name: &Name) -> Option<Change> {
        self.warming.remove(name);
        self.rejected.remove(name);
        self.absent.remove(name);
        self.leaving.remove(name);
        self.active.remove(name).map(|_| Change::Remove(name.clone()))
    }

    /// It is what is known already; only the version may be another. Secrets are not kept, and never the same.
    pub fn is_same(&mut self, name: &Name, version: &str, body: &[u8]) -> bool {
        if self.rejected.contains_key(name) || self.leaving.contains_key(name) {
            return false;
        }
        let newest = match self.warming.get_mut(name) {
            Some(entry) => Some(entry),
            None => self.active.get_mut(name),
        };
        let Some(entry) = newest.filter(|entry| !entry.body.is_empty() && entry.body == body) else {
            return false;
        };
        version.clone_into(&mut entry.version);
        true
    }

    pub fn is_active(&self, name: &Name) -> bool {
        self.active.contains_key(name)
    }

    /// Of the newest that was accepted.
    pub fn version(&self, name: &Name) -> Option<&str> {
        let newest = self.warming.get(name).or_else(|| self.active.get(name));
        newest.map(|entry| entry.version.as_str())
    }

    pub fn is_known(&self, name: &Name) -> bool {
        self.active.contains_key(name) || self.warming.contains_key(name)
    }

    pub fn is_absent(&self, name: &Name) -> bool {
        self.absent.contains(name)
    }

    pub fn is_warming(&self) -> bool {
        !self.warming.is_empty() || !self.leaving.is_empty()
    }

    /// Puts in force what no longer waits, children first. `settled` says of a name that is not here whether the
    /// control plane has nothing (more) to say of it.
    pub fn promote(&mut self, now: Instant, settled: impl Fn(&Name, &Source) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            let ready: Vec<_> = self
                .warming
                .iter()
                .filter(|(_, e)| {
                    let waited = now.duration_since(e.since);
                    let given_up =
                        |source: &Source| source.initial_fetch_timeout.is_some_and(|t| waited >= t);
                    let mut needs = e.needs.iter();
                    let resolves = !matches!(e.resolution, Resolution::Awaited) || waited >= WARMING_TIMEOUT;
                    resolves
                        && needs.all(|(n, source)| self.is_resolved(n, source, &settled) || given_up(source))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if ready.is_empty() {
                return changes;
            }
            for name in ready {
                if let Some(mut entry) = self.warming.remove(&name) {
                    changes.extend(entry.compiled.take().map(|c| Change::Set(name.1.clone(), c)));
                    if let Resolution::Done(assignment) = std::mem::take(&mut entry.resolution) {
                        let endpoints = Compiled::Endpoints(Box::new(assignment));
                        changes.push(Change::Set(name.1.clone(), endpoints));
                    }
                    self.active.insert(name, entry);
                }
            }
        }
    }

    /// A child that is active but has a newer version warming still serves.
    fn is_resolved(&self, name: &Name, source: &Source, settled: &impl Fn(&Name, &Source) -> bool) -> bool {
        self.active.contains_key(name)
            || self.absent.contains(name)
            || (!self.warming.contains_key(name) && settled(name, source))
    }

    /// Every name that can be reached from `roots`, in force or warming, with where it comes from; of two sources the
    /// first.
    pub fn reachable(&self, roots: impl Iterator<Item = (Name, Source)>) -> Needs {
        let mut seen = Needs::new();
        let mut todo: Vec<(Name, Source)> = roots.collect();
        while let Some((name, source)) = todo.pop() {
            if seen.contains_key(&name) {
                continue;
            }
            let entries = [self.active.get(&name), self.warming.get(&name)];
            let needs = entries.into_iter().flatten().flat_map(|entry| &entry.needs);
            todo.extend(needs.map(|(name, source)| (name.clone(), source.clone())));
            seen.insert(name, source);
        }
        seen
    }

    /// For `leno config`: name, version, body, and why a newer version was rejected.
    pub fn dump(&self) -> impl Iterator<Item = (&Name, &str, &Bytes, Option<&str>)> {
        self.active.iter().map(|(name, e)| {
            (
                name,
                e.version.as_str(),
                &e.body,
                self.rejected.get(name).map(String::as_str),
            )
        })
    }
}

/// What a resource names and cannot serve without.
pub(crate) fn needs(compiled: &Compiled) -> Needs {
    match compiled {
        Compiled::Endpoints(_) | Compiled::Secret(_) => Needs::new(),
        Compiled::Cluster(cluster) => cluster_needs(cluster),
        Compiled::Route(table) => table_needs(table),
        Compiled::Listener(listener) => {
            let chains = listener.chains.iter().chain(&listener.default_chain);
            chains.flat_map(|chain| chain_needs(chain)).collect()
        }
    }
}

/// What of it can come from nowhere. Clusters are there or not: where from is not theirs who name them.
pub(crate) fn without_origin(needs: &Needs, has: impl Fn(&Origin) -> bool) -> Option<String> {
    let mut needs = needs.iter().filter(|((kind, _), _)| *kind != Kind::Cluster);
    let ((kind, name), _) = needs.find(|(_, source)| !has(&source.origin))?;
    Some(format!(
        "{kind:?} {name:?} is to come by ads, and the bootstrap has no ads_config"
    ))
}

/// Endpoints that somebody resolves here.
fn is_named(compiled: &Compiled) -> bool {
    let Compiled::Cluster(cluster) = compiled else {
        return false;
    };
    matches!(
        cluster.discovery,
        Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }
    )
}

fn cluster_needs(cluster: &Cluster) -> Needs {
    let mut names = Needs::new();
    if let Discovery::Eds(service, source) = &cluster.discovery {
        names.insert((Kind::Endpoints, service.clone()), source.clone());
    }
    if let Discovery::Aggregate(members) = &cluster.discovery {
        let members = members.iter().map(|name| (Kind::Cluster, name.clone()));
        names.extend(members.map(|name| (name, Source::ads())));
    }
    for tls in cluster.transport.all().filter_map(Transport::tls) {
        names.extend(secrets(&tls.common));
    }
    names
}

/// The secrets that have a source.
fn secrets(tls: &CommonTls) -> impl Iterator<Item = (Name, Source)> {
    let certificates = tls.certificates.iter().filter_map(|source| match source {
        SecretSource::Sds(name, Some(source)) => Some((name, source)),
        SecretSource::Sds(_, None) | SecretSource::Inline { .. } => None,
    });
    let trust = match tls.validation.as_ref().map(|validation| &validation.trust) {
        Some(TrustSource::Sds(name, Some(source))) => Some((name, source)),
        _ => None,
    };
    let named = certificates.chain(trust);
    named.map(|(name, source)| ((Kind::Secret, name.clone()), source.clone()))
}

fn chain_needs(chain: &FilterChain) -> Needs {
    let mut names: Needs = match &chain.terminal {
        TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => Needs::new(),
        TerminalFilter::Tcp(proxy) => proxy
            .clusters
            .iter()
            .map(|one| ((Kind::Cluster, one.name.clone()), Source::ads()))
            .collect(),
        TerminalFilter::Http(http) => match &http.routes {
            RouteSource::Rds(name, source) => Needs::from([((Kind::Route, name.clone()), source.clone())]),
            RouteSource::Inline(table) => table_needs(table),
        },
    };
    names.extend(chain.tls.iter().flat_map(|tls| secrets(&tls.common)));
    let tickets = chain.tls.as_ref().and_then(|tls| tls.tickets.as_ref());
    if let Some(TicketSource::Sds(name, Some(source))) = tickets.map(|tickets| &tickets.keys) {
        names.insert((Kind::Secret, name.clone()), source.clone());
    }
    names
}

fn table_needs(table: &RouteTable) -> Needs {
    let forwards = table
        .hosts
        .iter()
        .flat_map(|h| &h.routes)
        .filter_map(|r| match &r.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond { .. } => None,
        });
    let mut names = Needs::new();
    for forward in forwards {
        match &forward.cluster {
            ClusterChoice::One(name) => {
                names.insert((Kind::Cluster, name.clone()), Source::ads());
            }
            ClusterChoice::Weighted { clusters: list, .. } => {
                let named = list.iter().filter(|cluster| cluster.header.is_none());
                names.extend(named.map(|c| ((Kind::Cluster, c.name.clone()), Source::ads())))
            }
            // Named by the request: nothing to wait for.
            ClusterChoice::Header(_) => {}
        }
        let mirrored = forward.mirrors.iter().filter_map(|mirror| match &mirror.cluster {
            MirrorCluster::One(name) => Some(((Kind::Cluster, name.clone()), Source::ads())),
            MirrorCluster::Header(_) => None,
        });
        names.extend(mirrored);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use leno_proto::envoy::config::route::v3::{Route, route, route_action, route_match};
    use leno_proto::envoy::config::route::v3::{RouteAction, RouteConfiguration, RouteMatch, VirtualHost};

    fn routes_to(cluster: &str) -> Compiled {
        let action = RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
            ..RouteAction::default()
        };
        let matches = RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        };
        let host = VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: vec![Route {
                r#match: Some(matches),
                action: Some(route::Action::Route(action)),
                ..Route::default()
            }],
            ..VirtualHost::default()
        };
        let table = RouteConfiguration {
            name: "r".into(),
            virtual_hosts: vec![host],
            ..RouteConfiguration::default()
        };
        let compiled = leno_engine::compile::route::compile(
            &table,
            &leno_engine::compile::NoFiles,
            &mut Default::default(),
        );
        Compiled::Route(Box::new(compiled.unwrap()))
    }

    fn endpoints() -> Compiled {
        Compiled::Endpoints(Box::default())
    }

    fn cluster(name: &str) -> Name {
        (Kind::Cluster, name.into())
    }

    fn shown(changes: &[Change]) -> Vec<String> {
        let show = |change: &Change| match change {
            Change::Set(name, _) => format!("+{name}"),
            Change::Remove((_, name)) => format!("-{name}"),
        };
        changes.iter().map(show).collect()
    }

    /// Clusters are stood in for by endpoints under their name: only what refers to what matters here.
    fn put(resources: &mut Resources, name: Name, compiled: Compiled, now: Instant) {
        resources.accept(name, "1".into(), Bytes::new(), compiled, now);
    }

    #[test]
    fn a_route_waits_for_its_cluster_and_the_old_cluster_serves_until_then() {
        let now = Instant::now();
        let route = (Kind::Route, "r".to_owned());
        let mut resources = Resources::default();
        put(&mut resources, cluster("old"), endpoints(), now);
        put(&mut resources, route.clone(), routes_to("old"), now);
        assert_eq!(resources.promote(now, |_, _| false).len(), 2);

        // One change: the route goes to a new cluster, and the old one is gone.
        put(&mut resources, route, routes_to("new"), now);
        resources.remove(&cluster("old"), now);
        assert_eq!(shown(&resources.promote(now, |_, _| false)), [""; 0]);
        assert_eq!(
            shown(&resources.depart(now)),
            [""; 0],
            "the old one is still called"
        );

        put(&mut resources, cluster("new"), endpoints(), now);
        assert_eq!(shown(&resources.promote(now, |_, _| false)), ["+new", "+r"]);
        assert_eq!(shown(&resources.depart(now)), ["-old"]);
    }

    #[test]
    fn what_never_comes_is_not_waited_for_for_ever() {
        let now = Instant::now();
        let mut resources = Resources::default();
        put(
            &mut resources,
            (Kind::Route, "r".into()),
            routes_to("missing"),
            now,
        );
        assert!(resources.promote(now, |_, _| false).is_empty());
        assert_eq!(
            shown(&resources.promote(now + WARMING_TIMEOUT, |_, _| false)),
            ["+r"]
        );
    }
}
