//! `HttpConnectionManager` and the HTTP filters' configurations.

mod manager;
pub(crate) mod options;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub(crate) use self::manager::manager;
use super::access_log::{AccessLog, LogOptions};
use super::config_source::{self as source, Source};
use super::header::Mutation;
use super::local_reply::LocalReplies;
use super::matcher::StringMatcher;
use super::route::RouteTable;
use super::tracing::{RequestIds, Tracing};
use crate::decide::filter::FilterConfig;

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
    pub limits: HttpLimits,
    pub timeouts: HttpTimeouts,
    pub server_header: ServerHeader,
    pub client_cert: ForwardClientCert,
    pub use_remote_address: bool,
    /// Proxies before this one whose `x-forwarded-for` is believed.
    pub xff_trusted_hops: usize,
    pub upgrades: Vec<String>,
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
    pub http2: Http2Options,
    pub router: RouterOptions,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterOptions {
    /// Nothing that begins with `x-envoy-` is added, but the count of attempts.
    pub suppress_envoy_headers: bool,
    /// A proxy before this one has said how long the request may take.
    pub respect_expected_timeout: bool,
    /// Each try has a span of its own.
    pub spawn_upstream: bool,
    /// Headers whose values are checked; a request with another is refused.
    pub strict_headers: Vec<String>,
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of all request headers; Envoy's default 60 KiB.
    pub max_header_bytes: u32,
    /// Envoy's default 100.
    pub max_headers: u32,
    pub max_requests_per_connection: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub max_stream_duration: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Overwrite(String),
    AppendIfAbsent(String),
    PassThrough,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCertMode {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

/// `x-forwarded-client-cert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardClientCert {
    pub mode: ForwardClientCertMode,
    pub subject: bool,
    pub uri: bool,
    pub dns: bool,
    pub cert: bool,
    pub chain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// CONNECT, and extended CONNECT (RFC 8441): else it is answered with 403.
    pub allow_connect: bool,
    pub max_concurrent_streams: u32,
    pub initial_stream_window: u32,
    pub initial_connection_window: u32,
}
