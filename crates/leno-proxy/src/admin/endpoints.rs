//! The endpoints in a config dump: as they are in force, wherever they came from.

use std::net::SocketAddr;
use std::sync::Arc;

use leno_engine::compile::address::{Address, Pipe};
use leno_engine::compile::endpoint::{Assignment, Endpoint, Health, Locality, Target};
use leno_proto::ToAny;
use leno_proto::envoy::admin::v3 as admin;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::endpoint::v3 as pb;
use leno_proto::envoy::r#type::v3::FractionalPercent;
use leno_proto::envoy::r#type::v3::fractional_percent::DenominatorType;
use leno_proto::google::protobuf::UInt32Value;
use regex::Regex;

use crate::state::{ClusterState, Config};

/// By name, those that match.
pub(super) fn sorted<'c>(config: &'c Config, filter: Option<&Regex>) -> Vec<&'c Arc<ClusterState>> {
    let clusters = config.clusters();
    let mut clusters: Vec<_> = clusters
        .filter(|state| filter.is_none_or(|filter| filter.is_match(&state.cluster.name)))
        .collect();
    clusters.sort_by(|a, b| a.cluster.name.cmp(&b.cluster.name));
    clusters
}

/// `dynamic`: which clusters have come from elsewhere.
pub(super) fn dump(
    config: &Config,
    shown: impl Fn(&str) -> bool,
    dynamic: impl Fn(&str) -> bool,
) -> admin::EndpointsConfigDump {
    use admin::endpoints_config_dump::{DynamicEndpointConfig, StaticEndpointConfig};
    let mut dump = admin::EndpointsConfigDump::default();
    let clusters = sorted(config, None).into_iter();
    for state in clusters.filter(|state| shown(&state.cluster.name)) {
        let endpoint_config = Some(assignment(state).to_any());
        match dynamic(&state.cluster.name) {
            true => dump.dynamic_endpoint_configs.push(DynamicEndpointConfig {
                endpoint_config,
                ..Default::default()
            }),
            false => dump.static_endpoint_configs.push(StaticEndpointConfig {
                endpoint_config,
                last_updated: None,
            }),
        }
    }
    dump
}

fn assignment(state: &ClusterState) -> pb::ClusterLoadAssignment {
    let assignment = state.assignment.as_deref();
    let levels = assignment.map_or(&[][..], |assignment| assignment.priorities.as_slice());
    let localities = levels
        .iter()
        .enumerate()
        .flat_map(|(priority, localities)| localities.iter().map(move |locality| (priority, locality)));
    pb::ClusterLoadAssignment {
        cluster_name: state.cluster.name.clone(),
        endpoints: localities
            .map(|(priority, locality)| group(priority, locality))
            .collect(),
        policy: Some(pb::cluster_load_assignment::Policy {
            drop_overloads: assignment.and_then(dropped).into_iter().collect(),
            overprovisioning_factor: number(assignment.map_or(140, |assignment| assignment.overprovisioning)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn dropped(assignment: &Assignment) -> Option<pb::cluster_load_assignment::policy::DropOverload> {
    let drop = assignment.drop.as_ref()?;
    Some(pb::cluster_load_assignment::policy::DropOverload {
        category: drop.category.clone(),
        drop_percentage: Some(FractionalPercent {
            numerator: drop.share.0,
            denominator: DenominatorType::Million.into(),
        }),
    })
}

fn group(priority: usize, locality: &Locality) -> pb::LocalityLbEndpoints {
    pb::LocalityLbEndpoints {
        locality: Some(core::Locality::default()),
        lb_endpoints: locality.endpoints.iter().map(|one| endpoint(one)).collect(),
        load_balancing_weight: number(locality.weight),
        priority: u32::try_from(priority).unwrap_or(u32::MAX),
        ..Default::default()
    }
}

fn endpoint(endpoint: &Endpoint) -> pb::LbEndpoint {
    pb::LbEndpoint {
        host_identifier: Some(pb::lb_endpoint::HostIdentifier::Endpoint(pb::Endpoint {
            address: Some(address(&endpoint.address)),
            health_check_config: Some(pb::endpoint::HealthCheckConfig::default()),
            hostname: endpoint.hostname.clone(),
            additional_addresses: endpoint.others.iter().map(|one| other(*one)).collect(),
            ..Default::default()
        })),
        health_status: health(endpoint.health).into(),
        load_balancing_weight: number(endpoint.weight),
        ..Default::default()
    }
}

fn other(address: SocketAddr) -> pb::endpoint::AdditionalAddress {
    pb::endpoint::AdditionalAddress {
        address: Some(socket(address)),
    }
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(super) fn health(health: Health) -> core::HealthStatus {
    match health {
        Health::Unknown | Health::Healthy => core::HealthStatus::Healthy,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Degraded => core::HealthStatus::Degraded,
    }
}

pub(crate) fn address(target: &Target) -> core::Address {
    use core::address::Address as Kind;
    let kind = match target {
        Target::Address(Address::Socket(address)) => return socket(*address),
        Target::Address(Address::Pipe(Pipe { path, mode })) => Kind::Pipe(core::Pipe {
            path: path.to_string_lossy().into_owned(),
            mode: *mode,
        }),
        Target::Address(Address::Internal(internal)) => {
            Kind::EnvoyInternalAddress(core::EnvoyInternalAddress {
                endpoint_id: internal.id.clone(),
                address_name_specifier: Some(
                    core::envoy_internal_address::AddressNameSpecifier::ServerListenerName(
                        internal.listener.clone(),
                    ),
                ),
            })
        }
        Target::Name { host, port } => Kind::SocketAddress(core::SocketAddress {
            address: host.clone(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue((*port).into())),
            ..Default::default()
        }),
    };
    core::Address { address: Some(kind) }
}

fn socket(address: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            address.port().into(),
        )),
        ..Default::default()
    };
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}
