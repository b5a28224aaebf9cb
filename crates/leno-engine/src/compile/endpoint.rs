//! `ClusterLoadAssignment`: endpoints by priority and locality.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use super::address::{Internal, Passed, Target};

use super::address::Address;
use super::at::{At, compiling, no_effect, refuse, silent};
use super::metadata::{self, Fields, Told};
use super::pb::{core, endpoint as pb, protobuf};
use super::{NoFiles, Rejection, Warnings, address};

/// Where the listener filter of this name looks for addresses.
pub(crate) const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";
const TRANSPORT_SOCKET_MATCH: &str = "envoy.transport_socket_match";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Index is the priority.
    pub priorities: Vec<Vec<Locality>>,
    /// Percent; Envoy's default 140.
    pub overprovisioning: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Locality {
    pub name: LocalityName,
    pub weight: u32,
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// `core.v3.Locality`
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalityName {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: Target,
    pub hostname: String,
    pub weight: u32,
    pub health: Health,
    /// `filter_metadata["envoy.lb"]`: what subsets are made by.
    pub metadata: Fields,
    /// `hash_key` of these: what consistent hashing takes in place of the address.
    pub hash_key: Option<String>,
    /// `filter_metadata["envoy.transport_socket_match"]`
    pub transport_match: Fields,
    /// The same of its locality.
    pub locality_transport_match: Arc<Fields>,
    /// `filter_metadata["istio"].workload`, parsed.
    pub workload: Option<WorkloadLabel>,
    /// For logs.
    pub told: Option<Told>,
    /// None: it is checked as its cluster says.
    pub check: Option<Box<EndpointCheck>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Unknown,
    Healthy,
    Unhealthy,
    Draining,
    Degraded,
}

/// `health_check_config` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCheck {
    /// It is not asked, and taken for healthy.
    pub disabled: bool,
    /// Where it is asked, if elsewhere.
    pub address: Option<SocketAddr>,
    pub port: Option<u16>,
    pub hostname: String,
}

/// Istio's `name;namespace;canonical-service;canonical-revision;cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadLabel {
    pub name: String,
    pub namespace: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub cluster: String,
}

/// Compiles an assignment; empty priorities between others are kept empty.
pub fn compile(
    message: &pb::ClusterLoadAssignment,
    warnings: &mut Warnings,
) -> Result<Assignment, Rejection> {
    compiling(&NoFiles, warnings, |at| assignment(at, message))
}

pub(crate) fn assignment(at: &At<'_>, message: &pb::ClusterLoadAssignment) -> Result<Assignment, Rejection> {
    let pb::ClusterLoadAssignment {
        cluster_name,
        endpoints,
        named_endpoints,
        policy,
    } = message;
    silent!("an assignment is known by where it stands, or by its resource name"; cluster_name);
    refuse!(at; named_endpoints);
    let overprovisioning = match policy {
        None => 140,
        Some(policy) => overprovisioning(&at.field("policy"), policy)?,
    };
    let mut priorities: Vec<Vec<Locality>> = Vec::new();
    for (i, group) in endpoints.iter().enumerate() {
        let at = at.item("endpoints", i);
        let (priority, locality) = locality(&at, group)?;
        if priorities.len() <= priority {
            priorities.resize_with(priority + 1, Vec::new);
        }
        if let Some(level) = priorities.get_mut(priority) {
            level.push(locality);
        }
    }
    Ok(Assignment {
        priorities,
        overprovisioning,
    })
}

pub(super) fn locality_name(message: Option<&core::Locality>) -> LocalityName {
    let Some(core::Locality {
        region,
        zone,
        sub_zone,
    }) = message
    else {
        return LocalityName::default();
    };
    LocalityName {
        region: region.clone(),
        zone: zone.clone(),
        sub_zone: sub_zone.clone(),
    }
}

fn overprovisioning(at: &At<'_>, message: &pb::cluster_load_assignment::Policy) -> Result<u32, Rejection> {
    let pb::cluster_load_assignment::Policy {
        drop_overloads,
        overprovisioning_factor,
        endpoint_stale_after,
        weighted_priority_health,
    } = message;
    refuse!(at; drop_overloads, endpoint_stale_after, weighted_priority_health);
    match overprovisioning_factor {
        None => Ok(140),
        Some(factor) if factor.value == 0 => {
            Err(at.field("overprovisioning_factor").reject("must be more than 0"))
        }
        Some(factor) => Ok(factor.value),
    }
}

fn locality(at: &At<'_>, message: &pb::LocalityLbEndpoints) -> Result<(usize, Locality), Rejection> {
    let pb::LocalityLbEndpoints {
        locality,
        metadata,
        lb_endpoints,
        load_balancing_weight,
        priority,
        proximity,
        lb_config,
    } = message;
    no_effect!(at, "not used"; proximity);
    refuse!(at; lb_config);
    let transport_match = Arc::new(metadata::of(metadata.as_ref(), TRANSPORT_SOCKET_MATCH));
    if *priority > 128 {
        return Err(at
            .field("priority")
            .reject(format!("at most 128, not {priority}")));
    }
    let compiled = Locality {
        name: locality_name(locality.as_ref()),
        // Without a weight a locality gets nothing where localities are weighted: as in Envoy.
        weight: load_balancing_weight.as_ref().map_or(0, |weight| weight.value),
        endpoints: at.each("lb_endpoints", lb_endpoints, |at, one| {
            endpoint(at, one, &transport_match)
        })?,
    };
    Ok((*priority as usize, compiled))
}

fn endpoint(
    at: &At<'_>,
    message: &pb::LbEndpoint,
    locality_transport_match: &Arc<Fields>,
) -> Result<Arc<Endpoint>, Rejection> {
    use pb::lb_endpoint::HostIdentifier;
    let pb::LbEndpoint {
        health_status,
        metadata,
        load_balancing_weight,
        host_identifier,
    } = message;
    let host = match at.required("host_identifier", host_identifier)? {
        HostIdentifier::Endpoint(host) => host,
        HostIdentifier::EndpointName(_) => return Err(at.field("endpoint_name").reject("not supported")),
    };
    let weight = load_balancing_weight.as_ref().map_or(1, |weight| weight.value);
    if weight == 0 {
        return Err(at.field("load_balancing_weight").reject("must be more than 0"));
    }
    let health = health(at, "health_status", *health_status)?;
    told_apart(at, metadata.as_ref())?;
    let at = at.field("endpoint");
    let pb::Endpoint {
        address: host_address,
        health_check_config,
        hostname,
        additional_addresses,
        observability_name,
    } = host;
    no_effect!(at, "not used"; observability_name);
    no_effect!(at, "only the first address is tried"; additional_addresses);
    Ok(Arc::new(Endpoint {
        address: passing(
            address::target(&at.field("address"), at.required("address", host_address)?)?,
            metadata,
        ),
        hostname: hostname.clone(),
        weight,
        health,
        hash_key: strings(metadata, "envoy.lb").remove("hash_key"),
        metadata: metadata::of(metadata.as_ref(), "envoy.lb"),
        transport_match: metadata::of(metadata.as_ref(), TRANSPORT_SOCKET_MATCH),
        locality_transport_match: Arc::clone(locality_transport_match),
        workload: workload(metadata),
        told: Told::new(metadata.as_ref()),
        check: match health_check_config {
            None => None,
            Some(config) => check(&at.field("health_check_config"), config)?,
        },
    }))
}

fn check(
    at: &At<'_>,
    message: &pb::endpoint::HealthCheckConfig,
) -> Result<Option<Box<EndpointCheck>>, Rejection> {
    let pb::endpoint::HealthCheckConfig {
        port_value,
        hostname,
        address,
        disable_active_health_check,
    } = message;
    let check = EndpointCheck {
        disabled: *disable_active_health_check,
        address: match address {
            None => None,
            Some(address) => match address::address(&at.field("address"), address)? {
                Address::Socket(address) => Some(address),
                Address::Pipe(_) | Address::Internal(_) => {
                    return Err(at.field("address").reject("only sockets are supported"));
                }
            },
        },
        port: Some(at.port("port_value", *port_value)?).filter(|port| *port > 0),
        hostname: hostname.clone(),
    };
    Ok((check != EndpointCheck::default()).then(|| Box::new(check)))
}

/// An endpoint of a listener of the proxy's own says what its connections are to be taken for.
fn passing(target: Target, metadata: &Option<core::Metadata>) -> Target {
    let Target::Address(Address::Internal(internal)) = target else {
        return target;
    };
    let mut said = strings(metadata, ORIGINAL_DST);
    let mut address = |name| said.remove(name).and_then(|text| text.parse().ok());
    Target::Address(Address::Internal(Arc::new(Internal {
        passed: Passed {
            local: address("local"),
            remote: address("remote"),
        },
        ..Internal::clone(&internal)
    })))
}

pub(super) fn health(at: &At<'_>, field: &'static str, status: i32) -> Result<Health, Rejection> {
    Ok(match at.choice(field, status)? {
        core::HealthStatus::Unknown => Health::Unknown,
        core::HealthStatus::Healthy => Health::Healthy,
        core::HealthStatus::Unhealthy | core::HealthStatus::Timeout => Health::Unhealthy,
        core::HealthStatus::Draining => Health::Draining,
        core::HealthStatus::Degraded => Health::Degraded,
    })
}

/// Extensions of the PROXY protocol for one endpoint only.
fn told_apart(at: &At<'_>, metadata: Option<&core::Metadata>) -> Result<(), Rejection> {
    let filter = "envoy.transport_sockets.proxy_protocol";
    match metadata.is_some_and(|metadata| metadata.typed_filter_metadata.contains_key(filter)) {
        true => Err(at
            .field("metadata")
            .entry("typed_filter_metadata", filter)
            .reject("not supported: use added_tlvs of the transport socket")),
        false => Ok(()),
    }
}

/// The string fields of one filter's metadata.
fn strings(metadata: &Option<core::Metadata>, filter: &str) -> BTreeMap<String, String> {
    let fields = metadata
        .iter()
        .filter_map(|metadata| metadata.filter_metadata.get(filter));
    let fields = fields.flat_map(|filter| &filter.fields);
    fields
        .filter_map(|(name, value)| match &value.kind {
            Some(protobuf::value::Kind::StringValue(text)) => Some((name.clone(), text.clone())),
            _ => None,
        })
        .collect()
}

fn workload(metadata: &Option<core::Metadata>) -> Option<WorkloadLabel> {
    let label = strings(metadata, "istio").remove("workload")?;
    let mut parts = label.split(';').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Some(WorkloadLabel {
        name: next(),
        namespace: next(),
        canonical_service: next(),
        canonical_revision: next(),
        cluster: next(),
    })
}
