//! HTTP filters: step machines over the engine's own message, without IO.
//!
//! One filter is one file and one row in [`FILTERS`]: its type URL, its parse, its per-route override, its
//! behaviour and its tests. What a filter cannot do by itself it asks for as an [`Effect`]; one executor in the
//! proxy performs effects, `leno explain` prints them.

use std::time::Duration;

use bytes::Bytes;

use crate::flags::Flags;
use crate::message::{Headers, LocalReply, RequestHead, ResponseHead};

/// What a filter wants next.
#[derive(Debug)]
pub enum Step {
    Continue,
    /// Answer at once; the request goes no further.
    Reply(LocalReply),
    /// Hold body bytes back, up to this many, until a later `Continue`.
    Buffer(usize),
    Effect(Effect),
}

/// What the executor does for a filter, which then gets `on_effect`.
#[derive(Debug)]
pub enum Effect {
    Sleep(Duration),
    /// A call to a cluster; the answer comes back whole.
    Call {
        cluster: String,
        request: Box<RequestHead>,
        body: Bytes,
        timeout: Duration,
    },
    /// Wait for a resource by name (on-demand discovery).
    Await {
        type_url: &'static str,
        name: String,
    },
}

#[derive(Debug)]
pub enum EffectResult {
    Slept,
    Called(Result<(ResponseHead, Bytes), Flags>),
    Arrived(bool),
}

/// What a filter may know and change besides the message.
#[derive(Debug)]
pub struct Context<'a> {
    /// A fresh random number for this request.
    pub random: u64,
    pub flags: &'a mut Flags,
    /// Peer metadata as found in headers (Istio's metadata exchange), for the record.
    pub peer: &'a mut PeerMetadata,
    /// The proxy's own metadata to send to the peer.
    pub local: &'a LocalMetadata,
    pub connection: &'a ConnectionFacts,
    /// The route's cluster name, once routed.
    pub cluster: Option<&'a str>,
}

/// Who the other side says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerMetadata {
    pub workload: String,
    pub namespace: String,
    pub app: String,
    pub version: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub cluster: String,
}

/// What this proxy tells about its workload: already encoded as Istio's headers want it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalMetadata {
    /// `x-envoy-peer-metadata-id`: the node id.
    pub id: Bytes,
    /// `x-envoy-peer-metadata`: base64 of a protobuf Struct.
    pub encoded: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFacts {
    pub tls: bool,
    pub peer_principal: Option<String>,
    pub inbound: bool,
}

/// One request's state of one filter. The default of every step is to let pass.
pub trait HttpFilter: std::fmt::Debug {
    fn on_request_headers(&mut self, _cx: &mut Context<'_>, _head: &mut RequestHead, _end: bool) -> Step {
        Step::Continue
    }
    fn on_request_data(&mut self, _cx: &mut Context<'_>, _data: &mut Bytes, _end: bool) -> Step {
        Step::Continue
    }
    fn on_request_trailers(&mut self, _cx: &mut Context<'_>, _trailers: &mut Headers) -> Step {
        Step::Continue
    }
    fn on_response_headers(&mut self, _cx: &mut Context<'_>, _head: &mut ResponseHead, _end: bool) -> Step {
        Step::Continue
    }
    fn on_response_data(&mut self, _cx: &mut Context<'_>, _data: &mut Bytes, _end: bool) -> Step {
        Step::Continue
    }
    fn on_response_trailers(&mut self, _cx: &mut Context<'_>, _trailers: &mut Headers) -> Step {
        Step::Continue
    }
    /// The effect asked for has ended. `Continue` resumes where it was asked.
    fn on_effect(&mut self, _cx: &mut Context<'_>, _result: EffectResult) -> Step {
        Step::Continue
    }
}

/// A filter's compiled configuration: makes one state per request.
pub trait FilterFactory: std::fmt::Debug + Send + Sync {
    /// `per_route`: the most specific per-route configuration of the same filter, if any.
    /// None: the filter has nothing to do for this request.
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>>;
    fn as_any(&self) -> &dyn std::any::Any;
}

#[derive(Debug)]
pub struct FilterConfig {
    /// The name in the filter list, which per-route configurations use as key.
    pub name: String,
    /// The encoded configuration, by which two are equal.
    pub encoded: Bytes,
    pub disabled: bool,
    pub factory: Box<dyn FilterFactory>,
}

impl PartialEq for FilterConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.encoded == other.encoded && self.disabled == other.disabled
    }
}
