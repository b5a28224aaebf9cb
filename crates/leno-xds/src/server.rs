//! The server side: one ADS stream, delta or state of the world, behind one interface.
//!
//! The machine knows what the client asked for, has, acknowledged and rejected; it does not know where
//! resources come from. Its owner does this:
//! 1. a request came: [`Stream::on_delta`] or [`Stream::on_sotw`];
//! 2. for each type with something [`wanted`](Stream::wanted), in [`push_order`](crate::push_order): make these
//!    resources and call [`Stream::update`];
//! 3. the mesh changed: make the resources concerned and call [`Stream::update`]; what the client already has
//!    is not sent again. Then `wanted` once more: new clusters want their endpoints told again;
//! 4. removals: the same with [`Update::absent`], after everything else and in the opposite order.
//!
//! What is sent, and nothing else: a changed resource that is subscribed to; the answer to a (re-)subscription,
//! even unchanged; a name that does not exist, as removed (delta); the first answer to a wildcard, even empty;
//! endpoints after their cluster changed, and on a new stream, because Envoy waits for them while it warms a
//! cluster. A rejected resource is not sent again until it changes.

mod ack;
mod delta;
mod sotw;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use leno_proto::google::protobuf::Any;
use leno_proto::type_url;

pub use ack::State;
use watch::Watch;

/// More types than xDS has; a client that invents them costs no more.
const MOST_TYPES: usize = 64;

/// A resource as it is sent, shared by all streams that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    pub name: Arc<str>,
    /// Says whether two are the same: best a hash of the content, so that it means the same after a restart.
    pub version: Arc<str>,
    /// The encoded message.
    pub body: Bytes,
}

/// One client's stream.
#[derive(Debug)]
pub struct Stream {
    protocol: Protocol,
    watches: BTreeMap<String, Watch>,
    /// Counts responses: the nonce.
    sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Delta,
    StateOfTheWorld,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

/// What a request meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub type_url: String,
    /// The first of this type on this stream, by a client that has resources of it from before.
    pub resumed: bool,
    /// What the client says of a response that it did not take (a NACK).
    pub rejected: Option<String>,
    /// Subscriptions that ended; [`WILDCARD`](crate::WILDCARD) among them.
    pub ended: Vec<String>,
}

/// What a request asks for in a way that is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the request names no resource type: set type_url")]
    NoType,
    #[error("{0}: resource locators are not supported; subscribe by resource names")]
    Locators(String),
    #[error("{0}: the stream asks for {MOST_TYPES} types of resources already")]
    TooManyTypes(String),
}

/// What has to be made for a client: it asked, and has not been answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub wildcard: bool,
    pub names: Vec<String>,
}

/// Some resources of one type as they are now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Update<'a> {
    pub present: &'a [Arc<Resource>],
    /// Names that do not exist (any more).
    pub absent: &'a [String],
    /// `present` holds all that the wildcard means: its first answer is due, even if that is nothing.
    pub wildcard: bool,
}

// === impl Resource ===

impl Resource {
    fn packed(&self, type_url: &str) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value: self.body.to_vec(),
        }
    }
}

// === impl Wanted ===

impl Wanted {
    pub fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }
}

// === impl Stream ===

impl Stream {
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            watches: BTreeMap::new(),
            sent: 0,
        }
    }

    /// What the stream asks for of a type, and whether it does so for the first time.
    fn watch(&mut self, type_url: &str) -> Result<(bool, &mut Watch), RequestError> {
        let first = !self.watches.contains_key(type_url);
        if first && self.watches.len() == MOST_TYPES {
            return Err(RequestError::TooManyTypes(ack::bounded(type_url.to_owned())));
        }
        Ok((first, self.watches.entry(type_url.to_owned()).or_default()))
    }

    /// How many types are asked for, and how many names of them all.
    pub fn size(&self) -> (usize, usize) {
        let names = self.watches.values().map(|watch| watch.names.len());
        (self.watches.len(), names.sum())
    }

    /// What has been asked for and not been answered.
    pub fn wanted(&self, type_url: &str) -> Wanted {
        self.watches.get(type_url).map(Watch::wanted).unwrap_or_default()
    }

    /// The types of which anything is asked for, in the order in which to push them.
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self.watches.keys().cloned().collect();
        types.sort_by_key(|t| crate::push_order(t));
        types
    }

    pub fn has_wildcard(&self, type_url: &str) -> bool {
        self.watches.get(type_url).is_some_and(|w| w.wildcard)
    }

    /// Whether the name is asked for, by itself or with all others.
    pub fn subscribed(&self, type_url: &str, name: &str) -> bool {
        self.watches.get(type_url).is_some_and(|w| w.wants(name))
    }

    /// What only the wildcard made the client have, and that `is_still` there no more: to be told as absent.
    pub fn vanished(&self, type_url: &str, is_still: impl Fn(&str) -> bool) -> Vec<String> {
        let Some(watch) = self.watches.get(type_url) else {
            return Vec::new();
        };
        watch
            .known()
            .filter(|name| !watch.names.contains(*name) && !is_still(name))
            .map(str::to_owned)
            .collect()
    }

    /// Tells the client what it asked for and does not have. `None`: there is nothing to say.
    pub fn update(&mut self, type_url: &str, update: Update<'_>) -> Option<Response> {
        let watch = self.watches.get_mut(type_url)?;
        let nonce = self.sent + 1;
        let (response, told) = match self.protocol {
            Protocol::Delta => delta::respond(watch, type_url, nonce, update)?,
            Protocol::StateOfTheWorld => sotw::respond(watch, type_url, nonce, update)?,
        };
        self.sent = nonce;
        if type_url == type_url::CLUSTER
            && let Some(endpoints) = self.watches.get_mut(type_url::CLUSTER_LOAD_ASSIGNMENT)
        {
            endpoints.tell_again(&told);
        }
        Some(response)
    }

    /// The version of a resource that the client has acknowledged, or had before this stream.
    pub fn acknowledged(&self, type_url: &str, name: &str) -> Option<&str> {
        self.watches.get(type_url)?.acknowledged(name)
    }

    /// Whether the client follows, by type.
    pub fn status(&self) -> impl Iterator<Item = (&str, State, usize)> {
        self.watches
            .iter()
            .map(|(t, w)| (t.as_str(), w.acks.state(w.is_told()), w.known().count()))
    }
}
