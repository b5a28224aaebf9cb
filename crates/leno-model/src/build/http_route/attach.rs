//! HTTPRoutes at Gateways: which listeners, for which names.

use std::collections::BTreeSet;
use std::sync::Arc;

use leno_api::kinds::http_route::{HttpRouteSpec, ParentRef};
use leno_api::{Code, Kind, Object, Severity};

use crate::build::gateway::{Admits, Draft, Gateways, add_routes, intersection};
use crate::build::{Context, port};
use crate::gateway::{GatewayProtocol, GatewayServer};
use crate::route::HttpRoute;

/// A Gateway, one of its servers, and a domain.
pub(super) type Attached = (usize, usize, String);

/// Why a route is at no listener: what is said of the Gateway, and what mends it.
type Nowhere = (Code, String, &'static str);

pub(super) fn attached(
    context: &mut Context<'_>,
    object: &Object,
    spec: &HttpRouteSpec,
    gateways: &mut Gateways<'_>,
) -> BTreeSet<Attached> {
    let mut attached = BTreeSet::new();
    for (i, parent) in spec.parent_refs.iter().enumerate().filter(|(_, p)| is_gateway(p)) {
        let path = format!("spec.parentRefs[{i}]");
        let namespace = parent.namespace.as_deref().unwrap_or(&object.key.namespace);
        let found = gateways.drafts.iter_mut().enumerate().find(|(_, draft)| {
            let key = &draft.object.key;
            key.kind == Kind::KubernetesGateway && *key.namespace == *namespace && *key.name == *parent.name
        });
        let to = format!("the Gateway {namespace}/{}", parent.name);
        let Some((g, draft)) = found else {
            let message = format!("{to} does not exist, or is of a class that leno does not serve");
            let hint = "add it (gateway.networking.k8s.io), with gatewayClassName: istio";
            let code = (Code::GatewayNotFound, Severity::Warning);
            context.report(object, code, &path, message, hint);
            continue;
        };
        match places(object, spec, parent, draft) {
            Ok(domains) => attached.extend(domains.into_iter().map(|(s, domain)| (g, s, domain))),
            Err((code, why, hint)) => {
                let code = (code, Severity::Warning);
                context.report(object, code, &path, format!("{to} {why}"), hint);
            }
        }
    }
    let servers: BTreeSet<(usize, usize)> = attached.iter().map(|(g, s, _)| (*g, *s)).collect();
    for (g, s) in servers {
        let draft = gateways.drafts.get_mut(g);
        if let Some(server) = draft.and_then(|draft| draft.gateway.servers.get_mut(s)) {
            server.attached_routes += 1;
        }
    }
    attached
}

pub(crate) fn is_gateway(parent: &ParentRef) -> bool {
    let group = parent.group.as_deref().unwrap_or("gateway.networking.k8s.io");
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    (group, kind) == ("gateway.networking.k8s.io", "Gateway")
}

/// Servers and domains.
fn places(
    object: &Object,
    spec: &HttpRouteSpec,
    parent: &ParentRef,
    draft: &Draft<'_>,
) -> Result<Vec<(usize, String)>, Nowhere> {
    let meant = |server: &GatewayServer| {
        parent
            .section_name
            .as_ref()
            .is_none_or(|name| *name == server.name)
            && parent.port.is_none_or(|number| port(number) == Some(server.port))
            && server.protocol == GatewayProtocol::Http
    };
    let both = draft.gateway.servers.iter().zip(&draft.admits).enumerate();
    let meant: Vec<_> = both.filter(|(_, (server, _))| meant(server)).collect();
    if meant.is_empty() {
        let what = match (&parent.section_name, parent.port) {
            (Some(section), _) => format!("has no HTTP listener {section}"),
            (None, Some(number)) => format!("has no HTTP listener at port {number}"),
            (None, None) => "has no HTTP listener".to_owned(),
        };
        return Err((Code::GatewayNotFound, what, "see the listeners of the Gateway"));
    }
    let allowed: Vec<_> = meant
        .into_iter()
        .filter(|(_, (_, admits))| match admits {
            Admits::Routes(allowed) => allowed.allows("HTTPRoute", &object.key.namespace),
            Admits::Hosts(_) => false,
        })
        .collect();
    if allowed.is_empty() {
        let why = format!(
            "does not allow HTTPRoutes of the namespace {}",
            object.key.namespace
        );
        let hint = "set allowedRoutes: {namespaces: {from: All}} at its listener";
        return Err((Code::RouteNotAllowed, why, hint));
    }
    let any = ["*".to_owned()];
    let hostnames = match spec.hostnames.as_slice() {
        [] => &any[..],
        said => said,
    };
    let mut places = Vec::new();
    for (s, (server, _)) in allowed {
        let pairs = server
            .hosts
            .iter()
            .flat_map(|host| hostnames.iter().map(move |name| (host, name)));
        let domains: BTreeSet<String> = pairs
            .filter_map(|(host, name)| intersection(host, name))
            .collect();
        places.extend(domains.into_iter().map(|domain| (s, domain)));
    }
    if places.is_empty() {
        let why = "serves none of the route's hostnames".to_owned();
        return Err((Code::RouteNotAllowed, why, "give both a name in common"));
    }
    Ok(places)
}

pub(super) fn put(gateways: &mut Gateways<'_>, (g, s, domain): Attached, routes: Vec<Arc<HttpRoute>>) {
    let draft = gateways.drafts.get_mut(g);
    if let Some(server) = draft.and_then(|draft| draft.gateway.servers.get_mut(s)) {
        add_routes(server, domain, routes);
    }
}
