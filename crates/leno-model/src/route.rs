//! Routes: VirtualService and HTTPRoute in one form, in the order in which they are tried.

use std::time::Duration;

use ipnet::IpNet;

use crate::name::{Host, Labels, Origin};
use crate::visibility::Exported;

/// The HTTP rules that hold for a set of hosts, already ordered by the dialect's precedence: first match wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpRoute {
    pub origin: Origin,
    /// Whose gateways serve it; in the mesh the snapshot has each namespace's own.
    pub exported: Exported,
    /// Hosts it is for: services in the mesh, or external names.
    pub hosts: Vec<Host>,
    /// Ports of the service it holds for (HTTPRoute's parentRef port); empty: all.
    pub ports: Vec<u16>,
    pub rules: Vec<HttpRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpRule {
    pub name: Option<String>,
    /// Which of its object's rules it is, from 1 on; 0: of nobody's.
    pub number: u32,
    /// `file:line:column` of the rule.
    pub place: String,
    /// Any of them; empty: every request.
    pub matches: Vec<HttpMatch>,
    pub action: HttpAction,
    pub timeout: Option<Duration>,
    /// None: nothing is said, and Istio's default holds. No attempts: no retries.
    pub retries: Option<Retries>,
    pub fault: Option<Fault>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub rewrite: Option<Rewrite>,
    pub mirror: Vec<Mirror>,
    pub cors: Option<Cors>,
}

/// What pages of other origins may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cors {
    pub origins: Vec<StringMatch>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub exposed: Vec<String>,
    /// None: the browser's own.
    pub max_age: Option<Duration>,
    pub credentials: Option<bool>,
    /// Preflights of other origins are for the service to answer; else they are answered here, allowing nothing.
    pub forward_unmatched: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HttpAction {
    Forward(Vec<WeightedBackend>),
    Redirect {
        scheme: Option<String>,
        authority: Option<String>,
        port: Option<RedirectPort>,
        path: Option<PathRewrite>,
        code: u16,
    },
    Respond {
        status: u16,
        body: Option<Vec<u8>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedirectPort {
    Number(u16),
    /// The one that was called.
    Called,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightedBackend {
    pub host: Host,
    pub subset: Option<String>,
    /// None: the port that was called.
    pub port: Option<u16>,
    pub weight: u32,
    /// The reference does not resolve (no such service): its share answers 500.
    pub invalid: bool,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
}

/// All of what is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HttpMatch {
    pub name: Option<String>,
    pub path: Option<PathMatch>,
    pub method: Option<StringMatch>,
    pub scheme: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    pub headers: Vec<(String, HeaderMatch)>,
    /// Claims of a verified token, by their paths.
    pub claims: Vec<(Vec<String>, HeaderMatch)>,
    pub query: Vec<(String, StringMatch)>,
    pub port: Option<u16>,
    pub source_labels: Labels,
    pub source_namespace: Option<String>,
    pub ignore_uri_case: bool,
    /// Under this name requests are counted for themselves.
    pub stat_prefix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    Exact(String),
    /// Istio: by characters.
    Prefix(String),
    /// Gateway API: by path elements.
    ElementPrefix(String),
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderMatch {
    Value(StringMatch),
    Present,
    /// Istio's `withoutHeaders`.
    Not(StringMatch),
    Absent,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeaderEdits {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    pub authority: Option<String>,
    pub path: Option<PathRewrite>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathRewrite {
    /// The matched prefix is replaced.
    Prefix(String),
    Full(String),
    Regex {
        pattern: String,
        substitution: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Retries {
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    /// Envoy's `retry_on` words and status codes, as Istio passes them on.
    pub on: String,
    pub backoff: Option<Duration>,
    /// Each further try goes to another locality than those before, if there is one.
    pub other_localities: bool,
    /// A further try may go to the same endpoint again.
    pub same_endpoint: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The share of requests, and how long they wait.
    pub delay: Option<(PerMillion, Duration)>,
    pub abort: Option<(PerMillion, AbortStatus)>,
}

/// Parts in a million.
pub type PerMillion = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AbortStatus {
    Http(u16),
    Grpc(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mirror {
    pub backend: WeightedBackend,
    pub share: PerMillion,
}

/// Where connections go: of bytes, or of TLS by the name in the client's hello.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpRoute {
    pub origin: Origin,
    /// Whose gateways serve it; in the mesh the snapshot has each namespace's own.
    pub exported: Exported,
    pub hosts: Vec<Host>,
    /// For TLS that is not ended here; else for bytes.
    pub tls: bool,
    /// Any of them; empty: every connection.
    pub matches: Vec<StreamMatch>,
    pub backends: Vec<WeightedBackend>,
}

/// All of what is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StreamMatch {
    pub port: Option<u16>,
    /// In the client's hello: names, `*.example.com` or `*`; empty: any.
    pub names: Vec<String>,
    /// That the connection is for; empty: any address.
    pub subnets: Vec<IpNet>,
    pub source_labels: Labels,
    pub source_namespace: Option<String>,
}
