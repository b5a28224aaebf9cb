//! What a proxy tells the control plane's audit log: what policies denied, what they would have denied, and what they
//! watch. Envoy's access log service carries it, behind a filter that nothing else passes.
//!
//! A proxy without policies has no such log, and neither has one that is not asked for any.

use std::time::Duration;

use leno_proto::ToAny;

use crate::Proxy;
use crate::authentication::AuthenticationInput;
use crate::authorization::{
    AUDITED_PREFIX, AuthorizationInput, EXT_AUTHZ_PREFIX, HTTP_FILTER, NETWORK_FILTER,
};
use crate::parts::{bool_value, duration, exact};
use crate::pb::accesslog::access_log_filter::FilterSpecifier;
use crate::pb::{accesslog, cel_filter, core, grpc_log, matcher, metadata_kind, tracing};

/// Istio's name of the cluster that leads to the control plane: every proxy's bootstrap has it.
const CLUSTER: &str = "xds-grpc";
/// Of the log; the control plane writes what comes under it.
const LOG_NAME: &str = "leno.audit";
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// leno's own metadata.
const LENO: &str = "leno";

/// Decisions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AuditLog {
    /// The proxy is leno's: what it denies it notes at one place.
    leno: bool,
}

/// None where there are no policies, or nobody keeps what they came to.
pub(crate) fn audit_log(
    proxy: &Proxy,
    authentication: &AuthenticationInput,
    authorization: &AuthorizationInput,
) -> Option<AuditLog> {
    let decides = !authentication.is_empty() || !authorization.is_empty();
    (proxy.audited && decides).then_some(AuditLog {
        leno: proxy.on_demand,
    })
}

impl AuditLog {
    /// Of requests.
    pub(crate) fn http(self) -> accesslog::AccessLog {
        let config = grpc_log::HttpGrpcAccessLogConfig {
            common_config: Some(common(HTTP_FILTER)),
            ..Default::default()
        };
        log(
            "envoy.access_loggers.http_grpc",
            self.filter(HTTP_FILTER),
            &config,
        )
    }

    /// Of connections.
    pub(crate) fn tcp(self) -> accesslog::AccessLog {
        let config = grpc_log::TcpGrpcAccessLogConfig {
            common_config: Some(common(NETWORK_FILTER)),
        };
        log(
            "envoy.access_loggers.tcp_grpc",
            self.filter(NETWORK_FILTER),
            &config,
        )
    }

    /// What was denied, would have been, or is watched. Nothing here costs more than a look at what filters have noted;
    /// only where Envoy notes nothing its details are read.
    fn filter(self, of: &str) -> accesslog::AccessLogFilter {
        let mut any = vec![
            noted(of, &format!("{AUDITED_PREFIX}shadow_effective_policy_id"), None),
            noted(of, "istio_dry_run_deny_shadow_engine_result", Some("denied")),
            noted(of, "istio_dry_run_allow_shadow_engine_result", Some("denied")),
        ];
        if self.leno {
            any.push(noted(LENO, "denied", None));
        } else {
            any.push(flag("UAEX"));
            match of {
                HTTP_FILTER => {
                    any.push(noted(of, "enforced_engine_result", Some("denied")));
                    let token = expression("response.code_details.startsWith('jwt_authn_access_denied')");
                    any.push(all(vec![status(401), token]));
                }
                _ => any.push(expression(
                    "connection.termination_details.startsWith('rbac_access_denied')",
                )),
            }
        }
        filter(FilterSpecifier::OrFilter(accesslog::OrFilter { filters: any }))
    }
}

fn log(name: &str, filter: accesslog::AccessLogFilter, config: &impl ToAny) -> accesslog::AccessLog {
    accesslog::AccessLog {
        name: name.into(),
        filter: Some(filter),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(config.to_any())),
    }
}

/// `of`: the filter whose metadata has what its rules came to.
fn common(of: &str) -> grpc_log::CommonGrpcAccessLogConfig {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let control_plane = core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: CLUSTER.into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let asked = format!("{EXT_AUTHZ_PREFIX}shadow_effective_policy_id");
    let watched = format!("{AUDITED_PREFIX}shadow_effective_policy_id");
    let tags = [
        (LENO, "denied", "denied"),
        (LENO, "denied_policy", "policy"),
        (LENO, "denied_place", "place"),
        (LENO, "nearest_policy", "nearest"),
        (LENO, "nearest_place", "nearestPlace"),
        (LENO, "missed", "missed"),
        (of, &asked, "asked"),
        (of, &watched, "audited"),
        (of, "istio_dry_run_deny_shadow_engine_result", "dryRunDeny"),
        (
            of,
            "istio_dry_run_deny_shadow_effective_policy_id",
            "dryRunDenyPolicy",
        ),
        (of, "istio_dry_run_allow_shadow_engine_result", "dryRunAllow"),
    ];
    grpc_log::CommonGrpcAccessLogConfig {
        log_name: LOG_NAME.into(),
        grpc_service: Some(control_plane),
        transport_api_version: core::ApiVersion::V3.into(),
        buffer_flush_interval: duration(FLUSH_EVERY),
        custom_tags: tags
            .into_iter()
            .map(|(namespace, key, name)| tag(namespace, key, name))
            .collect(),
        ..Default::default()
    }
}

/// What a request's or a connection's metadata has, under a name of its own.
fn tag(namespace: &str, key: &str, name: &str) -> tracing::CustomTag {
    use metadata_kind::metadata_key::{PathSegment, path_segment::Segment};
    use metadata_kind::metadata_kind::{Kind, Request};
    let metadata = tracing::custom_tag::Metadata {
        kind: Some(metadata_kind::MetadataKind {
            kind: Some(Kind::Request(Request {})),
        }),
        metadata_key: Some(metadata_kind::MetadataKey {
            key: namespace.into(),
            path: vec![PathSegment {
                segment: Some(Segment::Key(key.into())),
            }],
        }),
        ..Default::default()
    };
    tracing::CustomTag {
        tag: name.into(),
        r#type: Some(tracing::custom_tag::Type::Metadata(metadata)),
    }
}

fn filter(specifier: FilterSpecifier) -> accesslog::AccessLogFilter {
    accesslog::AccessLogFilter {
        filter_specifier: Some(specifier),
    }
}

fn all(filters: Vec<accesslog::AccessLogFilter>) -> accesslog::AccessLogFilter {
    filter(FilterSpecifier::AndFilter(accesslog::AndFilter { filters }))
}

/// It is noted, and is this where one is named.
fn noted(namespace: &str, key: &str, value: Option<&str>) -> accesslog::AccessLogFilter {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    use matcher::value_matcher::MatchPattern;
    let pattern = value.map_or(MatchPattern::PresentMatch(true), |value| {
        MatchPattern::StringMatch(exact(value))
    });
    filter(FilterSpecifier::MetadataFilter(accesslog::MetadataFilter {
        matcher: Some(matcher::MetadataMatcher {
            filter: namespace.into(),
            path: vec![PathSegment {
                segment: Some(Segment::Key(key.into())),
            }],
            value: Some(matcher::ValueMatcher {
                match_pattern: Some(pattern),
            }),
            ..Default::default()
        }),
        match_if_key_not_found: bool_value(false),
    }))
}

fn flag(name: &str) -> accesslog::AccessLogFilter {
    filter(FilterSpecifier::ResponseFlagFilter(
        accesslog::ResponseFlagFilter {
            flags: vec![name.into()],
        },
    ))
}

fn status(code: u32) -> accesslog::AccessLogFilter {
    let value = core::RuntimeUInt32 {
        default_value: code,
        // Envoy wants a name.
        runtime_key: "leno.audit.status".into(),
    };
    filter(FilterSpecifier::StatusCodeFilter(accesslog::StatusCodeFilter {
        comparison: Some(accesslog::ComparisonFilter {
            op: accesslog::comparison_filter::Op::Eq.into(),
            value: Some(value),
        }),
    }))
}

fn expression(text: &str) -> accesslog::AccessLogFilter {
    let config = cel_filter::ExpressionFilter {
        expression: text.into(),
        ..Default::default()
    };
    filter(FilterSpecifier::ExtensionFilter(accesslog::ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".into(),
        config_type: Some(accesslog::extension_filter::ConfigType::TypedConfig(
            config.to_any(),
        )),
    }))
}
