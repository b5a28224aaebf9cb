//! Sidecar.

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::sidecar::{CaptureMode, Egress, SidecarPort, SidecarSpec};

/// What a port may speak, in Istio's words.
const PROTOCOLS: [&str; 11] = [
    "HTTP",
    "HTTP2",
    "HTTPS",
    "GRPC",
    "GRPC-WEB",
    "TCP",
    "TLS",
    "MONGO",
    "REDIS",
    "MYSQL",
    "HTTP_PROXY",
];

pub(super) fn check(check: &mut Check<'_>, spec: &SidecarSpec) {
    if spec.egress.is_empty() && spec.outbound_traffic_policy.is_none() {
        let hint = "give egress or outboundTrafficPolicy";
        check.error(Code::Empty, "spec", "a Sidecar that says nothing", hint);
    }
    selector(check, spec);
    for (i, egress) in spec.egress.iter().enumerate() {
        self::egress(
            check,
            &format!("spec.egress[{i}]"),
            egress,
            i + 1 == spec.egress.len(),
        );
    }
    let numbers = spec.egress.iter().enumerate();
    let numbers = numbers.filter_map(|(i, egress)| Some((i, egress.port.as_ref()?.number.to_string())));
    let numbers: Vec<(usize, String)> = numbers.collect();
    let ports = numbers.iter();
    check.distinct(
        "port",
        ports.map(|(i, number)| (format!("spec.egress[{i}].port.number"), number.as_str())),
    );
}

fn selector(check: &mut Check<'_>, spec: &SidecarSpec) {
    let Some(selector) = &spec.workload_selector else {
        return;
    };
    let path = "spec.workloadSelector.labels";
    if selector.labels.is_empty() {
        let message = "a selector without labels selects every workload of the namespace";
        check.warning(Code::NoEffect, path, message, "leave it out, or give labels");
    }
    for (name, value) in &selector.labels {
        if name.is_empty() || name.contains('*') || value.contains('*') {
            let message = format!("{name}={value}: labels are compared as they are");
            check.error(
                Code::WrongValue,
                path,
                message,
                "name labels and their values, without stars",
            );
        }
    }
}

fn egress(check: &mut Check<'_>, at: &str, egress: &Egress, last: bool) {
    match &egress.port {
        Some(said) => port(check, at, said),
        None if !last => {
            let message = "one without port is for every other port, and the last";
            check.error(
                Code::BadCombination,
                at,
                message,
                "put it last, or give it a port",
            );
        }
        None => {}
    }
    capture(check, at, egress.capture_mode);
    if egress.hosts.is_empty() {
        let hint = "such as ./*, shop/*, */reviews.shop.svc.cluster.local; ~/* for none";
        check.error(Code::Empty, format!("{at}.hosts"), "without hosts", hint);
    }
    for (i, host) in egress.hosts.iter().enumerate() {
        let path = format!("{at}.hosts[{i}]");
        let Some((namespace, name)) = host.split_once('/') else {
            let message = format!("{host:?} names no namespace");
            check.error(
                Code::BadHost,
                path,
                message,
                format!("write NAMESPACE/HOST: */{host}"),
            );
            continue;
        };
        if !matches!(namespace, "*" | "." | "~") && !names::is_label(namespace) {
            let message = format!("{namespace:?} is no namespace");
            check.error(
                Code::BadName,
                &path,
                message,
                "write a namespace, . (the proxy's own), * or ~",
            );
        }
        check.host_or_wildcard(path, name);
    }
}

fn port(check: &mut Check<'_>, at: &str, port: &SidecarPort) {
    check.port(format!("{at}.port.number"), port.number);
    let protocol = port.protocol.as_deref().unwrap_or_default().to_ascii_uppercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        let hint = match crate::nearest(&protocol, PROTOCOLS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of {}", PROTOCOLS.join(", ")),
        };
        let message = "a port without a protocol that is known";
        check.error(Code::WrongValue, format!("{at}.port.protocol"), message, hint);
    }
    if protocol == "HTTP_PROXY" {
        check.not_served(format!("{at}.port.protocol"), "protocol: HTTP_PROXY");
    }
}

fn capture(check: &mut Check<'_>, at: &str, mode: CaptureMode) {
    if mode == CaptureMode::None {
        check.not_served(format!("{at}.captureMode"), "captureMode: NONE");
    }
}
