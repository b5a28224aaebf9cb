//! Clusters as gRPC reads them (A27, A29, A32, A42): endpoints over the same stream, round robin or a ring, and
//! one kind of transport for all endpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use leno_model::policy::LoadBalancer;
use leno_model::{Service, ServicePort, TlsMode, Workload};

use super::{speaks_http, tls};
use crate::Proxy;
use crate::endpoint;
use crate::naming::{ClusterName, outbound_cluster};
use crate::parts::{ads, u32_value};
use crate::pb::cluster::circuit_breakers::Thresholds;
use crate::pb::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy, RingHashLbConfig,
};
use crate::pb::cluster::{CircuitBreakers, Cluster};
use crate::pb::protobuf::UInt64Value;
use crate::reader::Reader;
use crate::traffic_policy::policy;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GrpcCluster {
    name: String,
    /// Calls are spread by a header's hash.
    ring: bool,
    max_requests: Option<u32>,
    /// The SPIFFE ids that stand behind the service; None: plaintext.
    mtls: Option<BTreeSet<String>>,
}

pub(crate) fn cluster_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<GrpcCluster> {
    let ClusterName::Outbound {
        port,
        subset,
        host,
        tcp: false,
    } = ClusterName::parse(name)?
    else {
        return None;
    };
    let service = reader.service(&host)?;
    let served = service.ports.iter().find(|served| served.port == port)?;
    if !speaks_http(served.protocol) {
        return None;
    }
    if let Some(subset) = &subset {
        let subsets = &reader.policy(proxy, &host)?.subsets;
        subsets.iter().find(|known| known.name == *subset)?;
    }
    let policy = policy(reader, proxy, &host, subset.as_deref(), port).unwrap_or_default();
    if let Some(TlsMode::Originate(_)) = policy.tls {
        // TLS to the outside is not what a certificate provider of the mesh can verify; plaintext is not asked for.
        return None;
    }
    Some(GrpcCluster {
        name: outbound_cluster(port, subset.as_deref(), &host),
        ring: matches!(policy.balancer, Some(LoadBalancer::HashHeader(_))),
        max_requests: policy.pool.http2_max_requests,
        mtls: mtls(reader, service, served, policy.tls.as_ref()),
    })
}

/// A cluster of gRPC's has one transport for all its endpoints, so one that takes no mTLS decides for all.
fn mtls(
    reader: &mut Reader<'_>,
    service: &Service,
    served: &ServicePort,
    said: Option<&TlsMode>,
) -> Option<BTreeSet<String>> {
    let endpoints = reader.endpoints(&service.host);
    let wanted = match said {
        Some(TlsMode::IstioMutual { .. }) => true,
        Some(TlsMode::Disable | TlsMode::Originate(_)) => false,
        None => {
            let takes = |workload: &Arc<Workload>| takes_mtls(reader, workload, served);
            endpoints.iter().all(takes)
                && endpoint::described(service).all(endpoint::says_mesh_tls)
                && reader.mesh().auto_mtls
        }
    };
    wanted.then(|| identities(reader, service, endpoints))
}

/// Whether a library's mTLS is known for what it is: its ALPN says `h2` and not that it is the mesh's, so a sidecar
/// takes it for the application's own unless the port is known to speak HTTP.
fn takes_mtls(reader: &Reader<'_>, workload: &Workload, served: &ServicePort) -> bool {
    let Some(port) = endpoint::target_port(workload, &served.target) else {
        return true; // No endpoint of this port.
    };
    let declared = workload.ports.iter().find(|declared| declared.port == port);
    let http = served.protocol.is_http() || declared.is_some_and(|declared| declared.protocol.is_http());
    http && endpoint::speaks_mesh_tls(reader, workload, port)
}

fn identities(reader: &mut Reader<'_>, service: &Service, endpoints: &[Arc<Workload>]) -> BTreeSet<String> {
    let mesh = reader.mesh();
    let of = |workload: &'_ Arc<Workload>| {
        let (namespace, account) = (&workload.namespace, &workload.service_account);
        mesh.identities(namespace, account).collect::<Vec<_>>()
    };
    let accounts = endpoint::described(service).filter_map(|endpoint| endpoint.service_account.as_ref());
    let described = accounts.flat_map(|account| mesh.identities(&service.namespace, account));
    endpoints.iter().flat_map(of).chain(described).collect()
}

pub(crate) fn cluster(input: &GrpcCluster) -> Cluster {
    let (lb_policy, lb_config) = if input.ring {
        let ring = RingHashLbConfig {
            minimum_ring_size: Some(UInt64Value { value: 1024 }),
            ..Default::default()
        };
        (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(ring)))
    } else {
        (LbPolicy::RoundRobin, None)
    };
    let identities = input
        .mtls
        .as_ref()
        .map(|ids| ids.iter().cloned().collect::<Vec<_>>());
    Cluster {
        name: input.name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            service_name: input.name.clone(),
        }),
        lb_policy: lb_policy.into(),
        lb_config,
        // Else gRPC's own limit of 1024 calls holds, which nobody asked for.
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_requests: u32_value(input.max_requests.unwrap_or(u32::MAX)),
                ..Default::default()
            }],
            ..Default::default()
        }),
        transport_socket: identities.map(|identities| tls::client(&identities)),
        ..Default::default()
    }
}
