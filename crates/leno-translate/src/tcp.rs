//! TCP: bytes to one cluster, or to several by weight.

mod streams;

pub(crate) use streams::{Branch, Streams, Taken, streams};

use std::net::IpAddr;
use std::time::Duration;

use leno_model::policy::Tunnel;
use leno_model::{Host, LoadBalancer, Protocol, Service, TcpRoute, TrafficPolicy};

use crate::Proxy;
use crate::access_log::{LogInput, Of, access_log};
use crate::audit_log::AuditLog;
use crate::naming::{BLACK_HOLE, outbound_cluster, outbound_tcp_cluster};
use crate::parts::{bracketed, duration, network_filter};
use crate::pb::{listener, tcp_proxy, types};
use crate::reader::Reader;
use crate::traffic_policy::policy;

/// Where the connections of a TCP port go, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TcpTargets {
    /// Clusters with weights, never empty.
    clusters: Vec<(String, u32)>,
    terms: Terms,
}

/// What the policy of a destination says of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Terms {
    /// Zero: without end.
    idle_timeout: Option<Duration>,
    longest: Option<Duration>,
    /// Those of one client go to one endpoint.
    by_source: bool,
    tunnel: Option<Tunnel>,
}

impl TcpTargets {
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &str> {
        self.clusters.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn one(cluster: &str) -> Self {
        Self {
            clusters: vec![(cluster.into(), 1)],
            terms: Terms::default(),
        }
    }
}

impl Terms {
    fn of(policy: Option<TrafficPolicy>) -> Self {
        let Some(policy) = policy else {
            return Self::default();
        };
        Self {
            idle_timeout: policy.pool.tcp_idle_timeout,
            longest: policy.pool.max_connection_duration,
            by_source: policy.balancer == Some(LoadBalancer::HashSourceIp),
            tunnel: policy.tunnel,
        }
    }
}

/// To the service itself.
fn itself(reader: &mut Reader<'_>, proxy: &Proxy, host: &Host, port: u16) -> TcpTargets {
    TcpTargets {
        terms: Terms::of(policy(reader, proxy, host, None, port)),
        ..TcpTargets::one(&cluster(reader, proxy, (host, port), None))
    }
}

/// What a route gives to each of its backends; `port` is the one that was called.
pub(crate) fn shares(reader: &mut Reader<'_>, proxy: &Proxy, route: &TcpRoute, port: u16) -> TcpTargets {
    let mut clusters = Vec::new();
    // As in Istio the first destination's policy says how, and only a single one's connections go through a tunnel.
    let mut terms = None;
    for backend in route.backends.iter().filter(|backend| backend.weight > 0) {
        let cluster = if backend.invalid {
            // Its share of connections is refused: there is no status to answer with.
            BLACK_HOLE.to_owned()
        } else {
            let port = crate::route::backend_port(reader, backend, port);
            let subset = backend.subset.as_deref();
            terms = terms.or_else(|| Some(Terms::of(policy(reader, proxy, &backend.host, subset, port))));
            cluster(reader, proxy, (&backend.host, port), subset)
        };
        clusters.push((cluster, backend.weight));
    }
    if clusters.is_empty() {
        clusters.push((BLACK_HOLE.into(), 1));
    }
    let mut terms = terms.unwrap_or_default();
    if clusters.len() > 1 {
        terms.tunnel = None;
    }
    TcpTargets { clusters, terms }
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
    guarded_proxy(stat_prefix, targets, log, None)
}

/// Behind policies, whose decisions are told where somebody keeps them.
pub(crate) fn guarded_proxy(
    stat_prefix: &str,
    targets: &TcpTargets,
    log: Option<&LogInput>,
    audit: Option<AuditLog>,
) -> listener::Filter {
    use tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
    use tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};
    let TcpTargets { clusters, terms } = targets;
    let specifier = match clusters.as_slice() {
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
        access_log: access_log(log, Of::Connections)
            .into_iter()
            .chain(audit.map(AuditLog::tcp))
            .collect(),
        cluster_specifier: Some(specifier),
        idle_timeout: terms.idle_timeout.and_then(duration),
        max_downstream_connection_duration: terms.longest.and_then(duration),
        hash_policy: if terms.by_source {
            vec![by_source()]
        } else {
            Vec::new()
        },
        tunneling_config: terms.tunnel.as_ref().map(tunneling),
        ..Default::default()
    };
    network_filter("envoy.filters.network.tcp_proxy", &config)
}

fn by_source() -> types::HashPolicy {
    use types::hash_policy::{PolicySpecifier, SourceIp};
    types::HashPolicy {
        policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})),
    }
}

fn tunneling(said: &Tunnel) -> tcp_proxy::tcp_proxy::TunnelingConfig {
    let host = match said.host.parse::<IpAddr>() {
        Ok(address) => bracketed(address),
        Err(_) => said.host.clone(),
    };
    tcp_proxy::tcp_proxy::TunnelingConfig {
        hostname: format!("{host}:{}", said.port),
        use_post: said.post,
        ..Default::default()
    }
}
