//! TCP: bytes to one cluster, or to several by weight.

mod streams;

pub(crate) use streams::{Branch, Streams, Taken, streams};

use leno_model::{Host, Protocol, Service, TcpRoute};

use crate::Proxy;
use crate::access_log::{LogInput, access_log};
use crate::naming::{BLACK_HOLE, outbound_cluster, outbound_tcp_cluster};
use crate::parts::network_filter;
use crate::pb::{listener, tcp_proxy};
use crate::reader::Reader;

/// Where the connections of a TCP port go: clusters with weights, never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TcpTargets(Vec<(String, u32)>);

impl TcpTargets {
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn one(cluster: &str) -> Self {
        Self(vec![(cluster.into(), 1)])
    }
}

/// To the service itself.
fn itself(reader: &mut Reader<'_>, proxy: &Proxy, host: &Host, port: u16) -> TcpTargets {
    TcpTargets::one(&cluster(reader, proxy, (host, port), None))
}

/// What a route gives to each of its backends; `port` is the one that was called.
pub(crate) fn shares(reader: &mut Reader<'_>, proxy: &Proxy, route: &TcpRoute, port: u16) -> TcpTargets {
    let mut clusters = Vec::new();
    for backend in route.backends.iter().filter(|backend| backend.weight > 0) {
        let cluster = if backend.invalid {
            // Its share of connections is refused: there is no status to answer with.
            BLACK_HOLE.to_owned()
        } else {
            let port = crate::route::backend_port(reader, backend, port);
            cluster(reader, proxy, (&backend.host, port), backend.subset.as_deref())
        };
        clusters.push((cluster, backend.weight));
    }
    if clusters.is_empty() {
        clusters.push((BLACK_HOLE.into(), 1));
    }
    TcpTargets(clusters)
}

/// The cluster for bytes to a port.
fn cluster(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    (host, port): (&Host, u16),
    subset: Option<&str>,
) -> String {
    let detected = |service: &Service| {
        let mut ports = service.ports.iter();
        ports.any(|served| served.port == port && served.protocol == Protocol::Detect)
    };
    if proxy.tells_http_from_bytes() && reader.service(host).is_some_and(detected) {
        outbound_tcp_cluster(port, subset, host)
    } else {
        outbound_cluster(port, subset, host)
    }
}

pub(crate) fn tcp_proxy(stat_prefix: &str, targets: &TcpTargets, log: Option<&LogInput>) -> listener::Filter {
    use tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
    use tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};
    let specifier = match targets.0.as_slice() {
        [(only, _)] => ClusterSpecifier::Cluster(only.clone()),
        several => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several
                .iter()
                .map(|(name, weight)| ClusterWeight {
                    name: name.clone(),
                    weight: *weight,
                    ..Default::default()
                })
                .collect(),
        }),
    };
    let config = tcp_proxy::TcpProxy {
        stat_prefix: stat_prefix.into(),
        access_log: access_log(log),
        cluster_specifier: Some(specifier),
        ..Default::default()
    };
    network_filter("envoy.filters.network.tcp_proxy", &config)
}
