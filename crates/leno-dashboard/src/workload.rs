//! A workload's page, and the list of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leno_model::{Host, Snapshot, Workload};
use leno_proto::control::ProxyStatus;
use serde::Serialize;

use crate::cards::app_and_version;
use crate::facts::Facts;
use crate::history::{End, History, LinkKey, Measures, Point};
use crate::requests::Request;
use crate::rules::{HostRules, Policy, Source, mtls};
use crate::status::{Status, share_status};

/// A row in the list of workloads: all instances of the same name.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub namespace: String,
    pub name: String,
    pub app: String,
    pub version: String,
    pub services: Vec<String>,
    pub instances: usize,
    pub healthy: usize,
    pub status: Status,
    /// The worst of all its proxies: `SYNCED`, `STALE`, `REJECTED`, or empty without a proxy.
    pub sync: String,
    pub inbound: Measures,
    pub outbound: Measures,
}

#[derive(Clone, Debug, Serialize)]
pub struct Page {
    #[serde(flatten)]
    pub summary: Summary,
    pub labels: BTreeMap<String, String>,
    pub service_account: String,
    pub instances_of: Vec<Instance>,
    pub inbound_series: Vec<Point>,
    pub outbound_series: Vec<Point>,
    pub callers: Vec<Peer>,
    pub called: Vec<Peer>,
    /// What the workload itself demands of those who call it.
    pub policies: Vec<Policy>,
    /// For calls of the services that it is part of.
    pub leads_here: Vec<HostRules>,
    /// For the hosts that it calls.
    pub follows: Vec<HostRules>,
    /// The newest first; none before the page has been open for a while.
    pub requests: Vec<Request>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Instance {
    pub id: String,
    pub addresses: Vec<String>,
    pub ports: Vec<String>,
    pub healthy: bool,
    /// As its certificate says.
    pub principal: String,
    /// `leno`, `envoy`, `grpc`; empty: no proxy is connected.
    pub proxy: String,
    pub connected_seconds: u64,
    pub types: Vec<TypeState>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TypeState {
    pub r#type: String,
    pub state: String,
    pub resources: u64,
    pub error: String,
}

/// Who is at the other end.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    pub namespace: String,
    /// Of a workload, or of a host when it is none.
    pub name: String,
    pub is_workload: bool,
    pub principal: String,
    pub status: Status,
    #[serde(flatten)]
    pub measures: Measures,
    pub series: Vec<Point>,
}

/// All instances of a name.
type Group<'a> = Vec<&'a Arc<Workload>>;

pub fn list(facts: &Facts, history: &History) -> Vec<Summary> {
    let mut groups: BTreeMap<(&str, &str), Group<'_>> = BTreeMap::new();
    for workload in facts.snapshot.workloads.values() {
        let of_name = groups.entry((&workload.namespace, &workload.name)).or_default();
        of_name.push(workload);
    }
    let services = services(&facts.snapshot);
    let links = Links::new(history);
    let all = groups
        .values()
        .filter_map(|group| summary(facts, history, &links, &services, group));
    all.collect()
}

/// None: there is no such workload.
pub fn page(facts: &Facts, history: &History, namespace: &str, name: &str) -> Option<Page> {
    let of_name = |w: &&Arc<Workload>| w.namespace == namespace && w.name == name;
    let group: Group<'_> = facts.snapshot.workloads.values().filter(of_name).collect();
    let first = *group.first()?;
    let links = Links::new(history);
    let (into, out) = links.of(namespace, name);
    let services = services(&facts.snapshot);
    let called: BTreeSet<Host> = out.iter().map(|key| Host::new(&key.service)).collect();
    let rules = |host: &Host| HostRules::new(&facts.snapshot, host);
    let own: BTreeSet<&Host> = group
        .iter()
        .filter_map(|w| services.get(w.id.0.as_ref()))
        .flatten()
        .copied()
        .collect();
    Some(Page {
        summary: summary(facts, history, &links, &services, &group)?,
        labels: first.labels.clone(),
        service_account: first.service_account.clone(),
        instances_of: group.iter().map(|workload| instance(facts, workload)).collect(),
        inbound_series: history.series(into.iter().copied()),
        outbound_series: history.series(out.iter().copied()),
        callers: peers(history, into, |key| (&key.from, "")),
        called: peers(history, out, |key| (&key.to, &key.service)),
        policies: policies(&facts.snapshot, first),
        leads_here: own.into_iter().map(rules).collect(),
        follows: called
            .iter()
            .filter(|host| facts.snapshot.service(host).is_some())
            .map(rules)
            .collect(),
        requests: requests(facts, namespace, name),
    })
}

fn requests(facts: &Facts, namespace: &str, name: &str) -> Vec<Request> {
    let of_name = facts.requests.get(&(namespace.to_owned(), name.to_owned()));
    of_name.into_iter().flatten().map(Request::new).collect()
}

/// The hosts that select an instance, by its id.
fn services(snapshot: &Snapshot) -> BTreeMap<&str, Vec<&Host>> {
    let mut services: BTreeMap<&str, Vec<&Host>> = BTreeMap::new();
    for host in snapshot.services.keys() {
        for workload in snapshot.endpoints(host) {
            services.entry(&workload.id.0).or_default().push(host);
        }
    }
    services
}

/// Links by the workload at one end.
struct Links<'a> {
    into: BTreeMap<(&'a str, &'a str), Vec<&'a Arc<LinkKey>>>,
    out: BTreeMap<(&'a str, &'a str), Vec<&'a Arc<LinkKey>>>,
}

impl<'a> Links<'a> {
    fn new(history: &'a History) -> Self {
        let mut links = Self {
            into: BTreeMap::new(),
            out: BTreeMap::new(),
        };
        let name = |end: &'a End| (end.namespace.as_str(), end.workload.as_str());
        for key in history.links() {
            links.into.entry(name(&key.to)).or_default().push(key);
            links.out.entry(name(&key.from)).or_default().push(key);
        }
        links
    }

    /// Into it and out of it.
    fn of<'s>(
        &'s self,
        namespace: &'s str,
        name: &'s str,
    ) -> (&'s [&'a Arc<LinkKey>], &'s [&'a Arc<LinkKey>]) {
        let into = self.into.get(&(namespace, name));
        let out = self.out.get(&(namespace, name));
        (into.map_or(&[], Vec::as_slice), out.map_or(&[], Vec::as_slice))
    }
}

fn summary(
    facts: &Facts,
    history: &History,
    links: &Links<'_>,
    services: &BTreeMap<&str, Vec<&Host>>,
    group: &Group<'_>,
) -> Option<Summary> {
    let first = group.first()?;
    let (app, version) = app_and_version(first);
    let (into, out) = links.of(&first.namespace, &first.name);
    let inbound = history.measures(into.iter().copied());
    let healthy = group.iter().filter(|w| w.healthy).count();
    let sync = group.iter().filter_map(|w| proxy(facts, w)).map(sync).max();
    let mut status = share_status(&inbound).0;
    status = status.max(match (healthy, group.len()) {
        (0, _) => Status::Error,
        (healthy, all) if healthy < all => Status::Warning,
        _ => Status::Ok,
    });
    if sync == Some(Sync::Rejected) {
        status = Status::Error;
    }
    let of_group = group
        .iter()
        .filter_map(|w| services.get(w.id.0.as_ref()))
        .flatten();
    let hosts: BTreeSet<String> = of_group.map(ToString::to_string).collect();
    Some(Summary {
        namespace: first.namespace.clone(),
        name: first.name.clone(),
        app,
        version,
        services: hosts.into_iter().collect(),
        instances: group.len(),
        healthy,
        status,
        sync: sync.map(Sync::word).unwrap_or_default().to_owned(),
        inbound,
        outbound: history.measures(out.iter().copied()),
    })
}

/// From the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sync {
    Synced,
    Stale,
    Rejected,
}

impl Sync {
    fn word(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Rejected => "REJECTED",
        }
    }
}

fn sync(proxy: &ProxyStatus) -> Sync {
    let states = proxy.types.iter().map(|of_type| match of_type.state.as_str() {
        "REJECTED" => Sync::Rejected,
        "STALE" => Sync::Stale,
        _ => Sync::Synced,
    });
    states.max().unwrap_or(Sync::Synced)
}

fn proxy<'a>(facts: &'a Facts, workload: &Workload) -> Option<&'a ProxyStatus> {
    facts
        .proxies
        .iter()
        .find(|proxy| proxy.workload == *workload.id.0)
}

fn instance(facts: &Facts, workload: &Workload) -> Instance {
    let none = ProxyStatus::default();
    let proxy = proxy(facts, workload).unwrap_or(&none);
    Instance {
        id: workload.id.to_string(),
        addresses: workload.addresses.iter().map(ToString::to_string).collect(),
        ports: workload
            .ports
            .iter()
            .map(|p| format!("{} {:?}", p.port, p.protocol).to_lowercase())
            .collect(),
        healthy: workload.healthy,
        principal: proxy.principal.clone(),
        proxy: proxy.kind.clone(),
        connected_seconds: proxy.connected_seconds,
        types: proxy
            .types
            .iter()
            .map(|of_type| TypeState {
                r#type: of_type.r#type.clone(),
                state: of_type.state.clone(),
                resources: of_type.resources,
                error: of_type.error.clone(),
            })
            .collect(),
    }
}

/// By whom a link leads to, or comes from.
fn peers<'a>(
    history: &History,
    links: &[&'a Arc<LinkKey>],
    other: impl Fn(&'a LinkKey) -> (&'a End, &'a str),
) -> Vec<Peer> {
    let mut by_peer: BTreeMap<(&str, &str, bool), Vec<&Arc<LinkKey>>> = BTreeMap::new();
    for key in links {
        let (end, service) = other(key);
        let is_workload = !end.workload.is_empty();
        let name = match (is_workload, service) {
            (true, _) => &end.workload,
            (false, "") => "outside of the mesh",
            (false, service) => service,
        };
        by_peer
            .entry((&end.namespace, name, is_workload))
            .or_default()
            .push(key);
    }
    let peers = by_peer.into_iter().map(|((namespace, name, is_workload), keys)| {
        let measures = history.measures(keys.iter().copied());
        let principal = keys
            .iter()
            .map(|key| &other(key).0.principal)
            .find(|p| !p.is_empty());
        Peer {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_workload,
            principal: principal.cloned().unwrap_or_default(),
            status: share_status(&measures).0,
            series: history.series(keys.iter().copied()),
            measures,
        }
    });
    peers.collect()
}

fn policies(snapshot: &Snapshot, workload: &Workload) -> Vec<Policy> {
    let Some(effective) = snapshot.mtls.get(&workload.id) else {
        return Vec::new();
    };
    let policy = |what: String, mode| Policy {
        what,
        says: mtls(mode).to_owned(),
        object: effective.origin.as_ref().map(Source::new),
    };
    let own = policy("mutual TLS".to_owned(), effective.mode);
    let ports = effective
        .ports
        .iter()
        .map(|(port, mode)| policy(format!("mutual TLS, port {port}"), *mode));
    std::iter::once(own).chain(ports).collect()
}
