//! Rules for connections.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use leno_api::Object;
use leno_api::kinds::virtual_service::{L4Match, TcpDestination, TlsMatch, VirtualServiceSpec};

use super::in_mesh;
use super::rule::backend;
use crate::build::{Context, count, origin, port};
use crate::name::Host;
use crate::route::{StreamMatch, TcpRoute, WeightedBackend};
use crate::visibility::Exported;

/// Those for the sidecars: of TLS, then of bytes, in the order in which they are written.
pub(super) fn routes(
    context: &mut Context<'_>,
    (object, spec, exported): (&Object, &VirtualServiceSpec, &Exported),
    hosts: &[Host],
) -> Vec<Arc<TcpRoute>> {
    let mut routes = Vec::new();
    let mut add = |context: &mut Context<'_>, at: &str, tls: bool, matches, route: &[TcpDestination]| {
        routes.push(Arc::new(TcpRoute {
            origin: origin(object),
            exported: exported.clone(),
            hosts: hosts.to_vec(),
            tls,
            matches,
            backends: stream_backends(context, object, at, route),
        }));
    };
    for (i, rule) in spec.tls.iter().enumerate() {
        let here = rule.matches.iter().filter(|matching| in_mesh(&matching.gateways));
        let matches: Vec<StreamMatch> = here.map(tls_match).collect();
        if !matches.is_empty() {
            add(context, &format!("spec.tls[{i}]"), true, matches, &rule.route);
        }
    }
    for (i, rule) in spec.tcp.iter().enumerate() {
        let here = rule.matches.iter().filter(|matching| in_mesh(&matching.gateways));
        let matches: Vec<StreamMatch> = here.map(tcp_match).collect();
        if !matches.is_empty() || rule.matches.is_empty() {
            add(context, &format!("spec.tcp[{i}]"), false, matches, &rule.route);
        }
    }
    routes
}

fn tcp_match(spec: &L4Match) -> StreamMatch {
    StreamMatch {
        port: spec.port.and_then(port),
        names: Vec::new(),
        subnets: subnets(&spec.destination_subnets),
        source_labels: spec.source_labels.clone(),
        source_namespace: spec.source_namespace.clone(),
    }
}

fn tls_match(spec: &TlsMatch) -> StreamMatch {
    StreamMatch {
        port: spec.port.and_then(port),
        names: spec
            .sni_hosts
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        subnets: subnets(&spec.destination_subnets),
        source_labels: spec.source_labels.clone(),
        source_namespace: spec.source_namespace.clone(),
    }
}

/// Validation has refused what is none.
fn subnets(written: &[String]) -> Vec<IpNet> {
    let read = |text: &String| {
        let single = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
        text.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(single)
    };
    written.iter().filter_map(read).collect()
}

pub(in crate::build) fn stream_backends(
    context: &mut Context<'_>,
    object: &Object,
    at: &str,
    routes: &[TcpDestination],
) -> Vec<WeightedBackend> {
    let single = routes.len() == 1;
    let backends = routes.iter().enumerate().map(|(r, route)| {
        let path = format!("{at}.route[{r}].destination");
        let mut backend = backend(context, object, &path, &route.destination);
        backend.weight = if single && route.weight == 0 {
            100
        } else {
            count(route.weight)
        };
        backend
    });
    backends.collect()
}
