//! `RouteConfiguration`: virtual hosts and routes, indexed for the decision.

mod action;
mod forward;
mod internal_redirect;
mod matching;
mod per_filter;
pub(crate) mod retry;
mod table;
mod template;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::internal_redirect::{InternalRedirect, RedirectPredicate};
pub(crate) use self::table::table;
use super::at::compiling;
pub use super::hash::HashPolicy;
pub use super::header::{AppendAction, HeaderOp, HeaderOps};
use super::local_reply::BodyFormat;
use super::matcher::{CookieMatcher, HeaderMatcher, PathMatcher, QueryMatcher, RegexRewrite};
use super::metadata::{Fields, Told};
use super::pb::route as pb;
use super::rate_limit::{RateLimit, RouteLimits};
use super::tracing::{Decorator, RouteTracing};
use super::{Files, Rejection, Warnings};
use crate::decide::filter::FilterConfig;
use crate::decide::limits::Priority;
use crate::runtime::{Key, Setting, Share, said_or};

#[derive(Clone, Debug, PartialEq)]
pub struct RouteTable {
    /// As [`HttpConnectionManager`](super::http::HttpConnectionManager)'s.
    pub on_demand: bool,
    pub name: String,
    pub hosts: Vec<VirtualHost>,
    /// Domain tables in Envoy's precedence: exact, suffix (`*.x`, longest first), prefix (`x.*`), `*`.
    pub domains: DomainIndex,
    pub ignore_port: bool,
    /// Header edits of the table come first and the route's last, so that those win.
    pub most_specific_wins: bool,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    /// Headers, in lower case, that only internal requests may have.
    pub internal_headers: Vec<String>,
    /// The header that says the virtual host in place of the authority, in lower case.
    pub host_header: Option<String>,
    /// What holds of filters where nothing nearer to the request says otherwise.
    pub filter_configs: HashMap<String, Arc<FilterConfig>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainIndex {
    pub exact: HashMap<String, usize>,
    pub suffix: Vec<(String, usize)>,
    pub prefix: Vec<(String, usize)>,
    pub any: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    pub name: String,
    pub facts: Arc<HostFacts>,
    pub domains: Vec<String>,
    pub routes: Vec<Arc<Route>>,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    pub filter_configs: HashMap<String, Arc<FilterConfig>>,
    pub include_attempt_count: bool,
    /// Tells the upstream that an attempt comes after one that took too long.
    pub include_is_timeout_retry: bool,
    /// Tells the client as well.
    pub answer_attempt_count: bool,
    pub require_tls: bool,
    /// As what requests are counted, besides what their route says.
    pub rate_limits: Arc<[RateLimit]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub name: String,
    pub matches: RouteMatch,
    pub action: Action,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    /// Per-route filter settings by filter name, most specific (weighted cluster, then route, then host, then table) first used.
    pub filter_configs: HashMap<String, Arc<FilterConfig>>,
    pub tracing: Option<Box<RouteTracing>>,
    pub decorator: Option<Box<Decorator>>,
    /// The user's object that made it: `metadata.filter_metadata["istio"].config`.
    pub origin: Option<String>,
    /// Where that object was written: `filter_metadata["leno"].place`.
    pub place: Option<String>,
    /// Which rule of the object, from 1 on: `filter_metadata["leno"].rule`. 0: not said.
    pub rule: u32,
    /// For logs.
    pub told: Option<Told>,
    pub host: Arc<HostFacts>,
}

/// What logs say of a virtual host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    pub name: String,
    pub told: Option<Told>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    pub path: PathMatcher,
    pub case_sensitive: bool,
    /// Paths are matched without what stands behind a `;` in each of their segments.
    pub ignore_parameters: bool,
    pub headers: Vec<HeaderMatcher>,
    pub query: Vec<QueryMatcher>,
    pub cookies: Vec<CookieMatcher>,
    pub grpc: bool,
    pub runtime_fraction: Option<Setting<Share>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Forward(Box<Forward>),
    Redirect(Redirect),
    Respond {
        status: u16,
        body: bytes::Bytes,
        format: Option<BodyFormat>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    pub cluster: ClusterChoice,
    /// What the cluster's endpoints must have: `metadata_match`, `envoy.lb`.
    pub metadata: Fields,
    /// None: no timeout (`0s`); Envoy's default 15 s is filled in.
    pub timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    pub retry: Option<Arc<RetryPolicy>>,
    pub prefix_rewrite: Option<String>,
    pub regex_rewrite: Option<RegexRewrite>,
    pub host_rewrite: HostRewrite,
    /// The authority that a rewrite replaces goes into `x-forwarded-host`.
    pub forwarded_host: bool,
    pub hash: Vec<HashPolicy>,
    pub mirrors: Vec<MirrorPolicy>,
    /// By their names in lower case; `connect` is CONNECT.
    pub upgrades: HashMap<String, bool>,
    /// A CONNECT ends here: what is in it goes to the cluster as it is.
    pub ends_connect: bool,
    pub max_stream_duration: Option<Duration>,
    /// `max_grpc_timeout`
    pub grpc_timeout_max: Option<Duration>,
    /// `grpc_timeout_offset`: so much of the caller's time is kept back, where `grpc_timeout_max` is said.
    pub grpc_timeout_offset: Duration,
    pub grpc_streams: Option<GrpcStreams>,
    pub cluster_not_found: u16,
    /// None: the upstream's redirects are the client's.
    pub redirects: Option<InternalRedirect>,
    pub priority: Priority,
    pub rate_limits: RouteLimits,
}

/// How far `grpc-timeout` counts (`grpc_timeout_header_max`, `grpc_timeout_header_offset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStreams {
    /// Zero: as far as the caller says.
    pub maximum: Duration,
    pub offset: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClusterChoice {
    One(String),
    Header(String),
    Weighted {
        clusters: Vec<WeightedCluster>,
        /// The header whose value decides, in place of a random number.
        by: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    pub name: String,
    /// What its endpoints must have (`metadata_match`, with the route's).
    pub metadata: Fields,
    /// The header whose value is the name, where there is none.
    pub header: Option<String>,
    pub weight: u32,
    /// Replaces the weight: a key of the runtime.
    pub weight_key: Option<Key>,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    pub host_rewrite: Option<String>,
    pub filter_configs: HashMap<String, Arc<FilterConfig>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HostRewrite {
    None,
    Literal(String),
    Header(String),
    /// Of the path without its query.
    Path(RegexRewrite),
    /// The upstream's hostname.
    Auto,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    pub prefix: Option<String>,
    pub regex: Option<RegexRewrite>,
    pub code: u16,
    pub strip_query: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MirrorPolicy {
    pub cluster: MirrorCluster,
    pub share: Setting<Share>,
    /// `-shadow` is appended to the host.
    pub shadow: bool,
    /// In place of the request's host, and of `-shadow`.
    pub host: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorCluster {
    One(String),
    /// The value of this header; nothing is mirrored without it.
    Header(String),
}

impl Route {
    /// As what requests of the route are counted.
    pub fn limits(&self) -> Option<&RouteLimits> {
        match &self.action {
            Action::Forward(forward) => Some(&forward.rate_limits),
            Action::Redirect(_) | Action::Respond { .. } => None,
        }
    }
}

impl WeightedCluster {
    /// What it weighs at the moment.
    pub fn weight(&self) -> u64 {
        said_or(self.weight_key.as_ref(), u64::from(self.weight))
    }
}

impl MirrorPolicy {
    /// Everything, to this cluster.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            cluster: MirrorCluster::One(cluster.into()),
            share: Share::ALL.into(),
            shadow: true,
            host: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    pub on: RetryOn,
    pub num_retries: u32,
    pub per_try_timeout: Option<Duration>,
    pub per_try_idle_timeout: Option<Duration>,
    pub status_codes: Vec<u16>,
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Only requests that one of them matches are retried; none: all.
    pub request_headers: Vec<HeaderMatcher>,
    /// How long to wait is said by the answer.
    pub rate_limited: Option<RateLimited>,
    pub backoff_base: Duration,
    pub backoff_max: Duration,
    /// Hosts that another is picked in place of.
    pub omit: Vec<HostPredicate>,
    /// Priorities of earlier attempts are left out, looked at anew after so many.
    pub leave_priorities: Option<u32>,
    pub host_selection_attempts: u32,
}

/// `retry_host_predicate`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPredicate {
    /// Those of earlier attempts.
    Previous,
    /// With all of this in their metadata.
    Metadata(Fields),
}

/// `rate_limited_retry_back_off`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// The first that an answer has decides.
    pub resets: Vec<ResetHeader>,
    /// What is longer does not count.
    pub longest: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// In lower case.
    pub name: String,
    /// Seconds since 1970, and not from now on.
    pub unix: bool,
}

/// The conditions of `retry_on`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    pub five_xx: bool,
    pub gateway_error: bool,
    pub reset: bool,
    pub reset_before_request: bool,
    pub connect_failure: bool,
    pub retriable_4xx: bool,
    pub refused_stream: bool,
    pub retriable_status_codes: bool,
    pub retriable_headers: bool,
    pub envoy_ratelimited: bool,
    pub grpc_cancelled: bool,
    pub grpc_deadline_exceeded: bool,
    pub grpc_internal: bool,
    pub grpc_resource_exhausted: bool,
    pub grpc_unavailable: bool,
}

impl RetryOn {
    /// Either's conditions.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            five_xx: self.five_xx | other.five_xx,
            gateway_error: self.gateway_error | other.gateway_error,
            reset: self.reset | other.reset,
            reset_before_request: self.reset_before_request | other.reset_before_request,
            connect_failure: self.connect_failure | other.connect_failure,
            retriable_4xx: self.retriable_4xx | other.retriable_4xx,
            refused_stream: self.refused_stream | other.refused_stream,
            retriable_status_codes: self.retriable_status_codes | other.retriable_status_codes,
            retriable_headers: self.retriable_headers | other.retriable_headers,
            envoy_ratelimited: self.envoy_ratelimited | other.envoy_ratelimited,
            grpc_cancelled: self.grpc_cancelled | other.grpc_cancelled,
            grpc_deadline_exceeded: self.grpc_deadline_exceeded | other.grpc_deadline_exceeded,
            grpc_internal: self.grpc_internal | other.grpc_internal,
            grpc_resource_exhausted: self.grpc_resource_exhausted | other.grpc_resource_exhausted,
            grpc_unavailable: self.grpc_unavailable | other.grpc_unavailable,
        }
    }
}

impl Default for RetryPolicy {
    /// Nothing is retried; the rest is Envoy's defaults.
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            request_headers: Vec::new(),
            rate_limited: None,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            omit: Vec::new(),
            leave_priorities: None,
            host_selection_attempts: 0,
        }
    }
}

pub fn compile(
    message: &pb::RouteConfiguration,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<RouteTable, Rejection> {
    compiling(files, warnings, |at| table(at, message))
}
