//! The client side of the state of the world: each response says all that there is of a type (listeners, clusters), or
//! any part of what was asked for by name (the other types); each request says all that is asked for.
//!
//! Used as [`super::Client`] is, with the same four steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse, Resource};
use leno_proto::google::protobuf::Any;
use prost::Message;

use super::{Lookup, Received, Ticket, is_whole, lease, rejection};
use crate::WILDCARD;
use crate::backoff::Backoff;
use crate::order::push_order;

const RESOURCE: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// The state-of-the-world client of one node.
#[derive(Debug)]
pub struct StateClient {
    node: Node,
    watches: BTreeMap<String, Watch>,
    backoff: Backoff,
    /// Which stream this is, counted from one.
    stream: u64,
    connected: bool,
    /// The node has been named on this stream; it goes with the first message only.
    introduced: bool,
}

#[derive(Debug, Default)]
struct Watch {
    /// What is asked for, with [`WILDCARD`] as a name among the others.
    wanted: BTreeSet<String>,
    /// What is in force: name to version.
    kept: BTreeMap<String, String>,
    absent: BTreeSet<String>,
    rejected: BTreeSet<String>,
    /// Of the last response that was taken whole.
    version: String,
    /// Of the last response on this stream.
    nonce: String,
    /// The server does not know yet what is wanted.
    changed: bool,
    /// Whether this type was asked for on the current stream.
    opened: bool,
    /// Whether it was by a name.
    named: bool,
}

/// The field that names a resource is the first of every type's.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// One resource of a response.
struct Read {
    name: String,
    version: String,
    lease: Option<Duration>,
    /// None: a heartbeat.
    body: Option<Any>,
}

// === impl StateClient ===

impl StateClient {
    pub fn new(node: Node) -> Self {
        Self {
            node,
            watches: BTreeMap::new(),
            backoff: Backoff::default(),
            stream: 0,
            connected: false,
            introduced: false,
        }
    }

    /// Asks for a resource by name, or by [`WILDCARD`] for all of the type. Asking twice is asking once.
    pub fn subscribe(&mut self, type_url: &str, name: &str) {
        let watch = self.watches.entry(type_url.to_owned()).or_default();
        watch.changed |= watch.wanted.insert(name.to_owned());
    }

    /// The caller no longer wants the resource. Unless the wildcard keeps it, what is known of it is forgotten.
    pub fn unsubscribe(&mut self, type_url: &str, name: &str) {
        if let Some(watch) = self.watches.get_mut(type_url)
            && watch.wanted.remove(name)
        {
            watch.changed = true;
            if !watch.is_wanted(name) {
                watch.forget(name);
            }
        }
    }

    pub fn lookup(&self, type_url: &str, name: &str) -> Lookup {
        let watch = self.watches.get(type_url);
        watch.map_or(Lookup::Unsubscribed, |watch| watch.lookup(name))
    }

    /// Its time to live is over, and nobody has said it again: as if it had been removed.
    pub fn expire(&mut self, type_url: &str, name: &str) {
        if let Some(watch) = self.watches.get_mut(type_url) {
            watch.remove(name);
        }
    }

    /// What an earlier process had of it is in force, once it is subscribed to. The server is told of no version: it is
    /// to say everything again, for of the state of the world it has no other way to say what is gone.
    pub fn restore(&mut self, type_url: &str, name: &str, version: &str) {
        if let Some(watch) = self.watches.get_mut(type_url)
            && watch.is_wanted(name)
        {
            watch.kept.insert(name.to_owned(), version.to_owned());
        }
    }

    /// A new stream is open: what to send on it first. All types are asked for anew, with the versions that are in
    /// force; the nonces of the old stream mean nothing here.
    pub fn on_connected(&mut self) -> Vec<DiscoveryRequest> {
        self.stream += 1;
        self.connected = true;
        self.introduced = false;
        for watch in self.watches.values_mut() {
            (watch.opened, watch.named) = (false, false);
            watch.nonce.clear();
        }
        self.next_requests()
    }

    /// What changed since the last request: at most one request a type. Nothing while there is no stream.
    pub fn next_requests(&mut self) -> Vec<DiscoveryRequest> {
        if !self.connected {
            return Vec::new();
        }
        let mut watches: Vec<_> = self.watches.iter_mut().collect();
        watches.sort_by_key(|(type_url, _)| push_order(type_url));
        let due = watches.into_iter().filter_map(|(t, w)| w.next_request(t));
        let mut requests: Vec<_> = due.collect();
        if !self.introduced
            && let Some(first) = requests.first_mut()
        {
            first.node = Some(self.node.clone());
            self.introduced = true;
        }
        requests
    }

    /// Sorts a response. What nobody wants any more is dropped here. Of listeners and clusters, what is not in it is
    /// gone; of the other types nothing is said of what is not in it.
    pub fn on_response(&mut self, response: DiscoveryResponse) -> Received {
        self.backoff.reset();
        let mut ticket = Ticket {
            type_url: response.type_url.clone(),
            nonce: response.nonce.clone(),
            stream: self.stream,
            version: response.version_info.clone(),
            versions: Vec::new(),
            removed: Vec::new(),
            unreadable: Vec::new(),
        };
        let (mut updates, mut leases) = (Vec::new(), Vec::new());
        if let Some(watch) = self.watches.get_mut(&response.type_url) {
            watch.nonce.clone_from(&response.nonce);
            let mut said = BTreeSet::new();
            for (index, any) in response.resources.into_iter().enumerate() {
                let read = match read(any, &response.type_url, &response.version_info) {
                    Ok(read) => read,
                    Err(why) => {
                        ticket.unreadable.push((format!("resources[{index}]"), why));
                        continue;
                    }
                };
                said.insert(read.name.clone());
                if !watch.is_wanted(&read.name) {
                    continue;
                }
                leases.push((read.name.clone(), read.lease));
                if let Some(body) = read.body {
                    ticket.versions.push((read.name.clone(), read.version.clone()));
                    updates.push((read.name, read.version, body));
                }
            }
            // What cannot be read has no name: it may be any.
            if is_whole(&response.type_url) && ticket.unreadable.is_empty() {
                let known = watch.kept.keys().chain(&watch.rejected).chain(&watch.wanted);
                let gone = known.filter(|name| *name != WILDCARD && !said.contains(*name));
                ticket.removed = gone.cloned().collect::<BTreeSet<_>>().into_iter().collect();
            }
        }
        Received {
            type_url: response.type_url,
            version: response.version_info,
            updates,
            removed: ticket.removed.clone(),
            leases,
            ticket,
        }
    }

    /// Acknowledges a response, or rejects it naming every resource that could not be taken: those keep their last
    /// good version, the others are in force. `None` when the stream that the response came on is gone.
    pub fn finish(&mut self, ticket: Ticket, errors: &[(String, String)]) -> Option<DiscoveryRequest> {
        let errors = [ticket.unreadable.as_slice(), errors].concat();
        let watch = self.watches.get_mut(&ticket.type_url)?;
        for (name, version) in ticket.versions {
            if !watch.is_wanted(&name) {
                continue; // unsubscribed while it was being compiled
            }
            watch.absent.remove(&name);
            if errors.iter().any(|(bad, _)| *bad == name) {
                watch.rejected.insert(name);
            } else {
                watch.rejected.remove(&name);
                watch.kept.insert(name, version);
            }
        }
        for name in &ticket.removed {
            watch.remove(name);
        }
        if errors.is_empty() {
            watch.version = ticket.version;
        }
        if !self.connected || ticket.stream != self.stream {
            return None;
        }
        let mut request = watch.request(&ticket.type_url);
        request.response_nonce = ticket.nonce;
        request.error_detail = rejection(&errors);
        Some(request)
    }

    /// The stream ended, or could not be opened: how long to wait before the next try. `random` is uniform over all
    /// of `u32`.
    pub fn on_disconnected(&mut self, random: u32) -> Duration {
        self.connected = false;
        self.backoff.next(random)
    }
}

// === impl Watch ===

impl Watch {
    fn is_wanted(&self, name: &str) -> bool {
        self.wanted.contains(name) || self.wanted.contains(WILDCARD)
    }

    fn lookup(&self, name: &str) -> Lookup {
        if self.kept.contains_key(name) {
            Lookup::Present
        } else if !self.wanted.contains(name) {
            Lookup::Unsubscribed
        } else if self.absent.contains(name) {
            Lookup::Absent
        } else if self.rejected.contains(name) {
            Lookup::Rejected
        } else {
            Lookup::Pending
        }
    }

    fn forget(&mut self, name: &str) {
        self.kept.remove(name);
        self.rejected.remove(name);
        self.absent.remove(name);
    }

    fn remove(&mut self, name: &str) {
        self.forget(name);
        if self.wanted.contains(name) {
            self.absent.insert(name.to_owned());
        }
    }

    /// A type that was never asked for is not begun with a request for nothing, which would be the wildcard.
    fn next_request(&mut self, type_url: &str) -> Option<DiscoveryRequest> {
        let due = match self.opened {
            true => self.changed,
            false => !self.wanted.is_empty(),
        };
        due.then(|| self.request(type_url))
    }

    fn request(&mut self, type_url: &str) -> DiscoveryRequest {
        self.changed = false;
        self.opened = true;
        // The wildcard alone is said by no name at all, until a name was said: from then on that means nothing.
        let only_all = self.wanted.len() == 1 && self.wanted.contains(WILDCARD) && !self.named;
        self.named |= !only_all;
        DiscoveryRequest {
            type_url: type_url.to_owned(),
            version_info: self.version.clone(),
            response_nonce: self.nonce.clone(),
            resource_names: match only_all {
                true => Vec::new(),
                false => self.wanted.iter().cloned().collect(),
            },
            ..Default::default()
        }
    }
}

/// As it is, or in a `Resource`, which says how long it lives.
fn read(any: Any, type_url: &str, version: &str) -> Result<Read, String> {
    if any.type_url != RESOURCE {
        let name = name_of(&any, type_url)?;
        return Ok(Read {
            name,
            version: version.to_owned(),
            lease: None,
            body: Some(any),
        });
    }
    let resource = Resource::decode(any.value.as_slice()).map_err(|error| error.to_string())?;
    let name = match &resource.resource {
        Some(body) => name_of(body, type_url)?,
        None => resource.name,
    };
    Ok(Read {
        name,
        version: match resource.version.as_str() {
            "" => version.to_owned(),
            said => said.to_owned(),
        },
        lease: lease(resource.ttl),
        body: resource.resource,
    })
}

fn name_of(body: &Any, type_url: &str) -> Result<String, String> {
    if body.type_url != type_url {
        return Err(format!("{:?} is not of the type asked for", body.type_url));
    }
    let named = Named::decode(body.value.as_slice()).map_err(|error| error.to_string())?;
    match named.name.as_str() {
        "" => Err("it has no name".to_owned()),
        _ => Ok(named.name),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
