//! Routes: VirtualService and HTTPRoute in one form, in the order in which they are tried.

use std::time::Duration;

use crate::name::{Host, Labels, Origin};

/// The HTTP rules that hold for a set of hosts, already ordered by the dialect's precedence: first match wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpRoute {
    pub origin: Origin,
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
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HttpAction {
    Forward(Vec<WeightedBackend>),
    Redirect {
        scheme: Option<String>,
        authority: Option<String>,
        port: Option<u16>,
        path: Option<PathRewrite>,
        code: u16,
    },
    Respond {
        status: u16,
        body: Option<String>,
    },
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retries {
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    /// Envoy's `retry_on` words and status codes, as Istio passes them on.
    pub on: String,
    pub backoff: Option<Duration>,
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

/// TCP (and SNI-routed TLS) rules of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpRoute {
    pub origin: Origin,
    pub hosts: Vec<Host>,
    pub ports: Vec<u16>,
    pub backends: Vec<WeightedBackend>,
}
