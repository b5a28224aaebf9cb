//! Ingress and IngressClass, as an API server holds them to their rules.

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::ingress::{
    CLASS, IngressBackend, IngressClassSpec, IngressPath, IngressPathType, IngressSpec,
};

pub(super) fn check(check: &mut Check<'_>, spec: &IngressSpec) {
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        let hint = "add rules, or a defaultBackend";
        check.error(Code::MissingField, "spec", "an Ingress without rules", hint);
    }
    if spec.ingress_class_name.is_some() && check.object.annotations.contains_key(CLASS) {
        let message = format!("ingressClassName and the annotation {CLASS} are given together");
        check.error(
            Code::BadCombination,
            "spec.ingressClassName",
            message,
            "remove the annotation",
        );
    }
    if let Some(backend) = &spec.default_backend {
        self::backend(check, "spec.defaultBackend", backend);
    }
    for (i, tls) in spec.tls.iter().enumerate() {
        let at = format!("spec.tls[{i}]");
        for (j, host) in tls.hosts.iter().enumerate() {
            self::host(check, &format!("{at}.hosts[{j}]"), host);
        }
        if !names::is_subdomain(&tls.secret_name) {
            let message = format!("{:?} is no name of a Secret", tls.secret_name);
            check.error(
                Code::BadName,
                format!("{at}.secretName"),
                message,
                "name one of the Ingress's namespace",
            );
        }
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = format!("spec.rules[{i}]");
        if !rule.host.is_empty() {
            host(check, &format!("{at}.host"), &rule.host);
        }
        let Some(http) = &rule.http else {
            let message = "a rule without http means nothing to a gateway";
            check.warning(Code::NoEffect, &at, message, "add http.paths");
            continue;
        };
        if http.paths.is_empty() {
            let path = format!("{at}.http.paths");
            check.error(Code::Empty, path, "a rule without paths", "add one");
        }
        for (j, said) in http.paths.iter().enumerate() {
            let at = format!("{at}.http.paths[{j}]");
            path(check, &at, said);
            backend(check, &format!("{at}.backend"), &said.backend);
        }
    }
}

fn host(check: &mut Check<'_>, at: &str, host: &str) {
    let bare = host.strip_prefix("*.").unwrap_or(host);
    if host.parse::<std::net::IpAddr>().is_ok() || !names::is_subdomain(bare) {
        let message = format!("{host:?} is no host");
        let hint = "a DNS name in lower case, or *. before one";
        check.error(Code::BadHost, at, message, hint);
    }
}

fn path(check: &mut Check<'_>, at: &str, said: &IngressPath) {
    let at = format!("{at}.path");
    let path = said.path.as_str();
    let needed = said.path_type != IngressPathType::ImplementationSpecific;
    if (needed || !path.is_empty()) && !path.starts_with('/') {
        let message = format!("{path:?} does not begin with a slash");
        return check.error(Code::BadPath, at, message, "");
    }
    let lower = path.to_ascii_lowercase();
    let inside = ["//", "/./", "/../", "%2f"]
        .iter()
        .any(|part| lower.contains(part));
    let ending = lower.ends_with("/..") || lower.ends_with("/.");
    if needed && (inside || ending) {
        let message = format!("{path:?} has empty or dot segments, or an encoded slash");
        check.error(Code::BadPath, at, message, "");
    }
}

fn backend(check: &mut Check<'_>, at: &str, said: &IngressBackend) {
    let Some(service) = &said.service else {
        return check.error(Code::MissingField, at, "a backend without service", "add service");
    };
    if !names::is_label(&service.name) {
        let message = format!("{:?} is no name of a Service", service.name);
        check.error(Code::BadName, format!("{at}.service.name"), message, "");
    }
    let port = &service.port;
    let path = format!("{at}.service.port");
    check.one_of(
        &path,
        &[
            ("name", port.name.is_some()),
            ("number", port.number.is_some_and(|number| number != 0)),
        ],
    );
    if let Some(number) = port.number.filter(|number| *number != 0) {
        check.port(format!("{path}.number"), number);
    }
}

pub(super) fn class(check: &mut Check<'_>, spec: &IngressClassSpec) {
    if spec.controller.is_empty() {
        let hint = "that of Istio, and so of leno, is istio.io/ingress-controller";
        check.error(
            Code::MissingField,
            "spec.controller",
            "a class without controller",
            hint,
        );
    }
}
