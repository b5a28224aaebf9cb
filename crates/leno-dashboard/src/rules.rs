//! Routes and policies in words, each with the object that says so.

use std::sync::Arc;

use leno_model::policy::{LoadBalancer, MtlsMode, ServicePolicy, TlsMode, TrafficPolicy};
use leno_model::route::{
    AbortStatus, HeaderMatch, HttpAction, HttpMatch, HttpRule, PathMatch, StreamMatch, StringMatch,
    WeightedBackend,
};
use leno_model::visibility::Scoped;
use leno_model::{Host, Origin, Snapshot};
use serde::Serialize;

/// What holds for calls of a host.
#[derive(Clone, Debug, Serialize)]
pub struct HostRules {
    pub host: String,
    pub rules: Vec<Rule>,
    pub policies: Vec<Policy>,
}

/// The first that matches decides.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// Any of these; empty: every request.
    pub matches: Vec<String>,
    /// What is done, a line each.
    pub actions: Vec<String>,
    pub backends: Vec<Backend>,
    pub object: Option<Source>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub host: String,
    pub subset: String,
    pub weight: u32,
    /// Of all weights together, 0 to 1.
    pub share: f64,
    /// There is no such service: its share is answered 500.
    pub invalid: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Policy {
    /// `mutual TLS`, `load balancing`, …
    pub what: String,
    pub says: String,
    pub object: Option<Source>,
}

/// The object that says so, and where it is written.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub place: String,
}

impl Source {
    pub fn new(origin: &Origin) -> Self {
        Self {
            kind: origin.kind.to_string(),
            namespace: origin.namespace.to_string(),
            name: origin.name.to_string(),
            place: origin.place.to_string(),
        }
    }
}

impl HostRules {
    pub fn new(snapshot: &Snapshot, host: &Host) -> Self {
        let http = snapshot.http_routes.get(host).map(distinct).unwrap_or_default();
        let http = http.into_iter().flat_map(|route| {
            let source = Source::new(&route.origin);
            route.rules.iter().map(move |of_route| rule(of_route, &source))
        });
        let tcp = snapshot
            .tcp_routes
            .get(host)
            .map(distinct)
            .unwrap_or_default()
            .into_iter()
            .map(|route| Rule {
                matches: route
                    .matches
                    .iter()
                    .map(|matching| connection(matching, route.tls))
                    .collect(),
                actions: Vec::new(),
                backends: backends(&route.backends),
                object: Some(Source::new(&route.origin)),
            });
        Self {
            host: host.to_string(),
            rules: http.chain(tcp).collect(),
            policies: policies(snapshot, host),
        }
    }
}

/// Whatever namespace finds it.
fn distinct<R: PartialEq>(routes: &Scoped<Vec<Arc<R>>>) -> Vec<&R> {
    let mut found: Vec<&R> = Vec::new();
    for route in routes.all().flatten() {
        if !found.contains(&route.as_ref()) {
            found.push(route);
        }
    }
    found
}

fn connection(is: &StreamMatch, tls: bool) -> String {
    let mut all = vec![if tls { "TLS" } else { "TCP" }.to_owned()];
    all.extend(is.port.map(|port| format!("port {port}")));
    if !is.names.is_empty() {
        all.push(format!("for {}", is.names.join(", ")));
    }
    if !is.subnets.is_empty() {
        let nets: Vec<String> = is.subnets.iter().map(ToString::to_string).collect();
        all.push(format!("to {}", nets.join(", ")));
    }
    let labels = is.source_labels.iter();
    all.extend(labels.map(|(name, value)| format!("from {name}={value}")));
    all.extend(
        is.source_namespace
            .iter()
            .map(|namespace| format!("from namespace {namespace}")),
    );
    all.join(", ")
}

fn rule(rule: &HttpRule, source: &Source) -> Rule {
    let mut actions = Vec::new();
    let mut to = Vec::new();
    match &rule.action {
        HttpAction::Forward(all) => to = backends(all),
        HttpAction::Redirect { code, .. } => actions.push(format!("redirect with {code}")),
        HttpAction::Respond { status, .. } => actions.push(format!("answer {status}")),
    }
    if let Some(fault) = &rule.fault {
        let share = |parts: u32| f64::from(parts) / 10_000.0;
        if let Some((parts, delay)) = &fault.delay {
            actions.push(format!("delay {}% by {delay:?}", share(*parts)));
        }
        if let Some((parts, abort)) = &fault.abort {
            let with = match abort {
                AbortStatus::Http(code) => format!("status {code}"),
                AbortStatus::Grpc(code) => format!("gRPC status {code}"),
            };
            actions.push(format!("abort {}% with {with}", share(*parts)));
        }
    }
    actions.extend(rule.timeout.map(|timeout| format!("time out after {timeout:?}")));
    if let Some(retries) = &rule.retries {
        actions.push(match retries.attempts {
            0 => "never retry".to_owned(),
            attempts => format!(
                "retry up to {attempts} times on {}",
                retries.on.replace(',', ", ")
            ),
        });
    }
    actions.extend(rule.rewrite.iter().map(|_| "rewrite path or host".to_owned()));
    actions.extend(
        rule.mirror
            .iter()
            .map(|m| format!("mirror to {}", m.backend.host)),
    );
    Rule {
        matches: rule.matches.iter().map(matched).collect(),
        actions,
        backends: to,
        object: Some(Source {
            place: if rule.place.is_empty() {
                source.place.clone()
            } else {
                rule.place.clone()
            },
            ..source.clone()
        }),
    }
}

fn backends(all: &[WeightedBackend]) -> Vec<Backend> {
    let sum: f64 = all.iter().map(|backend| f64::from(backend.weight)).sum();
    let backends = all.iter().map(|backend| Backend {
        host: backend.host.to_string(),
        subset: backend.subset.clone().unwrap_or_default(),
        weight: backend.weight,
        share: if sum > 0.0 {
            f64::from(backend.weight) / sum
        } else {
            0.0
        },
        invalid: backend.invalid,
    });
    backends.collect()
}

/// `path starts with /api and header end-user is jason`
fn matched(of: &HttpMatch) -> String {
    let mut all = Vec::new();
    all.extend(of.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => format!("path is {path}"),
        PathMatch::Prefix(path) => format!("path starts with {path}"),
        PathMatch::ElementPrefix(path) => format!("path is {path} or below"),
        PathMatch::Regex(regex) => format!("path matches {regex}"),
    }));
    let single = [
        ("method", &of.method),
        ("scheme", &of.scheme),
        ("host", &of.authority),
    ];
    all.extend(
        single
            .into_iter()
            .filter_map(|(what, is)| Some(format!("{what} {}", text(is.as_ref()?)))),
    );
    all.extend(of.headers.iter().map(|(name, is)| match is {
        HeaderMatch::Value(value) => format!("header {name} {}", text(value)),
        HeaderMatch::Present => format!("header {name} is there"),
        HeaderMatch::Not(value) => format!("header {name} not {}", text(value)),
        HeaderMatch::Absent => format!("no header {name}"),
    }));
    all.extend(
        of.query
            .iter()
            .map(|(name, is)| format!("parameter {name} {}", text(is))),
    );
    all.extend(of.port.map(|port| format!("port {port}")));
    all.extend(
        of.source_labels
            .iter()
            .map(|(key, value)| format!("from {key}={value}")),
    );
    all.extend(of.source_namespace.iter().map(|n| format!("from namespace {n}")));
    if all.is_empty() {
        all.push("every request".to_owned());
    }
    all.join(" and ")
}

fn text(is: &StringMatch) -> String {
    match is {
        StringMatch::Exact(text) => format!("is {text}"),
        StringMatch::Prefix(text) => format!("starts with {text}"),
        StringMatch::Regex(regex) => format!("matches {regex}"),
    }
}

fn policies(snapshot: &Snapshot, host: &Host) -> Vec<Policy> {
    let rules = snapshot.policies.get(host).into_iter().flat_map(|all| &all.rules);
    rules.flat_map(of_rule).collect()
}

fn of_rule(of_host: &ServicePolicy) -> Vec<Policy> {
    let source = Source::new(&of_host.origin);
    let mut all = said(&of_host.policy, "", &source);
    for subset in &of_host.subsets {
        let labels: Vec<String> = subset
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        all.push(Policy {
            what: format!("subset {}", subset.name),
            says: labels.join(", "),
            object: Some(source.clone()),
        });
        // What it has from the host itself has been said.
        let own = said(&subset.policy, &format!("subset {}: ", subset.name), &source);
        let is_own = |policy: &Policy| {
            !said(&of_host.policy, "", &source)
                .iter()
                .any(|p| p.says == policy.says)
        };
        all.extend(own.into_iter().filter(is_own));
    }
    all
}

fn said(policy: &TrafficPolicy, of: &str, source: &Source) -> Vec<Policy> {
    let mut all = Vec::new();
    let mut say = |what: &str, says: String| {
        all.push(Policy {
            what: format!("{of}{what}"),
            says,
            object: Some(source.clone()),
        });
    };
    if let Some(balancer) = &policy.balancer {
        say("load balancing", balanced(balancer));
    }
    match &policy.tls {
        Some(TlsMode::Disable) => say("TLS", "off: this host is called in plaintext".to_owned()),
        Some(TlsMode::IstioMutual { .. }) => say("TLS", "the mesh's mutual TLS, always".to_owned()),
        Some(TlsMode::Originate(said)) if said.mutual => {
            say("TLS", "TLS with a client certificate".to_owned());
        }
        Some(TlsMode::Originate(_)) => say("TLS", "TLS without a client certificate".to_owned()),
        None => {}
    }
    if let Some(outlier) = &policy.outlier {
        let limit = outlier
            .consecutive_5xx
            .or(outlier.consecutive_gateway_errors)
            .unwrap_or(5);
        say(
            "outlier detection",
            format!("out after {limit} failures in a row"),
        );
    }
    let pool = &policy.pool;
    let limits = [
        ("connections", pool.max_connections),
        ("pending requests", pool.http1_max_pending),
        ("requests", pool.http2_max_requests),
        ("retries", pool.max_retries),
    ];
    let limits: Vec<String> = limits
        .into_iter()
        .filter_map(|(what, limit)| Some(format!("at most {} {what}", limit?)))
        .collect();
    if !limits.is_empty() {
        say("limits", limits.join(", "));
    }
    for (port, _) in &policy.ports {
        say(&format!("port {port}"), "has a policy of its own".to_owned());
    }
    all
}

fn balanced(balancer: &LoadBalancer) -> String {
    match balancer {
        LoadBalancer::RoundRobin => "one after the other".to_owned(),
        LoadBalancer::LeastRequest => "the one with the fewest open requests".to_owned(),
        LoadBalancer::Random => "at random".to_owned(),
        LoadBalancer::Passthrough => "the address that was called".to_owned(),
        LoadBalancer::HashHeader(name) => format!("by header {name}"),
        LoadBalancer::HashCookie { name, .. } => format!("by cookie {name}"),
        LoadBalancer::HashSourceIp => "by the caller's address".to_owned(),
        LoadBalancer::HashQuery(name) => format!("by parameter {name}"),
    }
}

pub fn mtls(mode: MtlsMode) -> &'static str {
    match mode {
        MtlsMode::Strict => "STRICT: only mutual TLS is accepted",
        MtlsMode::Permissive => "PERMISSIVE: mutual TLS and plaintext are accepted",
        MtlsMode::Disable => "DISABLE: plaintext only",
    }
}
