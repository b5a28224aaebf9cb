//! The client side: one delta ADS stream after another, and what is kept between them.
//!
//! The owner of the stream does this, and nothing else:
//! 1. connected: send all of [`Client::on_connected`];
//! 2. a response came: [`Client::on_response`], compile what it holds, put the good ones in force, then send
//!    what [`Client::finish`] returns;
//! 3. after `subscribe`, `unsubscribe`, `set_health`: send all of [`Client::next_requests`], which batches;
//! 4. the stream ended, or could not be opened: wait for [`Client::on_disconnected`], go to 1.
//!
//! Resources survive the stream: versions of what is in force go with the first request of the next one
//! (`initial_resource_versions`), so that a reconnect to a control plane with the same configuration moves
//! nothing.

pub mod state;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use leno_proto::google::protobuf::Any;
use leno_proto::google::rpc::Status;
use leno_proto::type_url;

use crate::WILDCARD;
use crate::backoff::Backoff;
use crate::order::push_order;
use watch::Watch;

/// `google.rpc.Code.INVALID_ARGUMENT`: what a NACK says.
const INVALID_ARGUMENT: i32 = 3;

/// The delta ADS client of one node.
#[derive(Debug)]
pub struct Client {
    node: Node,
    watches: BTreeMap<String, Watch>,
    health: Option<Health>,
    backoff: Backoff,
    /// Which stream this is, counted from one; what comes from an earlier one is not acknowledged here.
    stream: u64,
    connected: bool,
    /// The node has been named on this stream; it goes with the first message only.
    introduced: bool,
}

/// What a response holds for the caller: first everything to be put in force, then what to forget.
#[derive(Debug)]
pub struct Received {
    pub type_url: String,
    /// Of the whole response, where the server says one.
    pub version: String,
    /// Name, version, body.
    pub updates: Vec<(String, String, Any)>,
    pub removed: Vec<String>,
    /// How long each of what was said lives, unless it is said again: of updates, and of heartbeats, which bring
    /// nothing else. None: for ever.
    pub leases: Vec<(String, Option<Duration>)>,
    pub ticket: Ticket,
}

/// A response that awaits its acknowledgement: given back to [`Client::finish`].
#[derive(Debug)]
#[must_use = "a response that is never acknowledged stays STALE at the server"]
pub struct Ticket {
    type_url: String,
    nonce: String,
    stream: u64,
    /// Of the whole response: of a state of the world only.
    version: String,
    versions: Vec<(String, String)>,
    removed: Vec<String>,
    /// What could not even be read, and why.
    unreadable: Vec<(String, String)>,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nobody asked for it.
    Unsubscribed,
    /// Asked for and not answered yet, on this stream or an earlier one.
    Pending,
    Present,
    /// The server says that there is none.
    Absent,
    /// Every version so far was rejected.
    Rejected,
}

#[derive(Debug)]
struct Health {
    /// Why the workload is unhealthy; `None`: healthy.
    unhealthy: Option<String>,
    told: bool,
}

// === impl Client ===

impl Client {
    pub fn new(node: Node) -> Self {
        Self {
            node,
            watches: BTreeMap::new(),
            health: None,
            backoff: Backoff::default(),
            stream: 0,
            connected: false,
            introduced: false,
        }
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Asks for a resource by name. Asking twice is asking once.
    pub fn subscribe(&mut self, type_url: &str, name: &str) {
        self.watch(type_url).subscribe(name);
    }

    /// Asks for every resource of a type.
    pub fn subscribe_wildcard(&mut self, type_url: &str) {
        self.watch(type_url).subscribe(WILDCARD);
    }

    /// The caller no longer wants the resource. Unless the wildcard keeps it, what is known of it is forgotten.
    pub fn unsubscribe(&mut self, type_url: &str, name: &str) {
        self.watch(type_url).unsubscribe(name);
    }

    /// Takes the wildcard back; returns the resources that only it kept, for the caller to drop.
    pub fn unsubscribe_wildcard(&mut self, type_url: &str) -> Vec<String> {
        self.watch(type_url).unsubscribe(WILDCARD)
    }

    pub fn lookup(&self, type_url: &str, name: &str) -> Lookup {
        self.watches
            .get(type_url)
            .map_or(Lookup::Unsubscribed, |w| w.lookup(name))
    }

    /// Asked for and not answered: neither a resource nor the word that there is none.
    pub fn pending(&self, type_url: &str, name: &str) -> bool {
        self.lookup(type_url, name) == Lookup::Pending
    }

    /// What is in force of a type, with versions.
    pub fn resources(&self, type_url: &str) -> impl Iterator<Item = (&str, &str)> {
        self.watches.get(type_url).into_iter().flat_map(Watch::kept)
    }

    /// The types that were ever subscribed to.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.watches.keys().map(String::as_str)
    }

    /// Istio's workload health: `None` is healthy, else why not. Told to the server when it changes and on every
    /// new stream.
    pub fn set_health(&mut self, unhealthy: Option<String>) {
        if self.health.as_ref().is_none_or(|h| h.unhealthy != unhealthy) {
            self.health = Some(Health {
                unhealthy,
                told: false,
            });
        }
    }

    /// A new stream is open: what to send on it first. All types are asked for anew, with the versions that
    /// are in force.
    pub fn on_connected(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.stream += 1;
        self.connected = true;
        if let Some(health) = &mut self.health {
            health.told = false;
        }
        let mut requests: Vec<_> = self.by_order().filter_map(|(t, w)| w.first_request(t)).collect();
        requests.extend(self.health_request());
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.clone());
        }
        self.introduced = !requests.is_empty();
        requests
    }

    /// What changed since the last request: at most one request a type. Nothing while there is no stream.
    pub fn next_requests(&mut self) -> Vec<DeltaDiscoveryRequest> {
        if !self.connected {
            return Vec::new();
        }
        let mut requests: Vec<_> = self.by_order().filter_map(|(t, w)| w.next_request(t)).collect();
        requests.extend(self.health_request());
        if !self.introduced
            && let Some(first) = requests.first_mut()
        {
            first.node = Some(self.node.clone());
            self.introduced = true;
        }
        requests
    }

    /// Sorts a response. What nobody wants any more (an unsubscription crossed it) is dropped here.
    pub fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Received {
        self.backoff.reset();
        let mut ticket = Ticket {
            type_url: response.type_url.clone(),
            nonce: response.nonce,
            stream: self.stream,
            version: String::new(),
            versions: Vec::new(),
            removed: Vec::new(),
            unreadable: Vec::new(),
        };
        let (mut updates, mut leases) = (Vec::new(), Vec::new());
        if let Some(watch) = self.watches.get(&response.type_url) {
            ticket.removed = response.removed_resources;
            for resource in response.resources {
                let Some(name) = name_of(&resource, watch) else {
                    continue;
                };
                leases.push((name.clone(), lease(resource.ttl)));
                let Some(body) = resource.resource else {
                    // Of an alias it says that there is none. Else it is a TTL heartbeat: nothing new.
                    ticket
                        .removed
                        .extend(resource.aliases.contains(&name).then_some(name));
                    continue;
                };
                ticket.versions.push((name.clone(), resource.version.clone()));
                updates.push((name, resource.version, body));
            }
            ticket.removed.retain(|name| watch.concerns(name));
        }
        Received {
            type_url: response.type_url,
            version: response.system_version_info,
            updates,
            removed: ticket.removed.clone(),
            leases,
            ticket,
        }
    }

    /// Acknowledges a response, or rejects it naming every resource that could not be taken: those keep their
    /// last good version, the others are in force. `None` when the stream that the response came on is gone.
    pub fn finish(&mut self, ticket: Ticket, errors: &[(String, String)]) -> Option<DeltaDiscoveryRequest> {
        if let Some(watch) = self.watches.get_mut(&ticket.type_url) {
            watch.settle(ticket.versions, ticket.removed, |name| {
                errors.iter().any(|(bad, _)| bad == name)
            });
        }
        (self.connected && ticket.stream == self.stream).then(|| DeltaDiscoveryRequest {
            type_url: ticket.type_url,
            response_nonce: ticket.nonce,
            error_detail: rejection(errors),
            ..Default::default()
        })
    }

    /// The stream ended, or could not be opened: how long to wait before the next try. `random` is uniform over
    /// all of `u32`.
    pub fn on_disconnected(&mut self, random: u32) -> Duration {
        self.connected = false;
        self.backoff.next(random)
    }

    /// Its time to live is over, and nobody has said it again: as if it had been removed.
    pub fn expire(&mut self, type_url: &str, name: &str) {
        self.watch(type_url).expire(name);
    }

    /// What an earlier process had of it is in force: the server is told the version, and tells what has changed since
    /// and what is gone. Once it is subscribed to.
    pub fn restore(&mut self, type_url: &str, name: &str, version: &str) {
        self.watch(type_url).restore(name, version);
    }

    fn watch(&mut self, type_url: &str) -> &mut Watch {
        self.watches.entry(type_url.to_owned()).or_default()
    }

    fn by_order(&mut self) -> impl Iterator<Item = (&String, &mut Watch)> {
        let mut watches: Vec<_> = self.watches.iter_mut().collect();
        watches.sort_by_key(|(type_url, _)| push_order(type_url));
        watches.into_iter()
    }

    fn health_request(&mut self) -> Option<DeltaDiscoveryRequest> {
        let health = self.health.as_mut().filter(|h| !h.told)?;
        health.told = true;
        Some(DeltaDiscoveryRequest {
            type_url: type_url::HEALTH_INFORMATION.to_owned(),
            error_detail: health.unhealthy.as_ref().map(|why| Status {
                code: INVALID_ARGUMENT,
                message: why.clone(),
                details: Vec::new(),
            }),
            ..Default::default()
        })
    }
}

/// Of these types a response of the state of the world says all that there is, and a first request that names nothing
/// asks for all.
fn is_whole(type_url: &str) -> bool {
    matches!(
        type_url,
        type_url::LISTENER
            | type_url::CLUSTER
            | type_url::SCOPED_ROUTE_CONFIGURATION
            | type_url::VIRTUAL_HOST
    )
}

/// The name by which a resource is wanted: its own, or one of its other ones (VHDS).
fn name_of(resource: &Resource, watch: &Watch) -> Option<String> {
    let Resource { name, aliases, .. } = resource;
    let mut names = aliases.iter().filter(|alias| watch.accepts_alone(alias));
    match names.next() {
        Some(alias) => Some(alias.clone()),
        None => watch.accepts(name).then(|| name.clone()),
    }
}

/// What is no duration is no limit.
fn lease(ttl: Option<leno_proto::google::protobuf::Duration>) -> Option<Duration> {
    let ttl = ttl?;
    let (seconds, nanos) = (u64::try_from(ttl.seconds).ok()?, u32::try_from(ttl.nanos).ok()?);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

fn rejection(errors: &[(String, String)]) -> Option<Status> {
    if errors.is_empty() {
        return None;
    }
    let lines: Vec<_> = errors
        .iter()
        .map(|(name, message)| format!("{name}: {message}"))
        .collect();
    Some(Status {
        code: INVALID_ARGUMENT,
        message: lines.join("; "),
        details: Vec::new(),
    })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
