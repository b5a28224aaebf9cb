//! `/clusters`: each with its circuit breakers and hosts.

use std::fmt::Write;
use std::sync::Arc;

use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::endpoint::{Endpoint, Health};
use leno_engine::decide::health::Flags;
use leno_engine::decide::limits::{Priority, Resource};
use leno_proto::envoy::admin::v3::{ClusterStatus, Clusters, HostHealthStatus, HostStatus};
use leno_proto::envoy::config::cluster::v3::{CircuitBreakers, circuit_breakers::Thresholds};
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::google::protobuf::UInt32Value;
use regex::Regex;

use super::endpoints::{address, health, sorted};
use crate::state::{ClusterState, Config};

const PRIORITIES: [(Priority, &str, core::RoutingPriority); 2] = [
    (
        Priority::Default,
        "default_priority",
        core::RoutingPriority::Default,
    ),
    (Priority::High, "high_priority", core::RoutingPriority::High),
];

const LIMITS: [(Resource, &str); 4] = [
    (Resource::Connection, "max_connections"),
    (Resource::PendingRequest, "max_pending_requests"),
    (Resource::Request, "max_requests"),
    (Resource::Retry, "max_retries"),
];

/// With their priorities.
fn hosts(state: &ClusterState) -> impl Iterator<Item = (usize, &Arc<Endpoint>)> {
    let levels = state
        .assignment
        .iter()
        .flat_map(|a| a.priorities.iter().enumerate());
    levels.flat_map(|(priority, localities)| {
        let endpoints = localities.iter().flat_map(|locality| &locality.endpoints);
        endpoints.map(move |endpoint| (priority, endpoint))
    })
}

pub(super) fn text(config: &Config, filter: Option<&Regex>) -> String {
    let mut out = String::new();
    for state in sorted(config, filter) {
        // Writing to a string does not fail.
        let _ = cluster_text(state, &mut out);
    }
    out
}

fn cluster_text(state: &ClusterState, out: &mut String) -> std::fmt::Result {
    let name = &state.cluster.name;
    writeln!(out, "{name}::observability_name::{}", state.cluster.stat_name)?;
    for (priority, label, _) in PRIORITIES {
        for (resource, limit) in LIMITS {
            writeln!(
                out,
                "{name}::{label}::{limit}::{}",
                state.limits.limit(resource, priority)
            )?;
        }
    }
    writeln!(out, "{name}::added_via_api::false")?;
    for (priority, host) in hosts(state) {
        let address = &host.address;
        writeln!(out, "{name}::{address}::hostname::{}", host.hostname)?;
        let flags = flags(host.health, state.flags(host));
        writeln!(out, "{name}::{address}::health_flags::{flags}")?;
        writeln!(out, "{name}::{address}::weight::{}", host.weight)?;
        writeln!(out, "{name}::{address}::priority::{priority}")?;
    }
    Ok(())
}

/// Envoy's words, in its order.
fn flags(health: Health, flags: Flags) -> String {
    let said = |wanted: Health| health == wanted;
    let all = [
        (flags.has(Flags::FAILED_CHECK), "/failed_active_hc"),
        (flags.has(Flags::EJECTED), "/failed_outlier_check"),
        (said(Health::Unhealthy), "/failed_eds_health"),
        (flags.has(Flags::DEGRADED_CHECK), "/degraded_active_hc"),
        (said(Health::Degraded), "/degraded_eds_health"),
        (flags.has(Flags::LEAVING), "/pending_dynamic_removal"),
        (flags.has(Flags::UNCHECKED), "/pending_active_hc"),
        (flags.has(Flags::EXCLUDED), "/excluded_via_immediate_hc_fail"),
        (flags.has(Flags::TIMED_OUT), "/active_hc_timeout"),
        (said(Health::Draining), "/eds_status_draining"),
    ];
    let set: String = all
        .into_iter()
        .filter_map(|(is_set, word)| is_set.then_some(word))
        .collect();
    match set.is_empty() {
        true => "healthy".to_owned(),
        false => set,
    }
}

pub(super) fn message(config: &Config, filter: Option<&Regex>) -> Clusters {
    Clusters {
        cluster_statuses: sorted(config, filter)
            .into_iter()
            .map(|state| status(state))
            .collect(),
    }
}

fn status(state: &ClusterState) -> ClusterStatus {
    ClusterStatus {
        name: state.cluster.name.clone(),
        host_statuses: hosts(state)
            .map(|(priority, host)| host_status(priority, host, state.flags(host)))
            .collect(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: PRIORITIES
                .map(|(priority, _, name)| thresholds(state, priority, name))
                .into(),
            ..Default::default()
        }),
        observability_name: state.cluster.stat_name.clone(),
        eds_service_name: match &state.cluster.discovery {
            Discovery::Eds(service, _) if *service != state.cluster.name => service.clone(),
            _ => String::new(),
        },
        ..Default::default()
    }
}

fn thresholds(state: &ClusterState, priority: Priority, name: core::RoutingPriority) -> Thresholds {
    let limit = |resource| {
        Some(UInt32Value {
            value: state.limits.limit(resource, priority),
        })
    };
    Thresholds {
        priority: name.into(),
        max_connections: limit(Resource::Connection),
        max_pending_requests: limit(Resource::PendingRequest),
        max_requests: limit(Resource::Request),
        max_retries: limit(Resource::Retry),
        ..Default::default()
    }
}

fn host_status(priority: usize, host: &Endpoint, flags: Flags) -> HostStatus {
    HostStatus {
        address: Some(address(&host.address)),
        health_status: Some(HostHealthStatus {
            eds_health_status: health(host.health).into(),
            failed_active_health_check: flags.has(Flags::FAILED_CHECK),
            failed_outlier_check: flags.has(Flags::EJECTED),
            failed_active_degraded_check: flags.has(Flags::DEGRADED_CHECK),
            pending_dynamic_removal: flags.has(Flags::LEAVING),
            pending_active_hc: flags.has(Flags::UNCHECKED),
            excluded_via_immediate_hc_fail: flags.has(Flags::EXCLUDED),
            active_hc_timeout: flags.has(Flags::TIMED_OUT),
            ..Default::default()
        }),
        weight: host.weight,
        hostname: host.hostname.clone(),
        priority: u32::try_from(priority).unwrap_or(u32::MAX),
        locality: Some(core::Locality::default()),
        ..Default::default()
    }
}
