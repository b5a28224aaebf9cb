//! TCPRoute at a Gateway: all connections of a listener go to its first rule's backends.

use std::sync::Arc;

use leno_api::kinds::http_route::ParentRef;
use leno_api::kinds::tcp_route::{TcpBackendRef, TcpRouteSpec};
use leno_api::{Code, Kind, Object, Severity, Spec};

use super::gateway::{Admits, Draft, Gateways};
use super::http_route::{is_gateway, resolve_backend};
use super::{Context, count, of_kind, origin, port};
use crate::gateway::{GatewayProtocol, GatewayServer, GatewayStream};
use crate::route::{TcpRoute, WeightedBackend};
use crate::visibility::Exported;

/// Why a route is at no listener, and what mends it.
type Nowhere = (Code, String, &'static str);

pub(crate) fn add_routes(context: &mut Context<'_>, objects: &[&Arc<Object>], gateways: &mut Gateways<'_>) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::TcpRoute(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        let Some(rule) = spec.rules.first() else { continue };
        let backends = rule.backend_refs.iter().enumerate();
        let backends = backends.map(|(b, backend)| {
            let path = format!("spec.rules[0].backendRefs[{b}]");
            weighted(context, object, &path, backend)
        });
        let route = Arc::new(TcpRoute {
            origin: origin(object),
            exported: Exported::Everywhere,
            hosts: Vec::new(),
            tls: false,
            matches: Vec::new(),
            backends: backends.collect(),
        });
        attach(context, (object, spec), &route, gateways);
    }
}

fn weighted(context: &mut Context<'_>, object: &Object, path: &str, spec: &TcpBackendRef) -> WeightedBackend {
    let mut backend = resolve_backend(context, object, path, &spec.object());
    backend.weight = count(spec.weight.unwrap_or(1));
    backend
}

fn attach(
    context: &mut Context<'_>,
    (object, spec): (&Object, &TcpRouteSpec),
    route: &Arc<TcpRoute>,
    gateways: &mut Gateways<'_>,
) {
    for (i, parent) in spec.parent_refs.iter().enumerate().filter(|(_, p)| is_gateway(p)) {
        let namespace = parent.namespace.as_deref().unwrap_or(&object.key.namespace);
        let found = gateways.drafts.iter_mut().find(|draft| {
            let key = &draft.object.key;
            key.kind == Kind::KubernetesGateway && *key.namespace == *namespace && *key.name == *parent.name
        });
        let attached = match found {
            Some(draft) => attach_to(object, parent, draft, route),
            None => Err((
                Code::GatewayNotFound,
                "does not exist, or is of a class that leno does not serve".to_owned(),
                "add it (gateway.networking.k8s.io), with gatewayClassName: istio",
            )),
        };
        if let Err((code, why, hint)) = attached {
            let message = format!("the Gateway {namespace}/{} {why}", parent.name);
            let path = format!("spec.parentRefs[{i}]");
            context.report(object, (code, Severity::Warning), &path, message, hint);
        }
    }
}

/// To each listener that is meant, carries bytes, allows it, and has no other route.
fn attach_to(
    object: &Object,
    parent: &ParentRef,
    draft: &mut Draft<'_>,
    route: &Arc<TcpRoute>,
) -> Result<(), Nowhere> {
    let meant = |server: &GatewayServer| {
        let section = parent.section_name.as_ref();
        section.is_none_or(|name| *name == server.name)
            && parent.port.is_none_or(|number| port(number) == Some(server.port))
            && carries_bytes(server)
    };
    let servers = draft.gateway.servers.iter_mut().zip(&draft.admits);
    let mut meant: Vec<_> = servers.filter(|(server, _)| meant(server)).collect();
    if meant.is_empty() {
        let what = match (&parent.section_name, parent.port) {
            (Some(section), _) => format!("has no TCP listener {section}"),
            (None, Some(number)) => format!("has no TCP listener at port {number}"),
            (None, None) => "has no TCP listener".to_owned(),
        };
        return Err((Code::GatewayNotFound, what, "see the listeners of the Gateway"));
    }
    meant.retain(|(_, admits)| match admits {
        Admits::Routes(allowed) => allowed.allows(object.key.kind.as_str(), &object.key.namespace),
        Admits::Hosts(_) => false,
    });
    if meant.is_empty() {
        let why = format!(
            "does not allow TCPRoutes of the namespace {}",
            object.key.namespace
        );
        let hint = "set allowedRoutes: {namespaces: {from: All}} at its listener";
        return Err((Code::RouteNotAllowed, why, hint));
    }
    let mut taken = None;
    for (server, _) in meant {
        if let Some(first) = server.streams.first() {
            taken = Some(format!(
                "has another route at its listener {}: {}",
                server.name, first.route.origin
            ));
            continue;
        }
        server.attached_routes += 1;
        server.streams.push(GatewayStream {
            names: Vec::new(),
            route: Arc::clone(route),
        });
    }
    match taken {
        Some(why) => Err((
            Code::RouteNotAllowed,
            why,
            "of two the first by name holds: remove one",
        )),
        None => Ok(()),
    }
}

/// TCP, or TLS that is ended here.
fn carries_bytes(server: &GatewayServer) -> bool {
    match server.protocol {
        GatewayProtocol::Tcp => true,
        GatewayProtocol::Tls => server.tls.is_some(),
        GatewayProtocol::Http => false,
    }
}
