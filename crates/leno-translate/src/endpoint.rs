//! Endpoints: the healthy workloads of a cluster, by locality.

pub(crate) mod locality;

use std::collections::HashMap;
use std::net::IpAddr;

use leno_model::service::TargetPort;
use leno_model::{Backing, Labels, MtlsMode, Service, ServicePort, Subset, Workload};

use crate::Proxy;
use crate::naming::ClusterName;
use crate::parts::{pipe, socket_address, string, structure, u32_value};
use crate::pb::core;
use crate::pb::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, endpoint::AdditionalAddress,
    lb_endpoint::HostIdentifier,
};
use crate::reader::Reader;
use crate::traffic_policy;
use locality::{Asking, Candidate, Group, Setting};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointsInput {
    cluster: String,
    /// By priority (0: the nearest) and locality.
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndpointInput {
    /// IP addresses of one endpoint; of a DNS cluster a name.
    addresses: Vec<String>,
    port: u16,
    name: String,
    /// Istio's `name;namespace;canonical-service;canonical-revision;cluster`, of a workload.
    workload: Option<String>,
    mesh_tls: bool,
    weight: u32,
}

/// None: no such cluster, or one that has no endpoints of its own (`PassthroughCluster`, `inbound|…`).
pub(crate) fn endpoints_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<EndpointsInput> {
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
    let subset = match subset {
        Some(name) => {
            let rule = reader.policy(proxy, &host)?;
            Some(rule.subsets.iter().find(|known| known.name == name)?)
        }
        None => None,
    };
    let wanted = |labels: &Labels| subset.is_none_or(|subset| has_labels(labels, subset));
    let described = described(service).filter(|said| wanted(&said.labels));
    let mut candidates: Vec<Candidate> = described
        .map(|said| Candidate {
            endpoint: described_endpoint(said, served),
            labels: said.labels.clone(),
            locality: said.locality.clone(),
        })
        .collect();
    for workload in reader.endpoints(&host) {
        if !(workload.healthy || service.unready) || !wanted(&workload.labels) {
            continue;
        }
        candidates.extend(
            endpoint_input(reader, workload, &served.target).map(|endpoint| Candidate {
                endpoint,
                labels: workload.labels.clone(),
                locality: workload.locality.clone(),
            }),
        );
    }
    let name_of_subset = subset.map(|subset| subset.name.as_str());
    let policy = traffic_policy::policy(reader, proxy, &host, name_of_subset, port).unwrap_or_default();
    let setting = locality::setting(reader, service, &policy);
    let matters = service.same_node || setting.as_ref().is_some_and(Setting::has_effect);
    let asking = if matters {
        Asking::new(reader, proxy)
    } else {
        Asking::default()
    };
    if service.same_node {
        candidates.retain(|candidate| asking.is_on_the_node_of(candidate));
    }
    Some(EndpointsInput {
        cluster: name.into(),
        groups: locality::grouped(candidates, &asking, setting.as_ref()),
    })
}

fn has_labels(labels: &Labels, subset: &Subset) -> bool {
    let mut wanted = subset.labels.iter();
    wanted.all(|(name, value)| labels.get(name) == Some(value))
}

/// The endpoints that objects describe.
pub(crate) fn described(service: &Service) -> impl Iterator<Item = &leno_model::Endpoint> {
    let own = match &service.backing {
        Backing::Fixed(endpoints) | Backing::Dns { endpoints, one: _ } => endpoints.as_slice(),
        Backing::Workloads | Backing::Caller => &[],
    };
    own.iter().chain(&service.described)
}

/// Istio's label for endpoints that have a sidecar.
pub(crate) fn says_mesh_tls(said: &leno_model::Endpoint) -> bool {
    said.labels
        .get("security.istio.io/tlsMode")
        .is_some_and(|mode| mode == "istio")
}

fn described_endpoint(said: &leno_model::Endpoint, served: &ServicePort) -> EndpointInput {
    let named = |wanted: &str| said.ports.iter().find(|(name, _)| name == wanted);
    let (target, by_target) = match &served.target {
        TargetPort::Number(number) => (*number, None),
        TargetPort::Named(name) => (served.port, named(name)),
    };
    let own = named(&served.name).or(by_target);
    EndpointInput {
        addresses: vec![said.address.clone()],
        port: own.map_or(target, |(_, port)| *port),
        name: said.address.clone(),
        workload: None,
        mesh_tls: says_mesh_tls(said),
        weight: said.weight.max(1),
    }
}

/// None: it has no address, or no port of the target's name.
fn endpoint_input(
    reader: &mut Reader<'_>,
    workload: &Workload,
    target: &TargetPort,
) -> Option<EndpointInput> {
    workload.addresses.first()?;
    let port = target_port(workload, target)?;
    Some(EndpointInput {
        addresses: workload.addresses.iter().map(IpAddr::to_string).collect(),
        port,
        name: workload.name.clone(),
        workload: Some(workload_label(workload)),
        mesh_tls: speaks_mesh_tls(reader, workload, port),
        weight: workload.weight.max(1),
    })
}

/// None: the workload has no port of that name.
pub(crate) fn target_port(workload: &Workload, target: &TargetPort) -> Option<u16> {
    match target {
        TargetPort::Number(port) => Some(*port),
        TargetPort::Named(name) => {
            let named = workload.ports.iter().find(|port| port.name == *name)?;
            Some(named.port)
        }
    }
}

/// Whether mTLS is to be used towards it: it has a sidecar, and does not refuse mTLS on the port.
pub(crate) fn speaks_mesh_tls(reader: &Reader<'_>, workload: &Workload, port: u16) -> bool {
    let (mode, _) = crate::sidecar::mtls_mode(reader.endpoint_mtls(workload), port);
    workload.mesh_tls && mode != MtlsMode::Disable
}

fn workload_label(workload: &Workload) -> String {
    let label = |names: &[&str]| names.iter().find_map(|name| workload.labels.get(*name));
    let service = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(&[
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
    format!(
        "{};{};{};{};",
        workload.name,
        workload.namespace,
        service.unwrap_or(&workload.name),
        revision.map_or("latest", String::as_str),
    )
}

pub(crate) fn assignment(input: &EndpointsInput) -> ClusterLoadAssignment {
    let localities = input.groups.iter().map(|group| {
        let [region, zone, sub_zone] = locality::parts(&group.locality).map(str::to_owned);
        LocalityLbEndpoints {
            locality: Some(core::Locality {
                region,
                zone,
                sub_zone,
            }),
            lb_endpoints: group.endpoints.iter().map(lb_endpoint).collect(),
            load_balancing_weight: u32_value(group.weight),
            priority: group.priority,
            ..Default::default()
        }
    });
    ClusterLoadAssignment {
        cluster_name: input.cluster.clone(),
        endpoints: localities.collect(),
        ..Default::default()
    }
}

fn lb_endpoint(input: &EndpointInput) -> LbEndpoint {
    let mut addresses = input
        .addresses
        .iter()
        .map(|address| match address.strip_prefix("unix://") {
            Some(path) => Some(pipe(path)),
            None => socket_address(address, input.port),
        });
    let endpoint = Endpoint {
        address: addresses.next().flatten(),
        additional_addresses: addresses.map(|address| AdditionalAddress { address }).collect(),
        hostname: input.name.clone(),
        ..Default::default()
    };
    let workload = input.workload.as_ref().map(|label| {
        let label = structure([("workload", string(label))]);
        ("istio".to_owned(), label)
    });
    let mesh_tls = input.mesh_tls.then(|| {
        let mode = structure([("tlsMode", string("istio"))]);
        ("envoy.transport_socket_match".to_owned(), mode)
    });
    let filter_metadata: HashMap<_, _> = workload.into_iter().chain(mesh_tls).collect();
    LbEndpoint {
        health_status: core::HealthStatus::Healthy.into(),
        load_balancing_weight: u32_value(input.weight),
        metadata: (!filter_metadata.is_empty()).then(|| core::Metadata {
            filter_metadata,
            ..Default::default()
        }),
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
    }
}
