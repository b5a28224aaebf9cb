//! Route configurations: which virtual host a request is for, and which rule it falls under.
//!
//! A service without routes forwards to itself. One with routes for a port answers 404 to what no rule matches, as
//! both Istio and the Gateway API demand.

mod action;
mod answer;
mod cors;
mod forward;
mod header;
mod matching;
mod rewrite;

pub(crate) use rewrite::escaped;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use leno_model::policy::LoadBalancer;
use leno_model::route::RedirectPort;
use leno_model::{
    Host, HttpAction, HttpMatch, HttpRoute, HttpRule, Origin, OutboundPolicy, Service, WeightedBackend,
};

use crate::Proxy;
use crate::naming::{PASSTHROUGH, RouteName, aliases};
use crate::parts::bracketed;
use crate::pb::route::{
    Route, RouteConfiguration, RouteMatch, VirtualHost, route::Action, route_match::PathSpecifier,
    virtual_host::TlsRequirementType,
};
use crate::reader::Reader;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteInput {
    name: String,
    hosts: Vec<HostInput>,
    /// What becomes of requests for other hosts; None: the one host takes all.
    others: Option<OutboundPolicy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HostInput {
    name: String,
    domains: Vec<String>,
    routes: Vec<RouteEntry>,
    require_tls: bool,
}

/// One rule under one of its matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteEntry {
    /// None: the service's own default, made by nobody.
    made_by: Option<Origin>,
    matches: HttpMatch,
    rule: Arc<Rule>,
}

/// A rule with its backends resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    /// As the user wrote it; of a Forward only what is said beside the backends.
    pub(crate) said: HttpRule,
    pub(crate) targets: Vec<Target>,
    pub(crate) mirrors: Vec<(Target, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) backend: WeightedBackend,
    pub(crate) port: u16,
    /// What requests are hashed by, where the backend's policy balances by a hash.
    pub(crate) hash: Option<LoadBalancer>,
}

pub(crate) fn route_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<RouteInput> {
    match RouteName::parse(name)? {
        RouteName::Service(host, port) => {
            let service = reader.service(&host)?;
            let served = service.ports.iter().find(|served| served.port == port)?;
            if !served.protocol.is_http() && served.protocol != leno_model::Protocol::Detect {
                return None;
            }
            // The connection has already said which service is meant: as in Istio, the host header does not matter.
            let only = host_input(reader, proxy, service, port, vec!["*".into()]);
            Some(RouteInput {
                name: name.into(),
                hosts: vec![only],
                others: None,
            })
        }
        RouteName::Port(port) => port_input(reader, proxy, port),
    }
}

/// Every HTTP service of the port, by its names and addresses.
fn port_input(reader: &mut Reader<'_>, proxy: &Proxy, port: u16) -> Option<RouteInput> {
    // leno's proxy knows the others by their addresses.
    let mut services = match proxy.on_demand {
        true => reader.anywhere(port),
        false => reader.services(),
    };
    let is_http = |service: &Service| service.port(port).is_some_and(|served| served.protocol.is_http());
    services.retain(|service| is_http(service) && reader.imports(service, port));
    if services.is_empty() {
        return None;
    }
    // A domain may stand once in a configuration, or Envoy rejects the whole of it.
    let mut taken = HashSet::new();
    let mut hosts = Vec::new();
    for service in services {
        let mut domains = aliases(&service.into(), &proxy.namespace);
        domains.extend(service.vips.iter().copied().map(bracketed));
        domains.retain(|domain| taken.insert(domain.clone()));
        if !domains.is_empty() {
            hosts.push(host_input(reader, proxy, service, port, domains));
        }
    }
    Some(RouteInput {
        name: port.to_string(),
        hosts,
        others: Some(reader.outbound()),
    })
}

fn host_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    service: &Service,
    port: u16,
    domains: Vec<String>,
) -> HostInput {
    let host = &service.host;
    let routes = reader.http_routes(host).into_iter();
    let mut entries = Vec::new();
    let mut routed = false;
    for route in routes.filter(|route| route.ports.is_empty() || route.ports.contains(&port)) {
        routed |= matching::concerns(route, proxy);
        entries.extend(self::entries(reader, proxy, route, port));
    }
    if !routed {
        entries.push(default_entry(reader, proxy, host, port));
    }
    HostInput {
        name: format!("{host}:{port}"),
        domains,
        routes: entries,
        require_tls: false,
    }
}

/// The rules of a route that can hold for this proxy at this port.
fn entries(reader: &mut Reader<'_>, proxy: &Proxy, route: &HttpRoute, port: u16) -> Vec<RouteEntry> {
    let mut entries = Vec::new();
    for rule in &route.rules {
        let applicable = matching::for_caller(rule, proxy, port);
        if applicable.is_empty() {
            continue;
        }
        let resolved = Arc::new(resolve(reader, proxy, rule, port));
        entries.extend(applicable.into_iter().map(|matches| RouteEntry {
            made_by: Some(route.origin.clone()),
            matches,
            rule: resolved.clone(),
        }));
    }
    entries
}

/// A port of a gateway: the routes of each domain, in the order in which they are tried.
pub(crate) fn gateway_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    (name, port): (&str, u16),
    domains: Vec<GatewayDomain<'_>>,
) -> RouteInput {
    let hosts = domains.into_iter().map(|domain| {
        let seen = domain
            .routes
            .iter()
            .filter(|route| route.exported.to(&proxy.namespace));
        let mut routes: Vec<RouteEntry> = seen
            .flat_map(|route| entries(reader, proxy, route, port))
            .collect();
        // As Istio does it: a rule that takes every request would hide those of the objects after its own.
        let several = routes.windows(2).any(|pair| pair[0].made_by != pair[1].made_by);
        if several && routes.iter().all(RouteEntry::is_virtual_services) {
            routes.sort_by_key(|entry| matching::takes_all(&entry.matches));
        }
        HostInput {
            name: format!("{}:{port}", domain.name),
            routes,
            domains: vec![domain.name],
            require_tls: domain.require_tls,
        }
    });
    RouteInput {
        name: name.into(),
        hosts: hosts.collect(),
        others: None,
    }
}

/// What a gateway's port does with requests for a name.
pub(crate) struct GatewayDomain<'a> {
    pub(crate) name: String,
    pub(crate) routes: Vec<&'a HttpRoute>,
    /// Others are sent to HTTPS.
    pub(crate) require_tls: bool,
}

impl RouteEntry {
    fn is_virtual_services(&self) -> bool {
        self.made_by
            .as_ref()
            .is_some_and(|origin| &*origin.kind == "VirtualService")
    }
}

impl RouteInput {
    /// The clusters that requests may go to.
    pub(crate) fn clusters(&self) -> BTreeSet<String> {
        let rules = self.hosts.iter().flat_map(|host| &host.routes);
        let targets = rules.flat_map(|entry| {
            let mirrored = entry.rule.mirrors.iter().map(|(target, _)| target);
            entry.rule.targets.iter().chain(mirrored)
        });
        let valid = targets.filter(|target| !target.backend.invalid);
        valid.map(forward::cluster).collect()
    }
}

/// To the service itself.
fn default_entry(reader: &mut Reader<'_>, proxy: &Proxy, host: &Host, port: u16) -> RouteEntry {
    let itself = WeightedBackend {
        host: host.clone(),
        subset: None,
        port: Some(port),
        weight: 1,
        invalid: false,
        request_headers: Default::default(),
        response_headers: Default::default(),
    };
    let said = HttpRule {
        name: None,
        number: 0,
        place: String::new(),
        matches: Vec::new(),
        action: HttpAction::Forward(vec![itself]),
        timeout: None,
        retries: None,
        fault: None,
        request_headers: Default::default(),
        response_headers: Default::default(),
        rewrite: None,
        mirror: Vec::new(),
        cors: None,
    };
    RouteEntry {
        made_by: None,
        matches: HttpMatch::default(),
        rule: Arc::new(resolve(reader, proxy, &said, port)),
    }
}

fn resolve(reader: &mut Reader<'_>, proxy: &Proxy, rule: &HttpRule, port: u16) -> Rule {
    let mut said = rule.clone();
    // What is said of these stands in the entry and the targets; here it would only split the cache.
    said.matches.clear();
    said.mirror.clear();
    let backends = match &mut said.action {
        HttpAction::Forward(backends) => std::mem::take(backends),
        HttpAction::Redirect { port: called, .. } => {
            if *called == Some(RedirectPort::Called) {
                *called = Some(RedirectPort::Number(port));
            }
            Vec::new()
        }
        HttpAction::Respond { .. } => Vec::new(),
    };
    let targets = backends
        .into_iter()
        .map(|backend| target(reader, proxy, backend, port))
        .collect();
    let mirrors = rule
        .mirror
        .iter()
        .map(|mirror| (target(reader, proxy, mirror.backend.clone(), port), mirror.share))
        .collect();
    Rule {
        said,
        targets,
        mirrors,
    }
}

fn target(reader: &mut Reader<'_>, proxy: &Proxy, backend: WeightedBackend, called: u16) -> Target {
    if backend.invalid {
        let port = backend.port.unwrap_or(called);
        return Target {
            backend,
            port,
            hash: None,
        };
    }
    let port = backend_port(reader, &backend, called);
    let hash = crate::traffic_policy::policy(reader, proxy, &backend.host, backend.subset.as_deref(), port)
        .and_then(|policy| policy.balancer)
        .filter(forward::hashes);
    Target { backend, port, hash }
}

/// The port of a backend that names none: the service's only one, else the one that was called.
pub(crate) fn backend_port(reader: &mut Reader<'_>, backend: &WeightedBackend, called: u16) -> u16 {
    if let Some(port) = backend.port {
        return port;
    }
    match reader
        .service(&backend.host)
        .map(|service| service.ports.as_slice())
    {
        Some([only]) => only.port,
        _ => called,
    }
}

pub(crate) fn configuration(input: &RouteInput) -> RouteConfiguration {
    let mut virtual_hosts: Vec<VirtualHost> = input.hosts.iter().map(virtual_host).collect();
    virtual_hosts.extend(input.others.map(strangers));
    RouteConfiguration {
        name: input.name.clone(),
        virtual_hosts,
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

fn virtual_host(input: &HostInput) -> VirtualHost {
    VirtualHost {
        name: input.name.clone(),
        domains: input.domains.clone(),
        routes: input.routes.iter().map(action::route).collect(),
        require_tls: match input.require_tls {
            true => TlsRequirementType::All.into(),
            false => TlsRequirementType::None.into(),
        },
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// Hosts that are not the mesh's, under Istio's names.
fn strangers(policy: OutboundPolicy) -> VirtualHost {
    let (name, action) = match policy {
        OutboundPolicy::AllowAny => ("allow_any", forward::straight(PASSTHROUGH)),
        OutboundPolicy::RegistryOnly => ("block_all", answer::respond(502, None)),
    };
    VirtualHost {
        name: name.into(),
        domains: vec!["*".into()],
        routes: vec![everything(name, action)],
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// Every request of an inbound port, to the application.
pub(crate) fn inbound(cluster: &str, port: u16, service: Option<&str>) -> RouteConfiguration {
    let mut route = everything("default", forward::straight(cluster));
    route.decorator = service.map(|host| crate::pb::route::Decorator {
        operation: format!("{host}:{port}/*"),
        ..Default::default()
    });
    RouteConfiguration {
        name: cluster.into(),
        virtual_hosts: vec![VirtualHost {
            name: format!("inbound|http|{port}"),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn everything(name: &str, action: Action) -> Route {
    Route {
        name: name.into(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    }
}
