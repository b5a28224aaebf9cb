//! Mesh-wide settings.

use std::sync::Arc;

use leno_api::kinds::mesh_config::{
    ExtensionProvider, H2UpgradePolicy, LogEncoding, MeshConfigSpec, Normalization, OutboundMode,
    RequestBodyInCheck,
};
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::{Context, of_kind, traffic_policy};
use crate::mesh::{
    Authorizer, AuthorizerBody, AuthorizerHttp, MeshConfig, OutboundPolicy, PathNormalization,
};
use crate::name::Host;
use crate::visibility::ExportDefaults;

/// Istio's name for the namespace of mesh-wide policies.
const ROOT_NAMESPACE: &str = "istio-system";

/// The settings, and the root namespace.
pub(crate) fn mesh_config(
    objects: &[&Arc<Object>],
    diagnostics: &mut Vec<Diagnostic>,
) -> (MeshConfig, String) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::MeshConfig(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut specs = specs.into_iter();
    let Some((first, spec)) = specs.next() else {
        return (MeshConfig::default(), ROOT_NAMESPACE.into());
    };
    for (object, _) in specs {
        let message = format!("a second MeshConfig; {} holds", first.place());
        let found = object.report(Code::PolicyConflict, Severity::Error, "", message);
        diagnostics.push(found.hint("keep one of them"));
    }
    let root = spec
        .root_namespace
        .clone()
        .unwrap_or_else(|| ROOT_NAMESPACE.into());
    (settings(spec), root)
}

fn settings(spec: &MeshConfigSpec) -> MeshConfig {
    let default = MeshConfig::default();
    MeshConfig {
        trust_domain: spec.trust_domain.clone().unwrap_or(default.trust_domain),
        trust_domain_aliases: spec.trust_domain_aliases.clone(),
        outbound: match spec.outbound_traffic_policy.map(|policy| policy.mode) {
            Some(OutboundMode::RegistryOnly) => OutboundPolicy::RegistryOnly,
            Some(OutboundMode::AllowAny) | None => OutboundPolicy::AllowAny,
        },
        access_log_file: spec.access_log_file.clone().filter(|file| !file.is_empty()),
        access_log_format: spec.access_log_format.clone().filter(|format| !format.is_empty()),
        access_log_json: spec.access_log_encoding == Some(LogEncoding::Json),
        auto_mtls: spec.enable_auto_mtls.unwrap_or(default.auto_mtls),
        http2_upgrade: match spec.h2_upgrade_policy {
            Some(H2UpgradePolicy::DoNotUpgrade) => false,
            Some(H2UpgradePolicy::Upgrade) => true,
            None => default.http2_upgrade,
        },
        paths: match spec.path_normalization.unwrap_or_default().normalization {
            Normalization::None => PathNormalization::None,
            Normalization::Default | Normalization::Base => PathNormalization::Base,
            Normalization::MergeSlashes => PathNormalization::MergeSlashes,
            Normalization::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
        },
        authorizers: spec.extension_providers.iter().filter_map(authorizer).collect(),
        locality: spec
            .locality_lb_setting
            .as_ref()
            .map_or(default.locality, traffic_policy::locality),
        told: super::telemetry::told(spec),
        exports: ExportDefaults {
            services: spec.default_service_export_to.clone(),
            virtual_services: spec.default_virtual_service_export_to.clone(),
            destination_rules: spec.default_destination_rule_export_to.clone(),
        },
    }
}

/// None: it does something else.
fn authorizer(provider: &ExtensionProvider) -> Option<Authorizer> {
    let of = |service: &str, port: u32| {
        let (namespace, host) = match service.split_once('/') {
            Some((namespace, host)) => (Some(namespace.to_owned()), host),
            None => (None, service),
        };
        // Validation has refused what is no port.
        Authorizer {
            name: provider.name.clone(),
            host: Host::new(host),
            namespace,
            port: u16::try_from(port).unwrap_or_default(),
            timeout: None,
            fails_open: false,
            reroutes: false,
            status_on_error: None,
            body: None,
            http: None,
        }
    };
    if let Some(grpc) = &provider.envoy_ext_authz_grpc {
        return Some(Authorizer {
            timeout: grpc.timeout.map(|timeout| timeout.0),
            fails_open: grpc.fail_open,
            reroutes: grpc.clear_route_cache,
            status_on_error: grpc.status_on_error.parse().ok(),
            body: grpc.include_request_body_in_check.map(body),
            ..of(&grpc.service, grpc.port)
        });
    }
    let http = provider.envoy_ext_authz_http.as_ref()?;
    let told = match http.include_request_headers_in_check.as_slice() {
        [] => &http.include_headers_in_check,
        _ => &http.include_request_headers_in_check,
    };
    Some(Authorizer {
        timeout: http.timeout.map(|timeout| timeout.0),
        fails_open: http.fail_open,
        reroutes: http.clear_route_cache,
        status_on_error: http.status_on_error.parse().ok(),
        body: http.include_request_body_in_check.map(body),
        http: Some(AuthorizerHttp {
            path_prefix: http.path_prefix.clone(),
            told: told.clone(),
            added: http
                .include_additional_headers_in_check
                .clone()
                .into_iter()
                .collect(),
            to_upstream: http.headers_to_upstream_on_allow.clone(),
            to_client_on_deny: http.headers_to_downstream_on_deny.clone(),
            to_client_on_allow: http.headers_to_downstream_on_allow.clone(),
        }),
        ..of(&http.service, http.port)
    })
}

fn body(said: RequestBodyInCheck) -> AuthorizerBody {
    AuthorizerBody {
        most: said.max_request_bytes,
        partial: said.allow_partial_message,
        as_bytes: said.pack_as_bytes,
    }
}

/// Authorizers whose services are not there: what they would be asked is denied.
pub(crate) fn check_authorizers(context: &mut Context<'_>, objects: &[&Arc<Object>]) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::MeshConfig(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let Some((object, spec)) = specs.into_iter().next() else {
        return;
    };
    for (i, provider) in spec.extension_providers.iter().enumerate() {
        let Some(authorizer) = authorizer(provider) else {
            continue;
        };
        let kind = match authorizer.http {
            None => "envoyExtAuthzGrpc",
            Some(_) => "envoyExtAuthzHttp",
        };
        let path = format!("spec.extensionProviders[{i}].{kind}");
        let warning = Severity::Warning;
        let Authorizer { name, host, .. } = &authorizer;
        let denied = format!("what {name} would be asked is denied");
        match context
            .services
            .get(host)
            .filter(|service| authorizer.is_at(service))
        {
            None => {
                let message = format!("the host {host} is not in the mesh: {denied}");
                let hint = context.nearest_host(host);
                context.report(
                    object,
                    (Code::HostNotFound, warning),
                    &format!("{path}.service"),
                    message,
                    hint,
                );
            }
            Some(service) if service.port(authorizer.port).is_none() => {
                let message = format!("{host} has no port {}: {denied}", authorizer.port);
                let ports: Vec<u16> = service.ports.iter().map(|port| port.port).collect();
                let hint = format!("it has {ports:?}");
                context.report(
                    object,
                    (Code::PortNotFound, warning),
                    &format!("{path}.port"),
                    message,
                    hint,
                );
            }
            Some(_) => {}
        }
    }
}
