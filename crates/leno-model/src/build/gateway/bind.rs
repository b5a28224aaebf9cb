//! VirtualServices at Istio's Gateways.
//!
//! At a gateway Istio merges: the rules of all VirtualServices of a host are tried, here in the order of their names.

use std::collections::BTreeSet;
use std::sync::Arc;

use leno_api::kinds::virtual_service::VirtualServiceSpec;
use leno_api::{Code, Kind, Object, Severity};

use super::{Admits, Gateways, add_routes, intersection};
use crate::build::virtual_service::{Delegates, Written, http_rule, in_mesh, stream_backends, written_rules};
use crate::build::{Context, origin, port};
use crate::gateway::{GatewayProtocol, GatewayServer, GatewayStream};
use crate::route::{HttpRoute, TcpRoute};
use crate::visibility::Exported;

/// A Gateway's namespace and name, as a VirtualService means it.
type Name<'a> = (&'a str, &'a str);

/// A VirtualService on its way to Gateways.
struct Bound<'a, 'o> {
    object: &'o Object,
    spec: &'o VirtualServiceSpec,
    /// Its HTTP rules, with those of its delegates.
    rules: &'a [Written<'o>],
    exported: &'a Exported,
}

pub(crate) fn bind_virtual_services<'o>(
    context: &mut Context<'_>,
    specs: &[(&'o Object, &'o VirtualServiceSpec)],
    delegates: &Delegates<'o>,
    gateways: &mut Gateways<'_>,
) {
    for (object, spec) in specs {
        if spec.gateways.iter().all(|gateway| gateway == "mesh") {
            continue;
        }
        // What is wrong with its rules has been said where they were made for the mesh.
        let mut told = in_mesh(&spec.gateways);
        context.muted = told;
        let rules = written_rules(context, object, spec, delegates);
        context.muted = false;
        let exported = context.exported(object, spec);
        let own = &*object.key.namespace;
        let mut seen = BTreeSet::new();
        for (g, written) in spec.gateways.iter().enumerate() {
            let name = full_name(written, own);
            if written == "mesh" || !seen.insert(name) {
                continue;
            }
            let path = format!("spec.gateways[{g}]");
            context.muted = std::mem::replace(&mut told, true);
            let route = Bound {
                object,
                spec,
                rules: &rules,
                exported: &exported,
            };
            let bound = bind(context, &route, name, gateways);
            context.muted = false;
            let (code, message, hint) = match bound {
                None => (
                    Code::GatewayNotFound,
                    format!(
                        "the Gateway {}/{} does not exist; the routes wait for it",
                        name.0, name.1
                    ),
                    nearest(gateways, name),
                ),
                Some(0) => (
                    Code::RouteNotAllowed,
                    format!("the Gateway {}/{} serves none of these hosts", name.0, name.1),
                    "give both a host in common: see the hosts of its servers".into(),
                ),
                Some(_) => continue,
            };
            context.report(object, (code, Severity::Warning), &path, message, hint);
        }
    }
}

fn full_name<'a>(written: &'a str, own: &'a str) -> Name<'a> {
    written.split_once('/').unwrap_or((own, written))
}

fn nearest(gateways: &Gateways<'_>, (namespace, name): Name<'_>) -> String {
    let istio = gateways.drafts.iter().map(|draft| &draft.object.key);
    let names: Vec<String> = istio
        .filter(|key| key.kind == Kind::Gateway)
        .map(|key| format!("{}/{}", key.namespace, key.name))
        .collect();
    let names = names.iter().map(String::as_str);
    match leno_api::nearest(&format!("{namespace}/{name}"), names) {
        Some(near) => format!("did you mean {near}?"),
        None => "add a Gateway of networking.istio.io with this name".into(),
    }
}

/// To how many servers; None: there is no such Gateway.
fn bind(
    context: &mut Context<'_>,
    route: &Bound<'_, '_>,
    name: Name<'_>,
    gateways: &mut Gateways<'_>,
) -> Option<usize> {
    let Bound { object, spec, .. } = *route;
    let own = &*object.key.namespace;
    let draft = gateways.drafts.iter_mut().find(|draft| {
        let key = &draft.object.key;
        key.kind == Kind::Gateway && (&*key.namespace, &*key.name) == name
    })?;
    let applies = |said: &[String]| {
        said.is_empty()
            || said
                .iter()
                .any(|written| written != "mesh" && full_name(written, own) == name)
    };
    let rules = route.rules.iter();
    let rules: Vec<_> = rules
        .filter_map(|rule| http_rule(context, rule, &applies))
        .collect();
    let http = (!rules.is_empty()).then(|| {
        Arc::new(HttpRoute {
            origin: origin(object),
            exported: route.exported.clone(),
            hosts: Vec::new(),
            ports: Vec::new(),
            rules,
        })
    });
    let mut bound = 0;
    for (server, admits) in draft.gateway.servers.iter_mut().zip(&draft.admits) {
        let Admits::Hosts(hosts) = admits else { continue };
        let served = |host: &str| {
            let mine = hosts
                .iter()
                .filter(|(namespace, _)| namespace.as_ref().is_none_or(|wanted| wanted == own));
            mine.filter_map(|(_, serves)| intersection(serves, host))
                .collect::<BTreeSet<String>>()
        };
        let written = spec
            .hosts
            .iter()
            .map(|host| match host.contains('.') || host == "*" {
                true => host.clone(),
                false => context.resolve(host, own).to_string(),
            });
        let domains: BTreeSet<String> = written.flat_map(|host| served(&host)).collect();
        if domains.is_empty() {
            continue;
        }
        let before = server.streams.len();
        match (server.protocol, &server.tls) {
            (GatewayProtocol::Http, _) => {
                for domain in domains.into_iter().filter(|_| http.is_some()) {
                    add_routes(server, domain, http.iter().cloned().collect());
                }
            }
            (GatewayProtocol::Tls, None) => by_name(context, route, &applies, server, &served),
            (GatewayProtocol::Tls, Some(_)) | (GatewayProtocol::Tcp, _) => {
                bytes(context, route, &applies, server);
            }
        }
        let routed =
            server.streams.len() > before || (server.protocol == GatewayProtocol::Http && http.is_some());
        server.attached_routes += u32::from(routed);
        bound += usize::from(routed);
    }
    Some(bound)
}

/// TLS that is passed on.
fn by_name(
    context: &mut Context<'_>,
    bound: &Bound<'_, '_>,
    applies: &dyn Fn(&[String]) -> bool,
    server: &mut GatewayServer,
    served: &dyn Fn(&str) -> BTreeSet<String>,
) {
    for (i, rule) in bound.spec.tls.iter().enumerate() {
        let here = rule.matches.iter().filter(|matching| {
            let at_port = matching
                .port
                .is_none_or(|wanted| port(wanted) == Some(server.port));
            at_port && applies(&matching.gateways)
        });
        let names: BTreeSet<String> = here
            .flat_map(|matching| &matching.sni_hosts)
            .flat_map(|host| served(host))
            .collect();
        if names.is_empty() {
            continue;
        }
        let backends = stream_backends(context, bound.object, &format!("spec.tls[{i}]"), &rule.route);
        let names = match names.contains("*") {
            true => Vec::new(),
            false => names.into_iter().collect(),
        };
        server.streams.push(stream(bound, true, names, backends));
    }
}

/// The first rule takes all connections: of those that the gateway proxy sees the first.
fn bytes(
    context: &mut Context<'_>,
    bound: &Bound<'_, '_>,
    applies: &dyn Fn(&[String]) -> bool,
    server: &mut GatewayServer,
) {
    let here = bound.spec.tcp.iter().enumerate().find(|(_, rule)| {
        let fits = |matching: &leno_api::kinds::virtual_service::L4Match| {
            let at_port = matching
                .port
                .is_none_or(|wanted| port(wanted) == Some(server.port));
            at_port && applies(&matching.gateways)
        };
        rule.matches.is_empty() || rule.matches.iter().any(fits)
    });
    let taken = server
        .streams
        .iter()
        .any(|stream| stream.route.exported == Exported::Everywhere);
    let Some((i, rule)) = here.filter(|_| !taken) else {
        return;
    };
    let backends = stream_backends(context, bound.object, &format!("spec.tcp[{i}]"), &rule.route);
    server.streams.push(stream(bound, false, Vec::new(), backends));
}

fn stream(
    bound: &Bound<'_, '_>,
    tls: bool,
    names: Vec<String>,
    backends: Vec<crate::route::WeightedBackend>,
) -> GatewayStream {
    GatewayStream {
        names,
        route: Arc::new(TcpRoute {
            origin: origin(bound.object),
            exported: bound.exported.clone(),
            hosts: Vec::new(),
            tls,
            matches: Vec::new(),
            backends,
        }),
    }
}
