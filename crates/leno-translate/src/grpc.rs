//! Resources for gRPC libraries that are xDS clients themselves, with no proxy beside them ("proxyless").
//!
//! They understand a part of xDS, and reject a resource that goes beyond it where ignoring would change security
//! or choice. What they read is written down in the gRFCs: A27 (listeners, clusters, endpoints), A28 (routes), A29
//! (TLS by certificate providers), A31 (timeouts), A32 (limits), A33 (faults), A36 (servers), A42 (ring hash), A44
//! (retries). Names are Istio's, so that a bootstrap written for istiod works here.

mod cluster;
mod listener;
mod routes;
mod tls;

pub(crate) use cluster::{GrpcCluster, cluster, cluster_input};
pub(crate) use listener::{GrpcListener, listener, listener_input};
pub(crate) use routes::{GrpcRoutes, configuration, route_input};

use leno_model::{Host, Protocol, Service, ServicePort};

use crate::Proxy;
use crate::naming::RouteName;
use crate::reader::Reader;

/// The service and port that a target of a client means: `reviews.default.svc.cluster.local:9080`, or a shorter
/// name as the cluster's DNS would complete it.
fn called<'a>(
    reader: &mut Reader<'a>,
    proxy: &Proxy,
    target: &str,
) -> Option<(&'a Service, &'a ServicePort)> {
    let RouteName::Service(host, port) = RouteName::parse(target)? else {
        return None;
    };
    let name = host.to_string();
    let mut labels = name.split('.');
    let short = labels.next().unwrap_or_default();
    let completed = match (labels.next(), labels.next(), labels.next()) {
        (None, ..) => Some(Host::in_cluster(short, &proxy.namespace)),
        (Some(namespace), None | Some("svc"), None) => Some(Host::in_cluster(short, namespace)),
        _ => None,
    };
    let service = match reader.service(&host) {
        Some(service) => service,
        None => reader.service(&completed?)?,
    };
    let served = service.ports.iter().find(|served| served.port == port)?;
    speaks_http(served.protocol).then_some((service, served))
}

/// gRPC is HTTP: a port that says it is something else is not called.
fn speaks_http(protocol: Protocol) -> bool {
    protocol.is_http() || protocol == Protocol::Detect
}
