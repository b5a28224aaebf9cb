//! `ClusterLoadAssignment`: endpoints by priority and locality.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use super::address::{Internal, Passed, Target};

use super::address::Address;
use super::at::{At, compiling, no_effect, refuse, silent};
use super::metadata::{self, Fields, Told};
use super::pb::{core, endpoint as pb, protobuf};
use super::{Files, Rejection, Warnings, address};
use crate::runtime::{Setting, Share};

/// Where the listener filter of this name looks for addresses.
pub(crate) const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";
pub(crate) const TRANSPORT_SOCKET_MATCH: &str = "envoy.transport_socket_match";
/// What is said of endpoints by this is not kept as it is said.
pub(crate) const UNREAD: [&str; 2] = ["istio", ORIGINAL_DST];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Index is the priority.
    pub priorities: Vec<Vec<Locality>>,
    /// Percent; Envoy's default 140.
    pub overprovisioning: u32,
    /// A priority is as well as its endpoints' weights say, not their number (`weighted_priority_health`).
    pub weighted_health: bool,
    /// Requests that are answered at once, so that endpoints have less to do.
    pub drop: Option<Box<DropOverload>>,
}

/// `ClusterLoadAssignment.Policy.DropOverload`
#[derive(Clone, Debug, PartialEq)]
pub struct DropOverload {
    /// What load reports call it.
    pub category: String,
    /// Of all requests.
    pub share: Share,
    /// Percent: so much at most.
    pub limit: Setting<u32>,
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
    /// Where it is too: tried when the first address does not answer at once.
    pub others: Vec<SocketAddr>,
    pub hostname: String,
    pub weight: u32,
    pub health: Health,
    /// `filter_metadata["envoy.lb"]`: what subsets are made by.
    pub metadata: Fields,
    /// `hash_key` of these: what consistent hashing takes in place of the address.
    pub hash_key: Option<String>,
    /// `filter_metadata["envoy.transport_socket_match"]`
    pub transport_match: Fields,
    /// By other filters' names.
    pub other_metadata: Option<Box<Fields>>,
    /// Of its locality, by filters' names.
    pub locality_metadata: Arc<Fields>,
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
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Assignment, Rejection> {
    compiling(files, warnings, |at| assignment(at, message))
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
    let empty = pb::cluster_load_assignment::Policy::default();
    let policy = policy.as_ref().unwrap_or(&empty);
    let mut compiled = self::policy(&at.field("policy"), policy)?;
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
    compiled.priorities = priorities;
    Ok(compiled)
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

/// An assignment without endpoints.
fn policy(at: &At<'_>, message: &pb::cluster_load_assignment::Policy) -> Result<Assignment, Rejection> {
    let pb::cluster_load_assignment::Policy {
        drop_overloads,
        overprovisioning_factor,
        endpoint_stale_after,
        weighted_priority_health,
    } = message;
    refuse!(at; endpoint_stale_after);
    let overprovisioning = overprovisioning_factor
        .as_ref()
        .map_or(140, |factor| factor.value);
    if overprovisioning == 0 {
        return Err(at.field("overprovisioning_factor").reject("must be more than 0"));
    }
    if drop_overloads.len() > 1 {
        return Err(at
            .field("drop_overloads")
            .reject("there is one category, as in Envoy"));
    }
    let mut drops = at.each("drop_overloads", drop_overloads, drop_overload)?;
    Ok(Assignment {
        priorities: Vec::new(),
        overprovisioning,
        weighted_health: *weighted_priority_health,
        drop: drops.pop().filter(|drop| drop.share.0 > 0).map(Box::new),
    })
}

fn drop_overload(
    at: &At<'_>,
    message: &pb::cluster_load_assignment::policy::DropOverload,
) -> Result<DropOverload, Rejection> {
    let pb::cluster_load_assignment::policy::DropOverload {
        category,
        drop_percentage,
    } = message;
    at.not_empty("category", category)?;
    let share = at.required("drop_percentage", drop_percentage)?;
    Ok(DropOverload {
        category: category.clone(),
        share: Share(at.field("drop_percentage").fraction(share)?),
        limit: at.setting(100, "load_balancing_policy.drop_overload_limit"),
    })
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
    let locality_metadata = Arc::new(metadata::namespaces(metadata.as_ref(), |_| true));
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
            endpoint(at, one, &locality_metadata)
        })?,
    };
    Ok((*priority as usize, compiled))
}

fn endpoint(
    at: &At<'_>,
    message: &pb::LbEndpoint,
    locality_metadata: &Arc<Fields>,
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
    let target = address::target(&at.field("address"), at.required("address", host_address)?)?;
    let others = at.each("additional_addresses", additional_addresses, other)?;
    if !others.is_empty() && !matches!(target, Target::Address(Address::Socket(_))) {
        return Err(at
            .field("additional_addresses")
            .reject("all are IP addresses, or there is one"));
    }
    Ok(Arc::new(Endpoint {
        address: passing(target, metadata),
        others,
        hostname: hostname.clone(),
        weight,
        health,
        hash_key: strings(metadata, "envoy.lb").remove("hash_key"),
        metadata: metadata::of(metadata.as_ref(), "envoy.lb"),
        transport_match: metadata::of(metadata.as_ref(), TRANSPORT_SOCKET_MATCH),
        other_metadata: Some(metadata::namespaces(metadata.as_ref(), is_other))
            .filter(|other| !other.is_empty())
            .map(Box::new),
        locality_metadata: Arc::clone(locality_metadata),
        workload: workload(metadata),
        told: Told::new(metadata.as_ref()),
        check: match health_check_config {
            None => None,
            Some(config) => check(&at.field("health_check_config"), config)?,
        },
    }))
}

fn other(at: &At<'_>, message: &pb::endpoint::AdditionalAddress) -> Result<SocketAddr, Rejection> {
    let pb::endpoint::AdditionalAddress { address } = message;
    let at_address = at.field("address");
    match address::address(&at_address, at.required("address", address)?)? {
        Address::Socket(address) => Ok(address),
        Address::Pipe(_) | Address::Internal(_) => Err(at_address.reject("only IP addresses are supported")),
    }
}

fn is_other(filter: &str) -> bool {
    filter != "envoy.lb" && filter != TRANSPORT_SOCKET_MATCH && !UNREAD.contains(&filter)
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
