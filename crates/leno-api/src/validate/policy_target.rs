//! Whom a policy of security.istio.io is for: workloads by labels, or what it is attached to.

use super::Check;
use crate::codes::Code;
use crate::kinds::Labels;
use crate::kinds::authorization_policy::TargetRef;
use crate::kinds::peer_authentication::Selector;

pub(super) fn target(
    check: &mut Check<'_>,
    selector: Option<&Selector>,
    single: Option<&TargetRef>,
    several: &[TargetRef],
) {
    let given = [
        ("selector", selector.is_some()),
        ("targetRef", single.is_some()),
        ("targetRefs", !several.is_empty()),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    if given.len() > 1 {
        let message = format!("{} are given together", given.join(" and "));
        check.error(Code::BadCombination, "spec", message, "keep one of them");
    }
    if let Some(selector) = selector {
        labels(check, "spec.selector.matchLabels", &selector.match_labels);
        if selector.match_labels.is_empty() {
            let message = "a selector without labels selects the whole namespace";
            check.warning(Code::NoEffect, "spec.selector", message, "leave it out");
        }
    }
    if let Some(target) = single {
        target_ref(check, "spec.targetRef", target);
    }
    for (i, target) in several.iter().enumerate() {
        target_ref(check, &format!("spec.targetRefs[{i}]"), target);
    }
}

pub(super) fn labels(check: &mut Check<'_>, at: &str, labels: &Labels) {
    for (key, value) in labels {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let message = format!("the label {key}={value} has a wildcard, or no key");
            let hint = "labels are compared as they are";
            check.error(Code::WrongValue, at, message, hint);
        }
    }
}

pub(super) fn target_ref(check: &mut Check<'_>, at: &str, target: &TargetRef) {
    if target.name.is_empty() {
        check.error(Code::MissingField, at, "a target without a name", "add name");
    }
    if !target.namespace.is_empty() {
        let hint = "a policy is for targets of its own namespace: leave namespace out";
        let message = "a target in another namespace";
        check.error(Code::BadCombination, format!("{at}.namespace"), message, hint);
    }
    let TargetRef { group, kind, .. } = target;
    match (group.as_str(), kind.as_str()) {
        ("gateway.networking.k8s.io" | "networking.istio.io", "Gateway") => {}
        ("" | "core", "Service") => {
            let message = "a policy for a Service is held by waypoints, which leno does not have yet: no sidecar heeds it, in \
                           Istio neither, and nobody would be held to it";
            let hint =
                "in place of it write selector, with the labels by which the Service selects its workloads";
            check.error(Code::NotServed, at, message, hint);
        }
        ("networking.istio.io", "ServiceEntry") => {
            let message = "a policy for a ServiceEntry is held by waypoints, which leno does not have yet: no sidecar heeds it, \
                           in Istio neither, and nobody would be held to it";
            let hint = "route the host through an egress gateway, and write a policy for that Gateway";
            check.error(Code::NotServed, at, message, hint);
        }
        ("gateway.networking.k8s.io", "GatewayClass" | "HTTPRoute") => {
            check.not_served(at, format!("a policy for a {kind}"));
        }
        _ => {
            let message = format!("{kind:?} of {group:?} is nothing that a policy can be attached to");
            let hint = "use a Gateway of gateway.networking.k8s.io or networking.istio.io, or a selector";
            check.error(Code::WrongValue, at, message, hint);
        }
    }
}
