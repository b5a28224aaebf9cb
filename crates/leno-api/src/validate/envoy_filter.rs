//! EnvoyFilter. Whether a value is a message of Envoy's has been seen when it was read.

use super::{Check, policy_target};
use crate::codes::Code;
use crate::kinds::envoy_filter::{
    ApplyTo, ConfigPatch, EnvoyFilterSpec, FilterMatch, ListenerMatch, ObjectMatch, Operation, PatchContext,
};

const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Names of filters that Envoy gave up, with those that it has now.
pub const FORMER_NAMES: &[(&str, &str)] = &[
    ("envoy.buffer", "envoy.filters.http.buffer"),
    ("envoy.cors", "envoy.filters.http.cors"),
    ("envoy.ext_authz", "envoy.filters.http.ext_authz"),
    ("envoy.fault", "envoy.filters.http.fault"),
    ("envoy.http_connection_manager", HTTP_CONNECTION_MANAGER),
    ("envoy.lua", "envoy.filters.http.lua"),
    ("envoy.rate_limit", "envoy.filters.http.ratelimit"),
    ("envoy.router", "envoy.filters.http.router"),
    ("envoy.tcp_proxy", "envoy.filters.network.tcp_proxy"),
    (
        "envoy.listener.http_inspector",
        "envoy.filters.listener.http_inspector",
    ),
    (
        "envoy.listener.original_dst",
        "envoy.filters.listener.original_dst",
    ),
    (
        "envoy.listener.tls_inspector",
        "envoy.filters.listener.tls_inspector",
    ),
];

/// What a filter is called now.
pub fn present_name(name: &str) -> &str {
    let former = FORMER_NAMES.iter().find(|(former, _)| *former == name);
    former.map_or(name, |(_, present)| present)
}

pub(super) fn check(check: &mut Check<'_>, spec: &EnvoyFilterSpec) {
    if let Some(selector) = &spec.workload_selector {
        policy_target::labels(check, "spec.workloadSelector.labels", &selector.labels);
        if selector.labels.is_empty() {
            let message = "a selector without labels selects the whole namespace";
            check.warning(Code::NoEffect, "spec.workloadSelector", message, "leave it out");
        }
        if !spec.target_refs.is_empty() {
            let message = "workloadSelector and targetRefs are given together";
            check.error(Code::BadCombination, "spec", message, "keep one of them");
        }
    }
    for (i, target) in spec.target_refs.iter().enumerate() {
        policy_target::target_ref(check, &format!("spec.targetRefs[{i}]"), target);
    }
    if i32::try_from(spec.priority).is_err() {
        check.range(
            "spec.priority",
            spec.priority,
            i64::from(i32::MIN)..=i64::from(i32::MAX),
        );
    }
    for (i, patch) in spec.config_patches.iter().enumerate() {
        config_patch(check, &format!("spec.configPatches[{i}]"), patch);
    }
}

fn config_patch(check: &mut Check<'_>, at: &str, said: &ConfigPatch) {
    object_match(check, &format!("{at}.match"), &said.r#match);
    let Some(apply_to) = said.apply_to else {
        // As Istio's schema has it, an object may lack it; then nothing is changed.
        let hint = "say which objects of a proxy's it is for: HTTP_FILTER, CLUSTER, …";
        return check.error(Code::MissingField, at, "a patch without applyTo", hint);
    };
    if apply_to == ApplyTo::Bootstrap {
        check.not_served(format!("{at}.applyTo"), "a patch of the bootstrap");
    }
    if apply_to == ApplyTo::ExtensionConfig {
        check.not_served(format!("{at}.applyTo"), "configuration of an extension by itself");
    }
    let kinds = [
        ("listener", said.r#match.listener.is_some()),
        ("routeConfiguration", said.r#match.route_configuration.is_some()),
        ("cluster", said.r#match.cluster.is_some()),
        ("waypoint", said.r#match.waypoint.is_some()),
    ];
    let given: Vec<&str> = kinds
        .iter()
        .filter(|(_, given)| *given)
        .map(|(kind, _)| *kind)
        .collect();
    let wanted = match apply_to {
        ApplyTo::Listener
        | ApplyTo::FilterChain
        | ApplyTo::NetworkFilter
        | ApplyTo::HttpFilter
        | ApplyTo::ListenerFilter => Some("listener"),
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => Some("routeConfiguration"),
        ApplyTo::Cluster => Some("cluster"),
        ApplyTo::ExtensionConfig | ApplyTo::Bootstrap => None,
    };
    if given.len() > 1 {
        let message = format!("{} are given together", given.join(" and "));
        check.error(
            Code::BadCombination,
            format!("{at}.match"),
            message,
            "keep one of them",
        );
    } else if let (Some(given), Some(wanted)) = (given.first(), wanted)
        && *given != wanted
        && *given != "waypoint"
    {
        let message = format!("{} is matched by {wanted}, not by {given}", apply_to.as_str());
        check.error(Code::BadCombination, format!("{at}.match.{given}"), message, "");
    }
    if let Some(listener) = &said.r#match.listener {
        listener_match(check, &format!("{at}.match.listener"), apply_to, listener);
    }
    if let Some(filter) = said
        .r#match
        .waypoint
        .as_ref()
        .and_then(|waypoint| waypoint.filter.as_ref())
    {
        filter_match(check, &format!("{at}.match.waypoint.filter"), apply_to, filter);
    }
    let Some(patch) = &said.patch else {
        return check.error(Code::MissingField, at, "applyTo without a patch", "add patch");
    };
    let Some(operation) = patch.operation else {
        let hint = "add operation: MERGE, ADD, REMOVE, INSERT_BEFORE, …";
        return check.error(
            Code::MissingField,
            format!("{at}.patch"),
            "a patch without operation",
            hint,
        );
    };
    if operation != Operation::Remove && patch.value.is_none() {
        let message = "a patch without value";
        check.error(Code::MissingField, format!("{at}.patch"), message, "add value");
    }
    if let Some(why) = without_effect(apply_to, operation, &said.r#match) {
        check.warning(Code::NoEffect, format!("{at}.patch.operation"), why, "");
    }
}

/// What Istio passes over in silence.
fn without_effect(apply_to: ApplyTo, operation: Operation, said: &ObjectMatch) -> Option<&'static str> {
    let merges = matches!(operation, Operation::Merge | Operation::MergeAndReplaceList);
    let chain = said
        .listener
        .as_ref()
        .and_then(|listener| listener.filter_chain.as_ref());
    let filter = chain.and_then(|chain| chain.filter.as_ref());
    let named = match apply_to {
        ApplyTo::RouteConfiguration if !merges => {
            return Some("a route configuration can only be merged with");
        }
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::Cluster if operation == Operation::Replace => {
            return Some("REPLACE is for filters and virtual hosts");
        }
        ApplyTo::HttpRoute if operation == Operation::Replace => {
            return Some("REPLACE is for filters and virtual hosts");
        }
        ApplyTo::ListenerFilter if merges => return Some("listener filters are not merged"),
        ApplyTo::ListenerFilter => said
            .listener
            .as_ref()
            .is_some_and(|listener| !listener.listener_filter.is_empty()),
        ApplyTo::NetworkFilter => filter.is_some(),
        ApplyTo::HttpFilter => filter.is_some_and(|filter| filter.sub_filter.is_some()),
        _ => return None,
    };
    let needs = matches!(operation, Operation::Remove | Operation::Replace);
    (needs && !named && said.waypoint.is_none()).then_some("which filter is meant is not said")
}

fn object_match(check: &mut Check<'_>, at: &str, said: &ObjectMatch) {
    let waypoint = said.context == PatchContext::Waypoint;
    if waypoint != said.waypoint.is_some() {
        let message = "waypoint is there with the context WAYPOINT, and only there";
        let hint = "give context: WAYPOINT and waypoint together, or neither";
        check.error(Code::BadCombination, at, message, hint);
    } else if waypoint {
        let message = "leno has no waypoints";
        check.warning(Code::NoEffect, format!("{at}.context"), message, "");
    }
    if let Some(proxy) = &said.proxy
        && !proxy.proxy_version.is_empty()
    {
        check.regex(format!("{at}.proxy.proxyVersion"), &proxy.proxy_version);
    }
    let ports = [
        ("listener", said.listener.as_ref().map(|by| by.port_number)),
        (
            "routeConfiguration",
            said.route_configuration.as_ref().map(|by| by.port_number),
        ),
        ("cluster", said.cluster.as_ref().map(|by| by.port_number)),
        ("waypoint", said.waypoint.as_ref().map(|by| by.port_number)),
    ];
    for (kind, port) in ports {
        if let Some(port) = port.filter(|port| *port != 0) {
            check.port(format!("{at}.{kind}.portNumber"), i64::from(port));
        }
    }
}

fn listener_match(check: &mut Check<'_>, at: &str, apply_to: ApplyTo, said: &ListenerMatch) {
    former_name(check, &format!("{at}.listenerFilter"), &said.listener_filter);
    let Some(chain) = &said.filter_chain else {
        return;
    };
    if chain.destination_port != 0 {
        let path = format!("{at}.filterChain.destinationPort");
        check.port(path, i64::from(chain.destination_port));
    }
    if let Some(filter) = &chain.filter {
        let at = format!("{at}.filterChain.filter");
        if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
            let message = format!("a filter is no condition for {}", apply_to.as_str());
            check.warning(Code::NoEffect, &at, message, "leave it out");
        }
        filter_match(check, &at, apply_to, filter);
    }
}

fn filter_match(check: &mut Check<'_>, at: &str, apply_to: ApplyTo, said: &FilterMatch) {
    former_name(check, &format!("{at}.name"), &said.name);
    if said.name.is_empty() {
        check.error(Code::MissingField, at, "a filter without a name", "add name");
    }
    let Some(inner) = &said.sub_filter else {
        return;
    };
    let at = format!("{at}.subFilter");
    former_name(check, &format!("{at}.name"), &inner.name);
    if apply_to != ApplyTo::HttpFilter {
        let message = format!("subFilter is for HTTP_FILTER, not for {}", apply_to.as_str());
        check.error(Code::BadCombination, &at, message, "leave it out");
    }
    if present_name(&said.name) != HTTP_CONNECTION_MANAGER {
        let message = format!("only {HTTP_CONNECTION_MANAGER} has filters in it");
        check.error(Code::BadCombination, &at, message, "name that one as the filter");
    }
    if inner.name.is_empty() {
        check.error(Code::MissingField, at, "a filter without a name", "add name");
    }
}

fn former_name(check: &mut Check<'_>, path: &str, name: &str) {
    let present = present_name(name);
    if present != name {
        let message = format!("Envoy calls {name} otherwise by now");
        check.warning(Code::FormerName, path, message, format!("use {present}"));
    }
}
