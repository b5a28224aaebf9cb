//! Forwarding: to which clusters, how long, how often, and what else goes along.

use std::time::Duration;

use leno_model::Origin;
use leno_model::policy::LoadBalancer;
use leno_model::route::{PathMatch, Retries};
use leno_proto::ToAny;

use super::answer::respond;
use super::header::edits;
use super::rewrite::{self, Rewritten};
use super::{Rule, Target};
use crate::naming::{invalid_cluster, outbound_cluster};
use crate::parts::{duration, per_million, u32_value};
use crate::pb::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use crate::pb::route::route::Action;
use crate::pb::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use crate::pb::route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy, HostRewriteSpecifier, RequestMirrorPolicy,
};
use crate::pb::route::weighted_cluster::{ClusterWeight, cluster_weight};
use crate::pb::route::{RetryPolicy, RouteAction, WeightedCluster};
use crate::pb::{core, previous_hosts, previous_priorities};

/// Everything to one cluster, without a limit in time.
pub(super) fn straight(cluster: &str) -> Action {
    Action::Route(RouteAction {
        timeout: duration(Duration::ZERO),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    })
}

pub(super) fn forward(rule: &Rule, matched: Option<&PathMatch>, made_by: Option<&Origin>) -> Action {
    let weighted: Vec<&Target> = rule.targets.iter().filter(|t| t.backend.weight > 0).collect();
    let not_found = not_found(made_by);
    if weighted.iter().all(|target| target.backend.invalid) {
        return respond(not_found.1, None);
    }
    let said = &rule.said;
    let (prefix_rewrite, regex_rewrite) = match said.rewrite.as_ref().and_then(|r| r.path.as_ref()) {
        None => (String::new(), None),
        Some(path) => match rewrite::path(path, matched) {
            Rewritten::Prefix(prefix) => (prefix, None),
            Rewritten::Regex(regex) => (String::new(), Some(regex)),
        },
    };
    let mut action = RouteAction {
        prefix_rewrite,
        regex_rewrite,
        timeout: duration(said.timeout.unwrap_or_default()),
        retry_policy: retry(said.retries.as_ref()),
        request_mirror_policies: mirrors(rule),
        hash_policy: weighted
            .iter()
            .filter_map(|target| hash(target.hash.as_ref()?))
            .collect(),
        cluster_not_found_response_code: not_found.0.into(),
        ..Default::default()
    };
    let rewritten = said
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.authority.clone());
    let authority = rewritten.or_else(|| edits(&said.request_headers).authority);
    if let [only] = weighted.as_slice()
        && only.backend.request_headers == Default::default()
        && only.backend.response_headers == Default::default()
    {
        action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster(only)));
    } else {
        let clusters = weighted.iter().map(|target| cluster_weight(target));
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters.collect(),
            ..Default::default()
        }));
    }
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
    Action::Route(action)
}

pub(super) fn cluster(target: &Target) -> String {
    let (host, subset) = (&target.backend.host, target.backend.subset.as_deref());
    if target.backend.invalid {
        invalid_cluster(target.port, subset, host)
    } else {
        outbound_cluster(target.port, subset, host)
    }
}

fn cluster_weight(target: &Target) -> ClusterWeight {
    let request = edits(&target.backend.request_headers);
    let response = edits(&target.backend.response_headers);
    ClusterWeight {
        name: cluster(target),
        weight: u32_value(target.backend.weight),
        request_headers_to_add: request.add,
        request_headers_to_remove: request.remove,
        response_headers_to_add: response.add,
        response_headers_to_remove: response.remove,
        host_rewrite_specifier: request
            .authority
            .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    }
}

/// Of a backend that is not there the Gateway API says 500, Istio 503.
fn not_found(made_by: Option<&Origin>) -> (ClusterNotFoundResponseCode, u16) {
    match made_by.map(|origin| &*origin.kind) {
        Some("HTTPRoute" | "GRPCRoute") => (ClusterNotFoundResponseCode::InternalServerError, 500),
        _ => (ClusterNotFoundResponseCode::ServiceUnavailable, 503),
    }
}

/// Istio retries twice what is safe to: the server has not begun, or says so.
const DEFAULT_RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const DEFAULT_ATTEMPTS: u32 = 2;
const UNAVAILABLE: u32 = 503;

/// None said: Istio's default. No attempts: no retries, and a policy only where a single try is limited.
fn retry(said: Option<&Retries>) -> Option<RetryPolicy> {
    let attempts = said.map_or(DEFAULT_ATTEMPTS, |said| said.attempts);
    if attempts == 0 {
        let per_try_timeout = said.and_then(|said| said.per_try_timeout).and_then(duration);
        return per_try_timeout.map(|limit| RetryPolicy {
            num_retries: u32_value(0),
            per_try_timeout: Some(limit),
            ..Default::default()
        });
    }
    let (retry_on, retriable_status_codes) = conditions(said.map_or("", |said| said.on.as_str()));
    Some(RetryPolicy {
        retry_on,
        num_retries: u32_value(attempts),
        retriable_status_codes,
        per_try_timeout: said.and_then(|said| said.per_try_timeout).and_then(duration),
        retry_back_off: said.and_then(|said| said.backoff).map(|base| RetryBackOff {
            base_interval: duration(base),
            ..Default::default()
        }),
        retry_host_predicate: match said.is_some_and(|said| said.same_endpoint) {
            true => Vec::new(),
            false => vec![other_endpoints()],
        },
        retry_priority: said
            .filter(|said| said.other_localities)
            .map(|_| other_localities()),
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    })
}

fn other_endpoints() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(
            previous_hosts::PreviousHostsPredicate::default().to_any(),
        )),
    }
}

/// Localities are priorities; one is left after two tries, as in Istio.
fn other_localities() -> RetryPriority {
    let config = previous_priorities::PreviousPrioritiesConfig { update_frequency: 2 };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".into(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(config.to_any())),
    }
}

/// Istio takes status codes among Envoy's words.
fn conditions(on: &str) -> (String, Vec<u32>) {
    if on.trim().is_empty() {
        return (DEFAULT_RETRY_ON.into(), vec![UNAVAILABLE]);
    }
    let (mut words, mut codes) = (Vec::new(), Vec::new());
    for word in on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse::<u32>() {
            Ok(code) => codes.push(code),
            Err(_) => words.push(word),
        }
    }
    if !codes.is_empty() && !words.contains(&"retriable-status-codes") {
        words.push("retriable-status-codes");
    }
    (words.join(","), codes)
}

fn mirrors(rule: &Rule) -> Vec<RequestMirrorPolicy> {
    let valid = rule.mirrors.iter().filter(|(target, _)| !target.backend.invalid);
    valid
        .map(|(target, share)| RequestMirrorPolicy {
            cluster: cluster(target),
            runtime_fraction: Some(core::RuntimeFractionalPercent {
                default_value: per_million(*share),
                ..Default::default()
            }),
            ..Default::default()
        })
        .collect()
}

pub(super) fn hashes(balancer: &LoadBalancer) -> bool {
    hash(balancer).is_some()
}

fn hash(balancer: &LoadBalancer) -> Option<HashPolicy> {
    let specifier = match balancer {
        LoadBalancer::RoundRobin
        | LoadBalancer::LeastRequest
        | LoadBalancer::Random
        | LoadBalancer::Passthrough => return None,
        LoadBalancer::HashHeader(name) => PolicySpecifier::Header(Header {
            header_name: name.clone(),
            ..Default::default()
        }),
        LoadBalancer::HashCookie {
            name,
            path,
            ttl,
            attributes,
        } => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            path: path.clone().unwrap_or_default(),
            ttl: duration(*ttl),
            attributes: attributes
                .iter()
                .map(|(name, value)| CookieAttribute {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        LoadBalancer::HashSourceIp => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        LoadBalancer::HashQuery(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy {
        policy_specifier: Some(specifier),
        ..Default::default()
    })
}
