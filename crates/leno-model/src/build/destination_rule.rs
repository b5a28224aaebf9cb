//! DestinationRule: how a host is called, and its subsets.
//!
//! Precedence and merging as in Istio: what a subset says replaces what the host says, whole section by section;
//! settings of a port stand for themselves and inherit nothing. Several rules for one host in one namespace that are
//! exported to the same are parts of one rule: subsets add up, the first traffic policy holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use leno_api::kinds::destination_rule::{
    self as api, DestinationRuleSpec, H2Upgrade, PortPolicy, SimpleBalancer, TlsMode as ApiTlsMode,
};
use leno_api::{Code, Object, Severity, Spec};

use super::{Context, count, of_kind, origin, port};
use crate::name::Host;
use crate::policy::{
    ConnectionPool, HostPolicies, LoadBalancer, LocalityLb, OutlierDetection, ServicePolicy, Subset, TlsMode,
    TrafficPolicy,
};
use crate::visibility::Exported;

pub(crate) fn policies(
    context: &mut Context<'_>,
    objects: &[&Arc<Object>],
    root: &str,
) -> HashMap<Host, Arc<HostPolicies>> {
    let specs = of_kind(objects, |spec| match spec {
        Spec::DestinationRule(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut by_host: BTreeMap<Host, Vec<(&Object, &DestinationRuleSpec)>> = BTreeMap::new();
    for (object, spec) in specs {
        let host = context.resolve(&spec.host, &object.key.namespace);
        if !context.services.contains_key(&host) {
            let message = format!("the host {host} is not in the mesh");
            let hint = context.nearest_host(&host);
            context.report(
                object,
                (Code::HostNotFound, Severity::Warning),
                "spec.host",
                message,
                hint,
            );
        }
        by_host.entry(host).or_default().push((object, spec));
    }
    let mut policies = HashMap::new();
    for (host, rules) in by_host {
        let home = context
            .services
            .get(&host)
            .map(|service| service.namespace.clone());
        // Parts of one rule are of one namespace, and for the same callers.
        let mut parts: BTreeMap<(&str, Exported), Vec<(&Object, &DestinationRuleSpec)>> = BTreeMap::new();
        for (object, spec) in rules {
            let own = &object.key.namespace;
            let exported = Exported::read(&spec.export_to, own, &context.exports.destination_rules);
            parts.entry((own, exported)).or_default().push((object, spec));
        }
        let mut merged: Vec<ServicePolicy> = Vec::new();
        for ((_, exported), rules) in parts {
            merged.push(merge_rules(context, &host, exported, &rules));
        }
        merged.sort_by(|one, other| one.origin.name.cmp(&other.origin.name));
        let all = HostPolicies {
            home,
            root: root.into(),
            rules: merged,
        };
        policies.insert(host, Arc::new(all));
    }
    policies
}

fn merge_rules(
    context: &mut Context<'_>,
    host: &Host,
    exported: Exported,
    rules: &[(&Object, &DestinationRuleSpec)],
) -> ServicePolicy {
    let (first, base) = rules[0];
    let none = api::TrafficPolicy::default();
    let policy = rules
        .iter()
        .map(|(_, spec)| &spec.traffic_policy)
        .find(|policy| **policy != none);
    let policy = policy.unwrap_or(&base.traffic_policy);
    let mut subsets: Vec<Subset> = Vec::new();
    for (object, spec) in rules {
        let conflict = |context: &mut Context<'_>, path: &str, what: &str| {
            let message = format!("{what} for {host} is already said by {}, which holds", first.key);
            context.report(
                object,
                (Code::PolicyConflict, Severity::Warning),
                path,
                message,
                "keep one of them",
            );
        };
        if spec.traffic_policy != none && !std::ptr::eq(&spec.traffic_policy, policy) {
            conflict(context, "spec.trafficPolicy", "the traffic policy");
        }
        for (i, subset) in spec.subsets.iter().enumerate() {
            if subsets.iter().any(|known| known.name == subset.name) {
                conflict(
                    context,
                    &format!("spec.subsets[{i}].name"),
                    &format!("the subset {}", subset.name),
                );
                continue;
            }
            let merged = match &subset.traffic_policy {
                Some(over) => overlay(policy, over),
                None => policy.clone(),
            };
            subsets.push(Subset {
                name: subset.name.clone(),
                labels: subset.labels.clone(),
                policy: traffic_policy(&merged),
            });
        }
    }
    ServicePolicy {
        origin: origin(first),
        host: host.clone(),
        exported,
        policy: traffic_policy(policy),
        subsets,
    }
}

/// A subset's policy over its host's.
fn overlay(base: &api::TrafficPolicy, over: &api::TrafficPolicy) -> api::TrafficPolicy {
    let mut merged = base.clone();
    merged.load_balancer = over.load_balancer.clone().or(merged.load_balancer);
    merged.connection_pool = over.connection_pool.clone().or(merged.connection_pool);
    merged.outlier_detection = over.outlier_detection.clone().or(merged.outlier_detection);
    merged.tls = over.tls.clone().or(merged.tls);
    for setting in &mut merged.port_level_settings {
        setting.load_balancer = over.load_balancer.clone().or(setting.load_balancer.take());
        setting.connection_pool = over.connection_pool.clone().or(setting.connection_pool.take());
        setting.outlier_detection = over
            .outlier_detection
            .clone()
            .or(setting.outlier_detection.take());
        setting.tls = over.tls.clone().or(setting.tls.take());
    }
    let replaced = |setting: &PortPolicy| {
        over.port_level_settings
            .iter()
            .any(|own| own.port == setting.port)
    };
    merged.port_level_settings.retain(|setting| !replaced(setting));
    merged
        .port_level_settings
        .extend(over.port_level_settings.iter().cloned());
    merged
}

fn traffic_policy(spec: &api::TrafficPolicy) -> TrafficPolicy {
    let ports = spec.port_level_settings.iter().filter_map(|setting| {
        let policy = TrafficPolicy {
            balancer: setting.load_balancer.as_ref().and_then(balancer),
            locality: setting.load_balancer.as_ref().and_then(locality),
            pool: setting.connection_pool.as_ref().map(pool).unwrap_or_default(),
            outlier: setting.outlier_detection.as_ref().map(outlier),
            tls: setting.tls.as_ref().and_then(tls),
            ports: Vec::new(),
        };
        Some((port(setting.port?.number)?, policy))
    });
    TrafficPolicy {
        balancer: spec.load_balancer.as_ref().and_then(balancer),
        locality: spec.load_balancer.as_ref().and_then(locality),
        pool: spec.connection_pool.as_ref().map(pool).unwrap_or_default(),
        outlier: spec.outlier_detection.as_ref().map(outlier),
        tls: spec.tls.as_ref().and_then(tls),
        ports: ports.collect(),
    }
}

fn balancer(spec: &api::LoadBalancer) -> Option<LoadBalancer> {
    if let Some(hash) = &spec.consistent_hash {
        return match (
            &hash.http_header_name,
            &hash.http_cookie,
            &hash.http_query_parameter_name,
        ) {
            (Some(name), ..) => Some(LoadBalancer::HashHeader(name.clone())),
            (_, Some(cookie), _) => Some(LoadBalancer::HashCookie {
                name: cookie.name.clone(),
                path: cookie.path.clone(),
                ttl: cookie.ttl.map_or(Duration::ZERO, |ttl| ttl.0),
            }),
            (_, _, Some(name)) => Some(LoadBalancer::HashQuery(name.clone())),
            _ => Some(LoadBalancer::HashSourceIp),
        };
    }
    match spec.simple? {
        SimpleBalancer::Unspecified => None,
        SimpleBalancer::Random => Some(LoadBalancer::Random),
        SimpleBalancer::Passthrough => Some(LoadBalancer::Passthrough),
        SimpleBalancer::RoundRobin => Some(LoadBalancer::RoundRobin),
        SimpleBalancer::LeastRequest | SimpleBalancer::LeastConn => Some(LoadBalancer::LeastRequest),
    }
}

fn locality(spec: &api::LoadBalancer) -> Option<LocalityLb> {
    let setting = spec.locality_lb_setting.as_ref()?;
    Some(LocalityLb {
        enabled: setting.enabled.unwrap_or(true),
    })
}

/// Zero means "no limit of its own" in Istio.
fn pool(spec: &api::ConnectionPool) -> ConnectionPool {
    let limit = |number: Option<i64>| number.filter(|number| *number > 0).map(count);
    ConnectionPool {
        max_connections: limit(spec.tcp.max_connections),
        connect_timeout: spec.tcp.connect_timeout.map(|span| span.0),
        http1_max_pending: limit(spec.http.http1_max_pending_requests),
        http2_max_requests: limit(spec.http.http2_max_requests),
        max_requests_per_connection: limit(spec.http.max_requests_per_connection),
        max_retries: limit(spec.http.max_retries),
        idle_timeout: spec.http.idle_timeout.map(|span| span.0),
        http2_upgrade: match spec.http.h2_upgrade_policy {
            Some(H2Upgrade::Upgrade) => Some(true),
            Some(H2Upgrade::DoNotUpgrade) => Some(false),
            Some(H2Upgrade::Default) | None => None,
        },
    }
}

fn outlier(spec: &api::OutlierDetection) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: spec.consecutive_5xx_errors.or(spec.consecutive_errors).map(count),
        consecutive_gateway_errors: spec.consecutive_gateway_errors.map(count),
        interval: spec.interval.map(|span| span.0),
        base_ejection_time: spec.base_ejection_time.map(|span| span.0),
        max_ejection_percent: spec.max_ejection_percent.map(count),
        min_health_percent: spec.min_health_percent.map(count),
    }
}

fn tls(spec: &api::Tls) -> Option<TlsMode> {
    match spec.mode {
        ApiTlsMode::Disable => Some(TlsMode::Disable),
        ApiTlsMode::IstioMutual => Some(TlsMode::IstioMutual),
        ApiTlsMode::Simple => Some(TlsMode::Simple {
            sni: spec.sni.clone(),
        }),
        // Refused by validation.
        ApiTlsMode::Mutual => None,
    }
}
