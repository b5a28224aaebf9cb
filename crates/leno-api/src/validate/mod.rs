//! The rules that an object can be held to by itself: `leno validate`.
//!
//! They follow the schemas of the APIs (CRD validations, `istioctl validate`), so what an API server would refuse
//! is refused here too. Whether hosts and subsets exist is a matter of the mesh as a whole: the model's.

pub mod access_log;
pub mod authorization_policy;
mod authorizer;
mod destination_rule;
mod endpoint_slice;
pub mod envoy_filter;
mod gateway;
pub mod gateway_api;
mod http_filters;
mod http_route;
mod ingress;
mod locality;
mod mesh_config;
pub mod names;
mod peer_authentication;
mod policy_target;
mod proxy_config;
pub mod request_authentication;
mod resilience;
pub mod secret;
mod service;
mod service_entry;
mod sidecar;
mod tcp_route;
mod telemetry;
mod telemetry_provider;
mod traffic_policy;
pub mod virtual_service;
mod visibility;
mod wasm_plugin;
mod workload_entry;
mod workload_group;

pub use resilience::grpc_code;

use std::fmt::Display;
use std::time::Duration;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Severity};
use crate::object::{Object, Spec};
use crate::quantity::Span;

/// Compiled size a regular expression may have; a route match of more is a slip or an attack.
const MAX_REGEX_BYTES: usize = 256 << 10;

/// Everything that is wrong with an object by itself.
pub fn validate(object: &Object) -> Vec<Diagnostic> {
    let mut check = Check {
        object,
        found: Vec::new(),
    };
    match &object.spec {
        Spec::MeshConfig(spec) => mesh_config::check(&mut check, spec),
        Spec::Service(spec) => service::check(&mut check, spec),
        Spec::ServiceEntry(spec) => service_entry::check(&mut check, spec),
        Spec::Sidecar(spec) => sidecar::check(&mut check, spec),
        Spec::HttpRoute(spec) => http_route::check(&mut check, spec),
        Spec::TcpRoute(spec) => tcp_route::check(&mut check, spec),
        Spec::VirtualService(spec) => virtual_service::check(&mut check, spec),
        Spec::DestinationRule(spec) => destination_rule::check(&mut check, spec),
        Spec::AuthorizationPolicy(spec) => authorization_policy::check(&mut check, spec),
        Spec::RequestAuthentication(spec) => request_authentication::check(&mut check, spec),
        Spec::PeerAuthentication(spec) => peer_authentication::check(&mut check, spec),
        Spec::Gateway(spec) => gateway::check(&mut check, spec),
        Spec::KubernetesGateway(spec) => gateway_api::gateway(&mut check, spec),
        Spec::GatewayClass(spec) => gateway_api::class(&mut check, spec),
        Spec::ReferenceGrant(spec) => gateway_api::grant(&mut check, spec),
        Spec::Secret(spec) => secret::check(&mut check, spec),
        Spec::EnvoyFilter(spec) => envoy_filter::check(&mut check, spec),
        Spec::Ingress(spec) => ingress::check(&mut check, spec),
        Spec::IngressClass(spec) => ingress::class(&mut check, spec),
        Spec::ProxyConfig(spec) => proxy_config::check(&mut check, spec),
        Spec::Telemetry(spec) => telemetry::check(&mut check, spec),
        Spec::WasmPlugin(spec) => wasm_plugin::check(&mut check, spec),
        Spec::EndpointSlice(spec) => endpoint_slice::check(&mut check, spec),
        Spec::Namespace(_) | Spec::Node(_) => {}
        Spec::WorkloadEntry(spec) => workload_entry::check(&mut check, spec),
        Spec::WorkloadGroup(spec) => workload_group::check(&mut check, spec),
    }
    check.found
}

/// Collects what is found; the checks that several kinds share.
struct Check<'a> {
    object: &'a Object,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn error(&mut self, code: Code, path: impl Display, message: impl Into<String>, hint: impl Into<String>) {
        let found = self
            .object
            .report(code, Severity::Error, &path.to_string(), message);
        self.found.push(found.hint(hint));
    }

    fn warning(
        &mut self,
        code: Code,
        path: impl Display,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let found = self
            .object
            .report(code, Severity::Warning, &path.to_string(), message);
        self.found.push(found.hint(hint));
    }

    fn not_served(&mut self, path: impl Display, what: impl Display) {
        self.error(
            Code::NotServed,
            path,
            format!("{what} is not served by leno yet"),
            "leave it out for now",
        );
    }

    fn range(&mut self, path: impl Display, value: i64, range: std::ops::RangeInclusive<i64>) {
        if !range.contains(&value) {
            let message = format!("{value} is not between {} and {}", range.start(), range.end());
            self.error(Code::OutOfRange, path, message, "");
        }
    }

    fn port(&mut self, path: impl Display, value: i64) {
        self.range(path, value, 1..=65535);
    }

    fn percent(&mut self, path: impl Display, value: f64) {
        if !(0.0..=100.0).contains(&value) {
            self.error(
                Code::OutOfRange,
                path,
                format!("{value} is not a percentage"),
                "use 0 to 100",
            );
        }
    }

    /// Envoy counts in milliseconds: less is none.
    fn positive(&mut self, path: impl Display, span: Option<Span>) {
        if span.is_some_and(|span| span.0 < Duration::from_millis(1)) {
            self.error(
                Code::BadDuration,
                path,
                "a duration of less than a millisecond",
                "use 1ms or more",
            );
        }
    }

    /// The kernel counts in seconds.
    fn whole_seconds(&mut self, path: impl Display, span: Option<Span>) {
        if span.is_some_and(|span| span.0 < Duration::from_secs(1)) {
            self.error(
                Code::BadDuration,
                path,
                "a duration of less than a second",
                "use 1s or more",
            );
        }
    }

    fn host(&mut self, path: impl Display, host: &str) {
        if !names::is_host(host) {
            let hint = if host.contains("://") {
                "give the name alone, without scheme and path"
            } else {
                ""
            };
            self.error(Code::BadHost, path, format!("{host:?} is not a DNS name"), hint);
        }
    }

    fn host_or_wildcard(&mut self, path: impl Display, host: &str) {
        if host != "*" {
            self.host(path, host.strip_prefix("*.").unwrap_or(host));
        }
    }

    fn regex(&mut self, path: impl Display, pattern: &str) {
        let built = regex::RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_BYTES)
            .nest_limit(64)
            .build();
        if let Err(error) = built {
            let reason = error.to_string();
            let reason = reason
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            let message = format!("the regular expression {pattern:?} is refused: {reason}");
            self.error(Code::BadRegex, path, message, "the syntax is RE2's");
        }
    }

    fn header_name(&mut self, path: impl Display, name: &str) {
        if !names::is_token(name) {
            self.error(
                Code::BadHeader,
                path,
                format!("{name:?} is not a header's name"),
                "",
            );
        }
    }

    fn header_value(&mut self, path: impl Display, value: &str) {
        if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            self.error(
                Code::BadHeader,
                path,
                "a header's value with control characters",
                "",
            );
        }
    }

    /// Names that must differ; each with the path of the item that has it.
    fn distinct<'n>(&mut self, what: &str, items: impl IntoIterator<Item = (String, &'n str)>) {
        let mut seen = std::collections::HashSet::new();
        for (path, name) in items {
            if !seen.insert(name) {
                self.error(
                    Code::DuplicateName,
                    path,
                    format!("the {what} {name} is given twice"),
                    "keep one",
                );
            }
        }
    }

    /// Exactly one of the named fields; more or none is an error.
    fn one_of(&mut self, path: impl Display, fields: &[(&str, bool)]) {
        let set: Vec<&str> = fields
            .iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| *name)
            .collect();
        if set.len() != 1 {
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let message = match set.is_empty() {
                true => format!("none of {} is given", names.join(", ")),
                false => format!("{} are given together", set.join(" and ")),
            };
            self.error(
                Code::OneOf,
                path,
                message,
                format!("give exactly one of {}", names.join(", ")),
            );
        }
    }
}
