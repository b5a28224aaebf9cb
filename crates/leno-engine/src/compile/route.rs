//! `RouteConfiguration`: virtual hosts and routes, indexed for the decision.

mod action;
mod facts;
mod forward;
mod internal_redirect;
mod matching;
pub(crate) mod mirror;
mod per_filter;
pub(crate) mod retry;
mod table;
mod tree;
mod virtual_cluster;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::facts::FactMatch;
pub use self::internal_redirect::{InternalRedirect, RedirectPredicate};
pub(crate) use self::matching::route_match;
pub use self::mirror::{MirrorCluster, MirrorPolicy};
pub use self::retry::{HostPredicate, RateLimited, ResetHeader, RetryOn, RetryPolicy};
pub(crate) use self::table::table;
pub use self::tree::RouteTree;
pub use self::virtual_cluster::VirtualClusters;
use super::access_log::Format;
use super::at::compiling;
use super::config_source::Source;
pub use super::hash::HashPolicy;
pub use super::header::{AppendAction, HeaderOp, HeaderOps, Mutation};
use super::local_reply::BodyFormat;
use super::matcher::{CookieMatcher, HeaderMatcher, PathMatcher, QueryMatcher, RegexRewrite};
use super::metadata::{Fields, Told};
use super::pb::route as pb;
use super::proxy_protocol::Introduction;
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
    /// A static one is taken only if all clusters that it names are static.
    pub validates: bool,
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
    /// Where virtual hosts are asked for that are not here.
    pub vhds: Option<Box<Source>>,
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
    /// None: the first of the routes that takes the request counts.
    pub tree: Option<Box<RouteTree>>,
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
    /// `HOST.route.STAT_PREFIX`: as what its requests are counted besides their cluster.
    pub stat_name: Option<Box<str>>,
    pub host: Arc<HostFacts>,
}

/// What logs and statistics say of a virtual host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    pub name: String,
    pub told: Option<Told>,
    pub clusters: VirtualClusters,
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
    /// None: the request alone decides.
    pub facts: Option<Box<FactMatch>>,
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
    /// Zero: no limit.
    pub idle_timeout: Option<Duration>,
    /// Zero: no limit. None: the connection manager's.
    pub flush_timeout: Option<Duration>,
    pub retry: Option<Arc<RetryPolicy>>,
    /// A try that takes too long is not given up while another is made.
    pub hedge: bool,
    pub prefix_rewrite: Option<String>,
    pub regex_rewrite: Option<RegexRewrite>,
    /// The whole path; the query stays.
    pub path_format: Option<Box<Format>>,
    pub host_rewrite: HostRewrite,
    /// The authority that a rewrite replaces goes into `x-forwarded-host`.
    pub forwarded_host: bool,
    pub hash: Vec<HashPolicy>,
    pub mirrors: Vec<MirrorPolicy>,
    /// By their names in lower case; `connect` is CONNECT.
    pub upgrades: HashMap<String, bool>,
    /// A CONNECT ends here: what is in it goes to the cluster as it is.
    pub connect: Option<Box<EndedConnect>>,
    /// How much of a request is kept to be sent again. None: as the listener says.
    pub kept: Option<KeptBody>,
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

/// `connect_config`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedConnect {
    /// A POST is the same as a CONNECT.
    pub post: bool,
    /// What the cluster is told first.
    pub introduction: Option<Introduction>,
}

/// `request_body_buffer_limit`, `per_request_buffer_limit_bytes`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBody {
    pub bytes: u64,
    /// Also than the listener says.
    pub may_be_more: bool,
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
        by: Deciding,
    },
}

/// Which of several clusters a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deciding {
    Random,
    /// The number in this header, if there is one.
    Header(String),
    /// The route's hash policies, if they say something.
    Hash,
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
    Format(Format),
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
    pub format: Option<Box<Format>>,
    pub code: u16,
    pub strip_query: bool,
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

pub fn compile(
    message: &pb::RouteConfiguration,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<RouteTable, Rejection> {
    compiling(files, warnings, |at| table(at, message))
}
