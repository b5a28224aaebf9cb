//! `HttpConnectionManager` and the HTTP filters' configurations.

mod manager;
pub(crate) mod options;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::manager::manager;
use super::access_log::AccessLog;
use super::local_reply::LocalReplies;
use super::route::RouteTable;
use crate::decide::filter::FilterConfig;

#[derive(Clone, Debug, PartialEq)]
pub struct HttpConnectionManager {
    pub codec: Codec,
    pub routes: RouteSource,
    /// In order; the router is not among them (it is what comes after the last).
    pub filters: Vec<Arc<FilterConfig>>,
    pub access_log: Vec<Arc<AccessLog>>,
    pub limits: HttpLimits,
    pub timeouts: HttpTimeouts,
    pub server_header: ServerHeader,
    pub client_cert: ForwardClientCert,
    pub use_remote_address: bool,
    /// Proxies before this one whose `x-forwarded-for` is believed.
    pub xff_trusted_hops: usize,
    pub upgrades: Vec<String>,
    pub generate_request_id: bool,
    pub preserve_request_id: bool,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    pub strip_port: bool,
    pub strip_trailing_dot: bool,
    pub escaped_slashes: EscapedSlashes,
    /// None: answers of the proxy's own go out as they are.
    pub local_replies: Option<Arc<LocalReplies>>,
    pub via: Option<String>,
    /// Methods outside of the list that Envoy knows are passed on.
    pub any_method: bool,
    pub http2: Http2Options,
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
    /// A route configuration's name, by RDS.
    Rds(String),
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
    pub max_concurrent_streams: u32,
    pub initial_stream_window: u32,
    pub initial_connection_window: u32,
}
