//! GatewayClass, Gateway and ReferenceGrant: the CRDs' validations, and what leno serves of them.

use std::net::IpAddr;

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::gateway_api::{
    AllowedRoutes, FromNamespaces, GatewayClassSpec, GatewaySpec, LabelOperator, Listener, ListenerTls,
    ReferenceGrantSpec, TlsMode,
};

/// Istio's option for client certificates.
pub const TERMINATE_MODE: &str = "gateway.istio.io/tls-terminate-mode";

pub(super) fn class(check: &mut Check<'_>, spec: &GatewayClassSpec) {
    let domain = spec.controller_name.split_once('/');
    if domain.is_none_or(|(domain, path)| !names::is_subdomain(domain) || path.is_empty()) {
        let message = format!("{:?} is no controller's name", spec.controller_name);
        check.error(
            Code::WrongValue,
            "spec.controllerName",
            message,
            "write DOMAIN/PATH: istio.io/gateway-controller",
        );
    }
}

pub(super) fn gateway(check: &mut Check<'_>, spec: &GatewaySpec) {
    if spec.gateway_class_name.is_empty() {
        check.error(
            Code::Empty,
            "spec.gatewayClassName",
            "a Gateway without class",
            "use gatewayClassName: istio",
        );
    }
    if spec.listeners.is_empty() {
        let hint = "add listeners: [{name: http, port: 80, protocol: HTTP}]";
        check.error(Code::Empty, "spec.listeners", "a Gateway without listeners", hint);
    }
    for (i, listener) in spec.listeners.iter().enumerate() {
        self::listener(check, &format!("spec.listeners[{i}]"), listener);
    }
    let named = spec.listeners.iter().enumerate();
    let named = named.map(|(i, listener)| (format!("spec.listeners[{i}].name"), listener.name.as_str()));
    check.distinct("listener name", named);
    for (i, listener) in spec.listeners.iter().enumerate() {
        let of = |other: &Listener| (other.port, other.protocol.clone(), other.hostname.clone());
        if spec
            .listeners
            .iter()
            .take(i)
            .any(|other| of(other) == of(listener))
        {
            let message = "port, protocol and hostname are those of a listener before it";
            check.error(
                Code::DuplicateName,
                format!("spec.listeners[{i}]"),
                message,
                "give it another hostname",
            );
        }
    }
}

fn listener(check: &mut Check<'_>, at: &str, listener: &Listener) {
    check.port(format!("{at}.port"), listener.port);
    if !names::is_subdomain(&listener.name) {
        let message = format!("{:?} is no name for a listener", listener.name);
        check.error(
            Code::BadName,
            format!("{at}.name"),
            message,
            "use lower-case letters, digits and dashes",
        );
    }
    if let Some(hostname) = listener.hostname.as_ref().filter(|hostname| !hostname.is_empty()) {
        let path = format!("{at}.hostname");
        self::hostname(check, &path, hostname);
        if matches!(listener.protocol.as_str(), "TCP" | "UDP") {
            let message = format!("a hostname says nothing for {}", listener.protocol);
            check.error(Code::BadCombination, path, message, "leave it out");
        }
    }
    let tls = listener.tls.as_ref();
    match listener.protocol.as_str() {
        "HTTP" | "TCP" | "UDP" if tls.is_some() => {
            let message = format!("tls of {}, which is not encrypted", listener.protocol);
            check.error(
                Code::BadCombination,
                format!("{at}.tls"),
                message,
                "use the protocol HTTPS or TLS",
            );
        }
        "HTTP" | "TCP" => {}
        "HTTPS" | "TLS" => encrypted(check, at, listener, tls),
        other => {
            let message = format!("the protocol {other} is not served by leno yet; the other listeners are");
            check.warning(
                Code::NotServed,
                format!("{at}.protocol"),
                message,
                "use HTTP, HTTPS, TLS or TCP",
            );
        }
    }
    if let Some(allowed) = &listener.allowed_routes {
        allowed_routes(check, &format!("{at}.allowedRoutes"), allowed);
    }
}

/// Also the Gateway API's rule that it is no IP address.
fn hostname(check: &mut Check<'_>, at: &str, hostname: &str) {
    let name = hostname.strip_prefix("*.").unwrap_or(hostname);
    if !names::is_subdomain(name) || hostname.parse::<IpAddr>().is_ok() {
        let message = format!("{hostname:?} is not a DNS name in lower case");
        check.error(Code::BadHost, at, message, "");
    }
}

fn encrypted(check: &mut Check<'_>, at: &str, listener: &Listener, tls: Option<&ListenerTls>) {
    let at = format!("{at}.tls");
    let Some(tls) = tls else {
        let message = format!("{} without tls settings", listener.protocol);
        return check.error(
            Code::MissingField,
            &at,
            message,
            "add tls: {certificateRefs: [{name: …}]}",
        );
    };
    let mode = tls.mode.unwrap_or(TlsMode::Terminate);
    if mode == TlsMode::Passthrough && listener.protocol == "HTTPS" {
        let message = "HTTPS is ended at the gateway";
        check.error(
            Code::BadCombination,
            format!("{at}.mode"),
            message,
            "use the protocol TLS to pass it through",
        );
    }
    if mode == TlsMode::Terminate && tls.certificate_refs.is_empty() {
        let message = "TLS is ended here, and no certificate is given";
        check.error(
            Code::Empty,
            format!("{at}.certificateRefs"),
            message,
            "add certificateRefs: [{name: SECRET}]",
        );
    }
    if tls.certificate_refs.len() > 1 {
        check.not_served(
            format!("{at}.certificateRefs"),
            "more than one certificate of a listener",
        );
    }
    for (option, value) in &tls.options {
        let path = format!("{at}.options");
        match (option.as_str(), value.as_str()) {
            (TERMINATE_MODE, "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL") => {}
            (TERMINATE_MODE, other) => check.not_served(path, format!("{TERMINATE_MODE}: {other}")),
            (other, _) => check.not_served(path, format!("the TLS option {other}")),
        }
    }
}

fn allowed_routes(check: &mut Check<'_>, at: &str, allowed: &AllowedRoutes) {
    let Some(namespaces) = &allowed.namespaces else {
        return;
    };
    let at = format!("{at}.namespaces");
    match (namespaces.from, &namespaces.selector) {
        (FromNamespaces::Selector, None) => {
            let hint = "add selector: {matchLabels: {…}}";
            check.error(Code::MissingField, &at, "from: Selector without a selector", hint);
        }
        (FromNamespaces::Selector, Some(selector)) => {
            for (i, expression) in selector.match_expressions.iter().enumerate() {
                let listed = matches!(expression.operator, LabelOperator::In | LabelOperator::NotIn);
                if listed == expression.values.is_empty() {
                    let at = format!("{at}.selector.matchExpressions[{i}].values");
                    let message = "values go with In and NotIn, and with nothing else";
                    check.error(Code::BadCombination, at, message, "");
                }
            }
        }
        (_, Some(_)) => {
            let message = "a selector says something only with from: Selector";
            check.warning(Code::NoEffect, format!("{at}.selector"), message, "");
        }
        (_, None) => {}
    }
}

pub(super) fn grant(check: &mut Check<'_>, spec: &ReferenceGrantSpec) {
    for (field, empty) in [("from", spec.from.is_empty()), ("to", spec.to.is_empty())] {
        if empty {
            let message = format!("a ReferenceGrant without {field} grants nothing");
            check.error(
                Code::Empty,
                format!("spec.{field}"),
                message,
                "say who may refer, and to what",
            );
        }
    }
    for (i, from) in spec.from.iter().enumerate() {
        if !names::is_label(&from.namespace) {
            let message = format!("{:?} is no namespace", from.namespace);
            check.error(Code::BadName, format!("spec.from[{i}].namespace"), message, "");
        }
    }
}
