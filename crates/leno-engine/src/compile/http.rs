//! `HttpConnectionManager` and the HTTP filters' configurations.

mod client_cert;
mod discovered;
pub(crate) mod keepalive;
mod log_options;
mod manager;
pub(crate) mod options;
mod original_ip;
mod proxy_status;
mod scopes;
pub(crate) mod spelling;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

pub use self::client_cert::{ForwardClientCert, ForwardClientCertMode, ForwardClientCertTree, Keeps};
pub use self::keepalive::Keepalive;
pub(crate) use self::manager::manager;
pub use self::original_ip::{IpDetection, TrustedProxies};
pub use self::proxy_status::{ProxyName, ProxyStatus};
pub use self::scopes::{FragmentBuilder, FragmentPart, Scope, ScopeKey, ScopedRoutes, Scopes, scope};
pub use self::spelling::HeaderCase;
use super::access_log::{AccessLog, LogOptions};
use super::config_source::{self as source, Source};
use super::header::Mutation;
use super::local_reply::LocalReplies;
use super::matcher::StringMatcher;
use super::route::RouteTable;
use super::tracing::{RequestIds, Tracing};
use crate::decide::filter::FilterConfig;
use crate::message::RequestHead;

#[derive(Clone, Debug, PartialEq)]
pub struct HttpConnectionManager {
    /// Some format asks for moments of requests, or for endpoints that were tried.
    pub on_demand: bool,
    /// Its part of the statistics' names.
    pub stat_prefix: String,
    pub codec: Codec,
    pub routes: RouteSource,
    /// In order; the router is not among them (it is what comes after the last).
    pub filters: Vec<Arc<FilterConfig>>,
    pub access_log: Vec<Arc<AccessLog>>,
    pub log_options: LogOptions,
    /// A log or a span says something of responses' trailers.
    pub keeps_trailers: bool,
    /// Some format asks for streams' bytes on the wire.
    pub counts_wire: bool,
    pub limits: HttpLimits,
    pub timeouts: HttpTimeouts,
    pub server_header: ServerHeader,
    pub client_cert: ForwardClientCert,
    /// What some requests have instead of it.
    pub client_cert_by_request: Option<Box<ForwardClientCertTree>>,
    pub use_remote_address: bool,
    /// Proxies before this one whose `x-forwarded-for` is believed.
    pub xff_trusted_hops: usize,
    /// In place of both, in order.
    pub ip_detection: Vec<IpDetection>,
    pub upgrades: Vec<String>,
    /// Filters of upgrades, by their names in lower case, in place of the others.
    pub upgrade_filters: UpgradeFilters,
    /// Answers of the proxy's own say of their cause.
    pub proxy_status: Option<Box<ProxyStatus>>,
    /// Requests for these are taken as if they had not asked.
    pub ignored_upgrades: Vec<StringMatcher>,
    /// Who is believed to be one of us (Envoy: "internal request").
    pub internal: InternalAddresses,
    pub underscores: Underscores,
    /// Edits of requests before anything is decided of them.
    pub early: Vec<Mutation>,
    /// What `x-forwarded-proto` becomes, whatever the client and its connection say.
    pub scheme: Option<Scheme>,
    /// `x-forwarded-port` says the port that the connection came to.
    pub forwarded_port: bool,
    /// The client's address is not appended to `x-forwarded-for`.
    pub keep_forwarded_for: bool,
    pub generate_request_id: bool,
    pub request_ids: RequestIds,
    /// None: no request is traced.
    pub tracing: Option<Arc<Tracing>>,
    pub preserve_request_id: bool,
    /// The client is told the request's id too.
    pub answer_request_id: bool,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    pub strip_port: StripPort,
    pub strip_trailing_dot: bool,
    pub escaped_slashes: EscapedSlashes,
    /// None: answers of the proxy's own go out as they are.
    pub local_replies: Option<Arc<LocalReplies>>,
    pub via: Option<String>,
    /// Methods outside of the list that Envoy knows are passed on.
    pub any_method: bool,
    /// Requests with both a length and chunks are taken: the length is left out.
    pub chunked_length: bool,
    /// What is answered for too much to do says so (`x-envoy-local-overloaded`).
    pub tells_local_overload: bool,
    /// Ports that a proxy before this one, which tells by the PROXY protocol what connections came to, has TLS on.
    pub told_ports: Option<Box<ToldPorts>>,
    /// Requests say which cluster and node of the mesh they come through.
    pub introduces_itself: bool,
    /// Requests have the scheme of the connection that they go out on.
    pub scheme_of_upstream: bool,
    pub http1: Http1Options,
    pub http2: Http2Options,
    pub router: RouterOptions,
}

impl HttpConnectionManager {
    /// Those that a request goes through.
    pub fn filters_of(&self, head: &RequestHead) -> &[Arc<FilterConfig>] {
        if self.upgrade_filters.is_empty() {
            return &self.filters;
        }
        let wanted: &[u8] = match &head.upgrade {
            Some(upgrade) => upgrade,
            None if head.method.as_ref() == b"CONNECT" => b"connect",
            None => return &self.filters,
        };
        let mut own = self.upgrade_filters.iter();
        let found = own.find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(wanted));
        found.map_or(&self.filters, |(_, filters)| filters)
    }

    /// Also those of upgrades.
    pub fn every_filter(&self) -> impl Iterator<Item = &Arc<FilterConfig>> {
        let of_upgrades = self.upgrade_filters.iter().flat_map(|(_, filters)| filters);
        self.filters.iter().chain(of_upgrades)
    }
}

/// Each with its upgrade's name in lower case.
pub type UpgradeFilters = Vec<(String, Vec<Arc<FilterConfig>>)>;

/// `forward_proto_config`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldPorts {
    pub https: Vec<u16>,
    pub http: Vec<u16>,
}

/// Which ports are taken off the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripPort {
    None,
    /// The port that the connection came to.
    Matching,
    Any,
}

/// Addresses whose requests may say what only a proxy may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalAddresses {
    pub ranges: Vec<IpNet>,
    pub unix_sockets: bool,
}

/// What becomes of header names with an underscore, which some take for a dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    Allowed,
    /// The request is refused.
    Refused,
    /// The header is dropped.
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// `envoy.filters.http.router`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouterOptions {
    /// Nothing that begins with `x-envoy-` is added, but the count of attempts.
    pub suppress_envoy_headers: bool,
    /// A proxy before this one has said how long the request may take.
    pub respect_expected_timeout: bool,
    /// Each try has a span of its own.
    pub spawn_upstream: bool,
    /// Headers whose values are checked; a request with another is refused.
    pub strict_headers: Vec<String>,
    /// Answers are not counted at their clusters, nor how long they took.
    pub without_stats: bool,
    /// Of answers to gRPC it is not counted which status they have.
    pub without_grpc_codes: bool,
    /// Of each try (`upstream_log`).
    pub upstream_log: Vec<Arc<AccessLog>>,
    /// When they are written besides a try's end.
    pub upstream_log_options: LogOptions,
}

impl InternalAddresses {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

/// What becomes of `%2F` and `%5C` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    Kept,
    Refused,
    /// The client is told to ask again.
    Redirected,
    Unescaped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Auto,
    Http1,
    Http2,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RouteSource {
    Inline(Arc<RouteTable>),
    /// A route configuration's name, by RDS, from there.
    Rds(String, Source),
    /// Of several the one that the request's headers choose.
    Scoped(Box<ScopedRoutes>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of all request headers; Envoy's default 60 KiB.
    pub max_header_bytes: u32,
    /// Envoy's default 100.
    pub max_headers: u32,
    pub max_requests_per_connection: Option<u32>,
}

/// Percent, each drawn for each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jitter {
    pub duration: f64,
    pub drain: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpTimeouts {
    /// Connection without a stream: Envoy's default 1 h.
    pub idle: Option<Duration>,
    /// Envoy's default 5 min.
    pub stream_idle: Option<Duration>,
    pub request: Option<Duration>,
    pub request_headers: Option<Duration>,
    pub drain: Duration,
    /// After which a connection is drained, and what is left of it cut off when `drain` is over.
    pub max_connection_duration: Option<Duration>,
    /// Percent by which a connection's `max_connection_duration` and `drain` may be longer.
    pub jitter: Jitter,
    /// An HTTP/1 connection that has lasted so long ends with its next answer, and not before.
    pub ends_with_answer: bool,
    pub max_stream_duration: Option<Duration>,
    /// How long a connection that is closed waits for its client to take note, and to take what is sent: Envoy's default
    /// 1 s. None: it does not wait.
    pub delayed_close: Option<Duration>,
    /// How long a response that has come to its end waits for a client that gives no window; zero: for ever. None: as
    /// long as a stream may be idle.
    pub stream_flush: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Overwrite(String),
    AppendIfAbsent(String),
    PassThrough,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http1Options {
    pub header_case: HeaderCase,
    /// Requests of HTTP/1.0 are told to upgrade.
    pub refuses_http10: bool,
    /// The host of HTTP/1.0 requests that have none.
    pub default_host: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// CONNECT, and extended CONNECT (RFC 8441): else it is answered with 403.
    pub allow_connect: bool,
    pub max_concurrent_streams: u32,
    pub initial_stream_window: u32,
    pub initial_connection_window: u32,
    /// None: peers are not asked whether they are there.
    pub keepalive: Option<Keepalive>,
}
