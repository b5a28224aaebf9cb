//! TCPRoute: the CRD's validations, and what leno serves of it.

use super::Check;
use super::http_filters::object_ref;
use crate::codes::Code;
use crate::kinds::http_route::ParentRef;
use crate::kinds::tcp_route::TcpRouteSpec;

pub(super) fn check(check: &mut Check<'_>, spec: &TcpRouteSpec) {
    for (i, parent) in spec.parent_refs.iter().enumerate() {
        parent_ref(check, &format!("spec.parentRefs[{i}]"), parent);
    }
    if spec.parent_refs.is_empty() {
        let message = "a route without parentRefs attaches to nothing";
        check.warning(
            Code::NoEffect,
            "spec",
            message,
            "name the Gateway: parentRefs: [{name: …}]",
        );
    }
    if spec.rules.is_empty() {
        let hint = "add rules: [{backendRefs: [{name: …, port: …}]}]";
        check.error(Code::MissingField, "spec", "no rules", hint);
    }
    if spec.rules.len() > 1 {
        let message = "the rules after the first are never reached: it takes every connection";
        check.warning(Code::NoEffect, "spec.rules[1]", message, "join their backendRefs");
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = format!("spec.rules[{i}]");
        if rule.backend_refs.is_empty() {
            let hint = "add backendRefs: [{name: …, port: …}]";
            check.error(Code::MissingField, &at, "no backendRefs", hint);
        }
        for (b, backend) in rule.backend_refs.iter().enumerate() {
            let at = format!("{at}.backendRefs[{b}]");
            let (group, kind) = (backend.group.as_deref(), backend.kind.as_deref());
            object_ref(check, &at, group, kind, backend.port);
            if let Some(weight) = backend.weight {
                check.range(format!("{at}.weight"), weight, 0..=1_000_000);
            }
        }
    }
}

fn parent_ref(check: &mut Check<'_>, at: &str, parent: &ParentRef) {
    let group = parent.group.as_deref().unwrap_or("gateway.networking.k8s.io");
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    if (group, kind) != ("gateway.networking.k8s.io", "Gateway") {
        let message = format!(
            "the parent {kind} {} of a TCPRoute is not served by leno yet",
            parent.name
        );
        check.warning(Code::NotServed, at, message, "attach the route to a Gateway");
    }
    if let Some(port) = parent.port {
        check.port(format!("{at}.port"), port);
    }
}
