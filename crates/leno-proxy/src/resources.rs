//! What xDS has told, and what of it is in force: a resource waits (warms) until what it refers to is there.
//!
//! Listener → route configuration → cluster → endpoints: each is accepted when it arrives, and put in force when
//! all that it names is in force or known not to exist. A change of routes to a new cluster is therefore never
//! seen by a request before the cluster can serve it (make before break, from the client's side too).

mod kind;
mod needs;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::config_source::{Origin, Source};
use leno_engine::compile::endpoint::Assignment;
use leno_engine::compile::extension::Extension;
use leno_engine::compile::http::Scope;
use leno_engine::compile::listener::Listener;
use leno_engine::compile::route::RouteTable;
use leno_engine::runtime::Value;
use leno_xds::WILDCARD;

pub use self::kind::Kind;
use self::needs::is_named;
pub(crate) use self::needs::{needs, without_origin};
use self::terms::Terms;
pub(crate) use self::terms::asks;
use crate::secret::{self, Secret};

/// Of what is no subscription (names that resolve, what leaves): after it, what waits goes into force without.
pub const WARMING_TIMEOUT: Duration = Duration::from_secs(15);
/// Listeners that are gone and are remembered while they have connections.
const MAX_DRAINED: usize = 256;

pub type Name = (Kind, String);

/// What a resource names, and where that comes from.
pub type Needs = BTreeMap<Name, Source>;

/// A validated resource.
#[derive(Debug)]
pub enum Compiled {
    /// What a layer says.
    Runtime(BTreeMap<String, Value>),
    Endpoints(Box<Assignment>),
    Secret(Box<Secret>),
    Cluster(Box<Cluster>),
    /// It is in its table.
    VirtualHost,
    Route(Box<RouteTable>),
    Scope(Box<Scope>),
    Extension(Box<Extension>),
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
    terms: Terms,
    version: String,
    /// With which it came, if it has been said again with another.
    first_version: Option<Box<str>>,
    body: Bytes,
    since: Instant,
}

/// A version that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub why: String,
    pub version: String,
    pub body: Bytes,
    pub since: Instant,
}

/// What is known of one name.
#[derive(Clone, Copy, Debug)]
pub struct Known<'r> {
    pub name: &'r Name,
    pub active: Option<Stage<'r>>,
    pub warming: Option<Stage<'r>>,
    pub rejected: Option<&'r Rejected>,
    /// The control plane says that there is none.
    pub absent: bool,
}

/// A version that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'r> {
    /// With which it came.
    pub version: &'r str,
    /// With which it was said last.
    pub newest: &'r str,
    /// The message, without what is secret in it.
    pub body: &'r Bytes,
    pub since: Instant,
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
    /// What every listener waits for: layers of the runtime.
    first: Needs,
    active: BTreeMap<Name, Entry>,
    warming: BTreeMap<Name, Entry>,
    absent: BTreeSet<Name>,
    /// In force, removed by the control plane, and still referred to.
    leaving: BTreeMap<Name, Instant>,
    rejected: BTreeMap<Name, Rejected>,
    /// Scopes that a response under way says something of and that were not taken yet: their keys are free.
    replaced: BTreeSet<String>,
    /// Listeners that were in force, and may still have connections.
    drained: BTreeMap<String, Entry>,
}

impl Resources {
    /// `own_identity`: the secrets `default` and `ROOTCA` are not asked for.
    pub fn new(own_identity: bool) -> Self {
        Self {
            own_identity,
            ..Self::default()
        }
    }

    /// `first`: what every listener waits for.
    pub fn waiting_for(mut self, first: Needs) -> Self {
        self.first = first;
        self
    }

    /// What of it can come from nowhere, or comes from somewhere else than what has that name already.
    pub fn conflict(
        &self,
        compiled: &Compiled,
        known: &Needs,
        has: impl Fn(&Origin) -> bool,
    ) -> Option<String> {
        let needs = self.needs(compiled);
        if let Some(why) = without_origin(&needs, &has) {
            return Some(why);
        }
        if asks(compiled).iter().any(|source| !has(&source.origin)) {
            return Some(
                "clusters are to be asked for by ads, and the bootstrap has no ads_config".to_owned(),
            );
        }
        if let Some(why) = self.breach(compiled) {
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

    /// A response is about to say something of these.
    pub fn expect(&mut self, kind: Kind, names: impl Iterator<Item = String>) {
        if kind == Kind::Scope {
            self.replaced = names.collect();
        }
    }

    fn needs(&self, compiled: &Compiled) -> Needs {
        let mut needs = needs(compiled);
        if let (Compiled::Scope(scope), Some(source)) = (compiled, self.routes_of_scopes()) {
            needs.insert((Kind::Route, scope.routes.clone()), source.clone());
        }
        needs.retain(|(kind, name), _| {
            *kind != Kind::Secret || secret::comes_by_network(name, self.own_identity)
        });
        if matches!(compiled, Compiled::Listener(_)) {
            needs.extend(self.first.clone());
        }
        needs
    }

    pub fn accept(&mut self, name: Name, version: String, body: Bytes, compiled: Compiled, now: Instant) {
        self.absent.remove(&name);
        self.leaving.remove(&name);
        self.rejected.remove(&name);
        self.replaced.remove(&name.1);
        let needs = self.needs(&compiled);
        let terms = Terms::of(&compiled);
        if let Some(routes) = &terms.scoped {
            self.take_scopes_routes_from(routes);
        }
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
                terms,
                version,
                first_version: None,
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
    pub fn reject(&mut self, name: Name, rejected: Rejected) {
        self.rejected.insert(name, rejected);
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
            changes.extend(self.take_out(&name));
        }
    }

    /// Nobody refers to it any more.
    pub fn forget(&mut self, name: &Name) -> Option<Change> {
        self.warming.remove(name);
        self.rejected.remove(name);
        self.absent.remove(name);
        self.leaving.remove(name);
        self.take_out(name)
    }

    fn take_out(&mut self, name: &Name) -> Option<Change> {
        let entry = self.active.remove(name)?;
        self.drain(name, entry);
        Some(Change::Remove(name.clone()))
    }

    /// What a listener was, for as long as somebody wants to see it.
    fn drain(&mut self, name: &Name, entry: Entry) {
        if name.0 == Kind::Listener {
            if self.drained.len() >= MAX_DRAINED {
                self.drained.clear();
            }
            self.drained.insert(name.1.clone(), entry);
        }
    }

    /// It is what is known already; only the version may be another. Secrets are not kept, and never the same.
    pub fn is_same(&mut self, name: &Name, version: &str, body: &[u8]) -> bool {
        let secret = name.0 == Kind::Secret;
        if secret || self.rejected.contains_key(name) || self.leaving.contains_key(name) {
            return false;
        }
        let newest = match self.warming.get_mut(name) {
            Some(entry) => Some(entry),
            None => self.active.get_mut(name),
        };
        let Some(entry) = newest.filter(|entry| !entry.body.is_empty() && entry.body == body) else {
            return false;
        };
        if entry.version != version {
            let before = std::mem::replace(&mut entry.version, version.to_owned());
            entry.first_version.get_or_insert(before.into());
        }
        true
    }

    pub fn is_active(&self, name: &Name) -> bool {
        self.active.contains_key(name)
    }

    /// The newest that was accepted: its version, and the message.
    pub fn newest(&self, name: &Name) -> Option<(String, Bytes)> {
        let entry = self.warming.get(name).or_else(|| self.active.get(name))?;
        Some((entry.version.clone(), entry.body.clone()))
    }

    /// A version of it is not in force yet.
    pub fn waits(&self, name: &Name) -> bool {
        self.warming.contains_key(name)
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
                    if let Some(old) = self.active.insert(name.clone(), entry) {
                        self.drain(&name, old);
                    }
                }
            }
        }
    }

    /// A child that is active but has a newer version warming still serves.
    fn is_resolved(&self, name: &Name, source: &Source, settled: &impl Fn(&Name, &Source) -> bool) -> bool {
        if name.1 == WILDCARD {
            let mut warming = self.warming.keys();
            return settled(name, source) && !warming.any(|(kind, _)| *kind == name.0);
        }
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
            if name.1 == WILDCARD {
                let all = self.active.keys().chain(self.warming.keys());
                let all = all.filter(|(kind, _)| *kind == name.0);
                todo.extend(all.map(|name| (name.clone(), source.clone())));
            }
            seen.insert(name, source);
        }
        seen
    }

    /// Nobody refers to any of them any more.
    pub fn forget_all(&mut self, kind: Kind) -> Vec<Change> {
        let names = self.active.keys().chain(self.warming.keys()).chain(&self.absent);
        let names: BTreeSet<Name> = names.filter(|name| name.0 == kind).cloned().collect();
        names.iter().filter_map(|name| self.forget(name)).collect()
    }

    /// What is in force.
    pub fn in_force(&self) -> impl Iterator<Item = (&Name, Stage<'_>)> {
        self.active.iter().map(|(name, entry)| (name, entry.stage()))
    }

    /// Everything that was ever said of names that somebody refers to.
    pub fn known(&self) -> impl Iterator<Item = Known<'_>> {
        let names = self.active.keys().chain(self.warming.keys());
        let names: BTreeSet<&Name> = names.chain(self.rejected.keys()).chain(&self.absent).collect();
        names.into_iter().map(|name| Known {
            name,
            active: self.active.get(name).map(Entry::stage),
            warming: self.warming.get(name).map(Entry::stage),
            rejected: self.rejected.get(name),
            absent: self.absent.contains(name),
        })
    }

    /// What listeners were that are gone or replaced; only those that still have connections.
    pub fn draining(&mut self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, Stage<'_>)> {
        self.drained.retain(|name, _| has(name));
        self.drained
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.stage()))
    }

    /// What is to be in force and is not yet, with what each waits for.
    pub fn waiting(&self) -> impl Iterator<Item = (&Name, Vec<&Name>)> {
        self.warming.iter().map(|(name, entry)| {
            let missing = entry.needs.keys();
            let missing =
                missing.filter(|name| !self.active.contains_key(*name) && !self.absent.contains(*name));
            (name, missing.collect())
        })
    }
}

impl Entry {
    fn stage(&self) -> Stage<'_> {
        Stage {
            version: self.first_version.as_deref().unwrap_or(&self.version),
            newest: &self.version,
            body: &self.body,
            since: self.since,
        }
    }
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
