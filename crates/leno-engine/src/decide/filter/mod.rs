//! HTTP filters: step machines over the engine's own message, without IO.
//!
//! One filter is one file and one row in [`FILTERS`]: its type URL, its parse, its per-route override, its
//! behaviour and its tests. What a filter cannot do by itself it asks for as an [`Effect`]; one executor in the
//! proxy performs effects, `leno explain` prints them.

mod cors;
mod discovered;
mod dynamic_forward_proxy;
mod ext_authz;
mod fault;
mod grpc_stats;
mod header_mutation;
mod health_check;
mod istio_alpn;
pub mod jwt_authn;
mod known_peers;
mod local_ratelimit;
mod on_demand;
mod peak_ewma;
pub mod peer_metadata;
mod rbac;
mod set_filter_state;
mod set_metadata;
mod stateful_session;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use leno_proto::FromAny;
use leno_proto::google::protobuf::Any;

use crate::compile::Rejection;
use crate::compile::access_log::FormatValues;
use crate::compile::at::{At, Wants};
use crate::compile::cluster::Cluster;
use crate::compile::config_source::Source;
use crate::compile::dns_cache::DnsCache;
use crate::compile::endpoint::Target;
use crate::compile::pb::route as pb;
use crate::compile::rate_limit::RouteLimits;
use crate::compile::service::GrpcService;
use crate::compile::typed_struct;
use crate::decide::notes::Notes;
use crate::decide::rbac::{Asked, Caller, Denial, Peer};
use crate::decide::tally::Tally;
use crate::decide::wish::Wish;
use crate::flags::Flags;
use crate::jwt::Remote;
use crate::message::{Headers, LocalReply, RequestHead, ResponseHead};

pub use discovered::Discovered;
pub(crate) use discovered::type_of;
pub use jwt_authn::Refusal;
pub use known_peers::KnownPeers;

/// What a filter wants next.
#[derive(Debug)]
pub enum Step {
    Continue,
    /// Answer at once; the request goes no further.
    Reply(LocalReply),
    /// Hold body bytes back, up to this many, until a later `Continue`.
    Buffer(usize),
    Effect(Effect),
    /// After an effect that was asked for with the request's headers: those once more.
    Again,
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
    /// A gRPC call of one encoded message; so is its answer. `patience`: for a service without a timeout of its own.
    Ask {
        service: Arc<GrpcService>,
        path: &'static str,
        message: Bytes,
        patience: Duration,
    },
    /// Wait until a request's host is resolved, for a cluster whose endpoint it is.
    Resolve {
        cluster: String,
        authority: Bytes,
        by: Rules,
    },
    /// Ask for a cluster there, and wait until it is known or this time is over.
    Discover {
        cluster: String,
        source: Source,
        timeout: Duration,
    },
    /// Fetch a set of keys into its place.
    Fetch(Arc<Remote>),
}

/// By whose rules a host is resolved.
#[derive(Clone, Debug)]
pub enum Rules {
    These(Arc<DnsCache>),
    /// Its cluster's, and for so long at most. What is not there is found out when it is picked.
    Own(Duration),
}

#[derive(Debug)]
pub enum EffectResult {
    Slept,
    Called(Result<(ResponseHead, Bytes), Flags>),
    /// Err: why there is no answer, for people.
    Asked(Result<Bytes, String>),
    /// The cluster is known, or it is not.
    Discovered,
    Resolved(Result<(), Unresolved>),
    /// The set of keys is there, or it is not.
    Fetched,
}

/// Why a host has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    Failed,
    TooManyHosts,
    TooManyWait,
    TooLate,
}

/// What a filter may know and change besides the message.
pub struct Context<'a> {
    /// The time, for those who need it.
    pub clock: fn() -> Instant,
    /// The time of day.
    pub time: fn() -> SystemTime,
    /// A fresh random number for this request.
    pub random: u64,
    pub flags: &'a mut Flags,
    /// Peer metadata as found in headers (Istio's metadata exchange), for the record.
    pub peer: &'a mut Option<Rc<PeerMetadata>>,
    /// Those that have been met before.
    pub peers: &'a mut KnownPeers,
    /// The proxy's own metadata to send to the peer.
    pub local: &'a LocalMetadata,
    pub connection: &'a ConnectionFacts,
    /// The other end of the connection.
    pub caller: Peer<'a>,
    /// The client, as far as it is told by proxies that are trusted.
    pub remote: SocketAddr,
    /// As what the route and its host say that the request is counted.
    pub route_limits: Option<&'a RouteLimits>,
    pub ignores_parameters: bool,
    /// As it goes upstream; None while it is a filter's to edit.
    pub request: Option<&'a RequestHead>,
    /// What filters tell each other of the request.
    pub notes: &'a Notes,
    /// What formats may name besides the messages.
    pub values: &'a dyn FormatValues,
    /// Who answers, once it has proved it.
    pub upstream_principal: Option<&'a str>,
    /// The endpoint that the request is to go to.
    pub wish: &'a mut Option<Wish>,
    /// Where it has gone.
    pub endpoint: Option<&'a Target>,
    /// There is a route.
    pub routed: bool,
    /// The route's cluster name, once routed.
    pub cluster: Option<&'a str>,
    /// That cluster, where it is known.
    pub upstream: Option<&'a Cluster>,
    /// Whose endpoint is the request's own host.
    pub by_host: bool,
    /// Nobody of the mesh is behind that cluster.
    pub external: bool,
    pub process: &'a dyn Process,
    pub tally: &'a dyn Tally,
    /// To be set where the request may have another route now; it is looked for before the next filter.
    pub reroutes: &'a Cell<bool>,
}

/// What the process says of itself and its clusters.
pub trait Process {
    /// Somebody wants health checks of it to fail.
    fn fails_health_checks(&self) -> bool;
    /// The cluster that it belongs to itself.
    fn cluster_name(&self) -> &str;
    /// The texts of an object in the node's metadata.
    fn node_labels(&self, key: &str) -> Vec<(String, String)>;
    /// None: there is no such cluster.
    fn membership(&self, cluster: &str) -> Option<Membership>;
}

/// How many of a cluster's endpoints may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub well: u64,
    pub all: u64,
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

impl PeerMetadata {
    /// Nobody who has said anything.
    pub const fn unknown() -> Self {
        Self {
            workload: String::new(),
            namespace: String::new(),
            app: String::new(),
            version: String::new(),
            canonical_service: String::new(),
            canonical_revision: String::new(),
            cluster: String::new(),
        }
    }
}

/// What this proxy tells about its workload: already encoded as Istio's headers want it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalMetadata {
    /// `x-envoy-peer-metadata-id`: the node id.
    pub id: Bytes,
    /// `x-envoy-peer-metadata`: base64 of a protobuf Struct.
    pub encoded: Bytes,
}

#[derive(Debug, Default)]
pub struct ConnectionFacts {
    pub tls: bool,
    pub peer_principal: Option<String>,
    pub inbound: bool,
    pub limits: OwnLimits,
}

/// The rate limits that a connection has for itself, from its first request on that asks for them.
#[derive(Debug, Default)]
pub struct OwnLimits(std::cell::OnceCell<Box<local_ratelimit::Buckets>>);

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
    /// Whether it looks at data and trailers: where no filter does, bodies pass beside them.
    fn sees_bodies(&self) -> bool {
        true
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
    /// The same with all that the levels of the route table say of the filter, for those that add them up.
    fn start_at(&self, levels: &Levels<'_>) -> Option<Box<dyn HttpFilter>> {
        self.start(levels.most_specific())
    }
    /// Whether it has anything to do with such a request.
    fn wants(&self, _head: &RequestHead) -> bool {
        true
    }
    /// Names that it counts by below the manager's.
    fn counts(&self) -> Vec<String> {
        Vec::new()
    }
    /// What the filter may do to a request, and to which share of such; for `leno explain`. Empty: nothing that a
    /// client would notice.
    fn foretell(
        &self,
        _per_route: Option<&FilterConfig>,
        _head: &RequestHead,
        _cluster: Option<&str>,
    ) -> Vec<Foretold> {
        Vec::new()
    }
    /// Whether it is the filter `on_demand`.
    fn is_on_demand(&self) -> bool {
        false
    }
    /// Where it asks for resources by itself.
    fn source(&self) -> Option<&Source> {
        None
    }
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What happens to some of the requests of a kind; shares in parts in a million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foretold {
    Delay {
        time: Duration,
        share: u32,
    },
    Reply {
        status: u16,
        share: u32,
    },
    /// An authorizer at this place is asked.
    Asks {
        at: String,
        fails_open: bool,
    },
}

/// A kind of filter.
struct Kind {
    /// The full names of its configuration's message, and of its per-route configuration's where that is another.
    messages: &'static [&'static str],
    parse: Parse,
}

type Parse = fn(&At<'_>, &Any) -> Result<Box<dyn FilterFactory>, Rejection>;

/// The HTTP filters that leno has, besides the router.
const FILTERS: &[Kind] = &[
    cors::KIND,
    dynamic_forward_proxy::KIND,
    ext_authz::KIND,
    fault::KIND,
    grpc_stats::KIND,
    header_mutation::KIND,
    istio_alpn::KIND,
    jwt_authn::KIND,
    health_check::KIND,
    local_ratelimit::KIND,
    on_demand::KIND,
    peak_ewma::KIND,
    peer_metadata::KIND,
    rbac::KIND,
    set_filter_state::KIND,
    set_metadata::KIND,
    stateful_session::KIND,
];

/// A filter of Istio that only counts. Where it is, Istio's metrics are; it is left out of the requests' way.
const ONLY_COUNT: &[&str] = &["stats.PluginConfig"];

pub struct FilterConfig {
    /// The name in the filter list, which per-route configurations use as key.
    pub name: String,
    /// The encoded configuration, by which two are equal.
    pub encoded: Bytes,
    pub disabled: bool,
    pub factory: Box<dyn FilterFactory>,
    /// The configuration is elsewhere, and this is no more than its place.
    pub discovered: Option<Box<Discovered>>,
}

/// What it was compiled into, and not the bytes that it came from.
impl std::fmt::Debug for FilterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("FilterConfig");
        shown.field("name", &self.name).field("disabled", &self.disabled);
        shown.field("factory", &self.factory).finish_non_exhaustive()
    }
}

impl PartialEq for FilterConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.encoded == other.encoded && self.disabled == other.disabled
    }
}

/// What the levels of the route table say of one filter: the weighted cluster, the route, the virtual host, the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels<'t>(pub [Option<&'t FilterConfig>; 4]);

impl<'t> Levels<'t> {
    /// The most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &'t FilterConfig> {
        self.0.into_iter().flatten()
    }

    pub fn most_specific(&self) -> Option<&'t FilterConfig> {
        self.iter().next()
    }
}

// === impl FilterConfig ===

impl FilterConfig {
    /// One request's state; None if the filter has nothing to do for it.
    pub fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        // What a route says of a filter turns it on or off, whatever the list says.
        if per_route.map_or(self.disabled, |route| route.disabled) {
            return None;
        }
        self.factory.start(per_route)
    }

    /// A filter that only counts.
    pub(crate) fn nothing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            encoded: Bytes::new(),
            disabled: false,
            factory: Box::new(Switch),
            discovered: None,
        }
    }

    pub(crate) fn discovered(name: &str, encoded: Bytes, disabled: bool, discovered: Discovered) -> Self {
        Self {
            name: name.to_owned(),
            encoded,
            disabled,
            factory: Box::new(discovered::Missing),
            discovered: Some(Box::new(discovered)),
        }
    }

    /// Requests that find no cluster wait for it, or for the routes of their scope.
    pub fn is_on_demand(&self) -> bool {
        self.factory.is_on_demand()
    }

    /// The same with all that the levels say.
    pub fn start_at(&self, levels: &Levels<'_>) -> Option<Box<dyn HttpFilter>> {
        if levels
            .most_specific()
            .map_or(self.disabled, |level| level.disabled)
        {
            return None;
        }
        self.factory.start_at(levels)
    }

    /// Why it would turn a caller away by policy; None: it is another filter, or would not.
    pub fn denies(&self, per_route: Option<&FilterConfig>, caller: &Caller<'_>) -> Option<Denial> {
        match self.disabled {
            true => None,
            false => rbac::denies(&*self.factory, per_route, caller),
        }
    }

    /// What a caller would be told of the tokens that a request brings; what good ones say is noted. `at`: by both clocks.
    pub fn refuses_token(
        &self,
        per_route: Option<&FilterConfig>,
        head: &RequestHead,
        at: (Instant, SystemTime),
        notes: &Notes,
        values: &dyn FormatValues,
    ) -> Option<Refusal> {
        match self.disabled {
            true => None,
            false => jwt_authn::verifies(&*self.factory, per_route, head, at, notes, values),
        }
    }

    /// The policy by which an authorizer would be asked about a caller; None: it is another filter, or nobody would.
    pub fn asks(&self, per_route: Option<&FilterConfig>, caller: &Caller<'_>) -> Option<Asked> {
        match self.disabled {
            true => None,
            false => rbac::asks(&*self.factory, per_route, caller),
        }
    }

    /// See [`FilterFactory::foretell`].
    pub fn foretell(
        &self,
        per_route: Option<&FilterConfig>,
        head: &RequestHead,
        cluster: Option<&str>,
    ) -> Vec<Foretold> {
        if self.start(per_route).is_none() {
            return Vec::new();
        }
        self.factory.foretell(per_route, head, cluster)
    }
}

/// What a route says that only turns a filter on or off; its settings are those of the list.
#[derive(Debug)]
struct Switch;

impl FilterFactory for Switch {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        None
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Compiles a filter of the list.
pub(crate) fn config(at: &At<'_>, name: &str, any: &Any, disabled: bool) -> Result<FilterConfig, Rejection> {
    let Some(kind) = kind(any) else {
        return Err(at.unknown_extension(any));
    };
    Ok(FilterConfig {
        name: name.to_owned(),
        encoded: Bytes::copy_from_slice(&any.value),
        disabled,
        factory: (kind.parse)(at, any)?,
        discovered: None,
    })
}

/// Compiles what a route, host or weighted cluster says of a filter; None: nothing that counts.
pub(crate) fn per_route(at: &At<'_>, name: &str, any: &Any) -> Result<Option<FilterConfig>, Rejection> {
    let any = &*typed_struct::opened(at, any)?;
    if !any.is::<pb::FilterConfig>() {
        return if only_counts(any) {
            Ok(None)
        } else {
            config(at, name, any, false).map(Some)
        };
    }
    let pb::FilterConfig {
        config: inner,
        is_optional,
        disabled,
    } = any.unpack().map_err(|error| at.reject(error.to_string()))?;
    let inner = match inner.filter(|inner| *inner != Any::default()) {
        None => None,
        Some(inner) => Some(typed_struct::opened(&at.field("config"), &inner)?.into_owned()),
    };
    match inner {
        None => Ok(Some(FilterConfig {
            name: name.to_owned(),
            encoded: Bytes::new(),
            disabled,
            factory: Box::new(Switch),
            discovered: None,
        })),
        Some(inner) if only_counts(&inner) => Ok(None),
        Some(inner) if is_optional && !is_known(&inner) => {
            at.field("config").warn("an extension that leno does not have");
            Ok(None)
        }
        Some(inner) => config(&at.field("config"), name, &inner, disabled).map(Some),
    }
}

pub(crate) fn is_known(any: &Any) -> bool {
    kind(any).is_some()
}

/// Istio's metrics are asked for.
pub(crate) fn counts(at: &At<'_>) {
    at.want(Wants {
        istio_stats: true,
        ..Wants::default()
    });
    at.warn("Istio's standard metrics are counted; what is changed of them has no effect");
}

pub(crate) fn only_counts(any: &Any) -> bool {
    ONLY_COUNT.contains(&message_name(any))
}

fn kind(any: &Any) -> Option<&'static Kind> {
    FILTERS
        .iter()
        .find(|kind| kind.messages.contains(&message_name(any)))
}

fn message_name(any: &Any) -> &str {
    any.type_url.rsplit_once('/').map_or("", |(_, name)| name)
}
