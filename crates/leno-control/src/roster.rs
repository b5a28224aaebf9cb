//! Every connected proxy and whether it follows: what `leno status` shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use leno_proto::control::{Problem, ProxyStatus, TypeStatus};
use leno_proto::type_url;
use leno_tls::ROOT_CA;
use leno_translate::Proxy;
use leno_xds::server::{State, Stream};
use tokio::sync::watch;

use crate::listener::Peer;
use crate::node::Described;

#[derive(Debug, Default)]
pub(crate) struct Roster {
    seats: Mutex<(u64, BTreeMap<u64, Seated>)>,
    /// Tells of each new seat.
    taken: watch::Sender<()>,
}

/// What a name may be of a proxy.
type Meaning = fn(&Seated) -> &str;

const NODE: Meaning = |seated| &seated.status.node_id;
const INSTANCE: Meaning = |seated| {
    let instance = &seated.status.workload;
    instance.split_once('.').map_or(instance, |(name, _)| name)
};
const WORKLOAD: Meaning = |seated| &seated.workload;
const SERVICE: Meaning = |seated| &seated.status.service;
const NAMESPACE: Meaning = |seated| &seated.namespace;

#[derive(Debug)]
struct Seated {
    status: ProxyStatus,
    /// Without what tells the instance: `reviews-v1`.
    workload: String,
    namespace: String,
    proxy: Proxy,
    since: Instant,
    /// What the proxy says that it cannot serve.
    problems: Vec<Problem>,
    trust: Followed,
}

/// What a stream says of whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It does not ask.
    #[default]
    Unasked,
    /// It has been told and has not acknowledged it.
    Pending,
    /// This version is followed.
    Version(String),
}

/// A node and what of its streams follows most.
pub(crate) struct Follower {
    pub(crate) node: String,
    pub(crate) workload: String,
    /// One of its streams has proved who it is.
    pub(crate) proven: bool,
    pub(crate) trust: Vec<Followed>,
}

/// A stream's entry; it goes when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    roster: Arc<Roster>,
    number: u64,
}

// === impl Roster ===

impl Roster {
    pub(crate) fn take_seat(self: &Arc<Self>, described: &Described, peer: Option<&Peer>) -> Seat {
        let workload = &described.workload;
        let status = ProxyStatus {
            node_id: described.proxy.id.clone(),
            workload: workload.id.to_string(),
            service: workload.service.clone().unwrap_or_default(),
            address: workload
                .addresses
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            principal: peer
                .and_then(|p| p.identity.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            healthy: workload.healthy,
            kind: described.program.name().to_owned(),
            workload_name: workload.name.clone(),
            ..Default::default()
        };
        let mut seats = self.lock();
        seats.0 += 1;
        let number = seats.0;
        let before = seats.1.values().find(|s| s.status.node_id == status.node_id);
        let seated = Seated {
            status: ProxyStatus {
                // What the node said on another stream of its own.
                healthy: before.map_or(status.healthy, |s| s.status.healthy),
                ..status
            },
            workload: workload.name.clone(),
            namespace: workload.namespace.clone(),
            proxy: described.proxy.clone(),
            since: Instant::now(),
            problems: Vec::new(),
            trust: Followed::default(),
        };
        seats.1.insert(number, seated);
        drop(seats);
        self.taken.send_replace(());
        Seat {
            roster: self.clone(),
            number,
        }
    }

    /// A connected node, as answers are made for it.
    pub(crate) fn proxy(&self, node: &str) -> Option<Proxy> {
        let seats = self.lock();
        let seated = seats.1.values().find(|seated| seated.status.node_id == node)?;
        Some(seated.proxy.clone())
    }

    /// When a node has streams: the identities that it proved with them, empty without a certificate.
    pub(crate) async fn seated(&self, node: &str) -> Vec<String> {
        let mut changes = self.taken.subscribe();
        loop {
            let principals = self.principals_of(node);
            if !principals.is_empty() || changes.changed().await.is_err() {
                return principals;
            }
        }
    }

    /// The workload of a node that has proved itself to be this one.
    pub(crate) fn workload_of(&self, node: &str, principal: &str) -> Option<String> {
        let seats = self.lock();
        let mut of_node = seats.1.values().map(|seated| &seated.status);
        let seated = of_node.find(|seated| seated.node_id == node && seated.principal == principal)?;
        Some(seated.workload.clone())
    }

    /// What a node cannot serve, in place of what it said before.
    pub(crate) fn set_problems(&self, node: &str, problems: Vec<Problem>) {
        let mut seats = self.lock();
        let mut of_node = seats
            .1
            .values_mut()
            .filter(|seated| seated.status.node_id == node);
        if let Some(seated) = of_node.next() {
            seated.problems = problems;
        }
    }

    fn principals_of(&self, node: &str) -> Vec<String> {
        let seats = self.lock();
        let of_node = seats.1.values().filter(|seated| seated.status.node_id == node);
        of_node.map(|seated| seated.status.principal.clone()).collect()
    }

    /// One entry a node: an agent and the Envoy that it serves have a stream each.
    pub(crate) fn proxies(&self) -> Vec<ProxyStatus> {
        let seats = self.lock();
        let mut proxies = BTreeMap::<(&str, &str), ProxyStatus>::new();
        for seated in seats.1.values() {
            let status = &seated.status;
            let mut of_stream = ProxyStatus {
                connected_seconds: seated.since.elapsed().as_secs(),
                ..status.clone()
            };
            add_problems(&mut of_stream, &seated.problems);
            match proxies.get_mut(&(status.workload.as_str(), status.node_id.as_str())) {
                Some(known) => known.types.extend(of_stream.types),
                None => drop(proxies.insert((&status.workload, &status.node_id), of_stream)),
            }
        }
        proxies.into_values().collect()
    }

    /// One entry a node.
    pub(crate) fn followers(&self) -> Vec<Follower> {
        let seats = self.lock();
        let mut nodes = BTreeMap::<&str, Follower>::new();
        for seated in seats.1.values() {
            let status = &seated.status;
            let node = nodes.entry(&status.node_id).or_insert_with(|| Follower {
                node: status.node_id.clone(),
                workload: status.workload.clone(),
                proven: false,
                trust: Vec::new(),
            });
            node.proven |= !status.principal.is_empty();
            node.trust.push(seated.trust.clone());
        }
        nodes.into_values().collect()
    }

    /// The proxies that a user means: a node id, an instance, a workload or a service, the last three with or without
    /// the namespace. The narrowest of these meanings that fits any proxy counts.
    pub(crate) fn named(&self, name: &str) -> Vec<ProxyStatus> {
        self.of(name, &[NODE, INSTANCE, WORKLOAD, SERVICE])
    }

    /// As [`Self::named`], and `svc/NAME`, `workload/NAME` and `ns/NAMESPACE` say which is meant; all: empty.
    pub(crate) fn meant(&self, target: &str) -> Vec<ProxyStatus> {
        match target.split_once('/') {
            None if target.is_empty() => self.proxies(),
            None => self.named(target),
            Some(("svc" | "service", name)) => self.of(name, &[SERVICE]),
            Some(("workload" | "deploy" | "deployment", name)) => self.of(name, &[WORKLOAD]),
            Some(("ns" | "namespace", namespace)) => self.of(namespace, &[NAMESPACE]),
            Some(_) => Vec::new(),
        }
    }

    /// A name that looks like one that nobody has.
    pub(crate) fn nearest(&self, name: &str) -> Option<String> {
        let seats = self.lock();
        let (kind, name) = match name.split_once('/') {
            Some((kind, name)) => (format!("{kind}/"), name),
            None => (String::new(), name),
        };
        let mut names: Vec<&str> = seats
            .1
            .values()
            .flat_map(|seated| [WORKLOAD(seated), SERVICE(seated), NAMESPACE(seated)])
            .collect();
        names.sort_unstable();
        names.dedup();
        let near = leno_api::nearest(name, names.iter().copied())?;
        Some(format!("{kind}{near}"))
    }

    fn of(&self, name: &str, meanings: &[Meaning]) -> Vec<ProxyStatus> {
        let seats = self.lock();
        let fits = |seated: &Seated, short: &str| {
            let namespace = name.strip_prefix(short);
            namespace.is_some_and(|n| n.is_empty() || n.strip_prefix('.') == Some(&seated.namespace))
        };
        meanings
            .iter()
            .map(|meaning| {
                let meant = seats.1.values().filter(|seated| fits(seated, meaning(seated)));
                meant.map(|seated| seated.status.clone()).collect::<Vec<_>>()
            })
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Seated>)> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Seat ===

impl Seat {
    /// Of the node, whatever streams it has.
    pub(crate) fn set_health(&self, healthy: bool) {
        let mut seats = self.roster.lock();
        let node = seats.1.get(&self.number).map(|s| s.status.node_id.clone());
        let of_node = seats
            .1
            .values_mut()
            .filter(|s| Some(&s.status.node_id) == node.as_ref());
        of_node.for_each(|seated| seated.status.healthy = healthy);
    }

    pub(crate) fn set_status(&self, stream: &Stream) {
        let types = stream.status().map(type_status).collect();
        let trust = match stream.acknowledged(type_url::SECRET, ROOT_CA) {
            Some(version) => Followed::Version(version.to_owned()),
            None if stream.subscribed(type_url::SECRET, ROOT_CA) => Followed::Pending,
            None => Followed::Unasked,
        };
        if let Some(seated) = self.roster.lock().1.get_mut(&self.number) {
            seated.status.types = types;
            seated.trust = trust;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.lock().1.remove(&self.number);
    }
}

/// A proxy that took a resource and cannot serve by it rejects it, as Envoy does with a port that is taken.
fn add_problems(status: &mut ProxyStatus, problems: &[Problem]) {
    for problem in problems {
        let of_type = status
            .types
            .iter_mut()
            .find(|known| known.r#type == problem.r#type);
        match of_type {
            Some(known) if known.error.is_empty() => {
                known.state = REJECTED.to_owned();
                known.error.clone_from(&problem.message);
            }
            Some(known) => known.error = format!("{}; {}", known.error, problem.message),
            None => status.types.push(TypeStatus {
                r#type: problem.r#type.clone(),
                state: REJECTED.to_owned(),
                resources: 0,
                error: problem.message.clone(),
            }),
        }
    }
}

const REJECTED: &str = "REJECTED";

fn type_status((type_url, state, resources): (&str, State, usize)) -> TypeStatus {
    let (state, error) = match state {
        State::Synced => ("SYNCED", String::new()),
        State::Stale => ("STALE", String::new()),
        State::NotSent => ("NOT_SENT", String::new()),
        State::Rejected(error) => (REJECTED, error),
    };
    TypeStatus {
        r#type: type_url::abbreviation(type_url).unwrap_or(type_url).to_owned(),
        state: state.to_owned(),
        resources: resources as u64,
        error,
    }
}
