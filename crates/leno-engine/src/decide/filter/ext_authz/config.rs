//! The filter's configuration, and what routes change of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;

use super::authorizer::Authorizer;
use super::mutable::Mutable;
use super::told::{Body, Told};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::matcher::metadata::{MetadataMatcher, metadata};
use crate::compile::pb::{core, ext_authz as pb, protobuf};
use crate::compile::service::grpc_service;
use crate::decide::ext_authz::{Names, Tells};
use crate::runtime::{Setting, Share};

/// How long an authorizer may take, where nothing is said.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Rules {
    pub(super) authorizer: Authorizer,
    pub(super) told: Told,
    pub(super) body: Option<Body>,
    pub(super) enabled: When,
    /// Where the filter is not enabled: whether nothing goes on.
    pub(super) denies_disabled: Setting<bool>,
    pub(super) on_failure: OnFailure,
    pub(super) mutable: Mutable,
    pub(super) reroutes: bool,
    pub(super) takes_metadata: bool,
    pub(super) charges_cluster: bool,
    /// Bytes; None: all of it.
    pub(super) most_denied_body: Option<usize>,
    pub(super) counts: Counts,
}

/// Requests that the authorizer is asked about.
#[derive(Debug)]
pub(super) struct When {
    pub(super) share: Option<Setting<Share>>,
    pub(super) noted: Option<MetadataMatcher>,
}

#[derive(Debug)]
pub(super) struct OnFailure {
    pub(super) allows: bool,
    /// Requests that go on for that reason have a header that says so.
    pub(super) marks: bool,
    pub(super) status: u16,
}

/// Names of counters, below the manager's and the cluster's.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) ok: String,
    pub(super) denied: String,
    pub(super) error: String,
    pub(super) disabled: String,
    pub(super) failure_mode_allowed: String,
    pub(super) invalid: String,
    pub(super) ignored_metadata: String,
    /// Nothing of leno's ever counts there.
    others: [String; 3],
}

/// What one level of the route table says.
#[derive(Debug)]
pub(super) enum OfRoute {
    Disabled(bool),
    Settings(Settings),
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) extensions: BTreeMap<String, String>,
    /// Some(None): none is told.
    pub(super) body: Option<Option<Body>>,
    /// In place of the filter's own.
    pub(super) authorizer: Option<Arc<Authorizer>>,
}

pub(super) fn rules(at: &At<'_>, message: &pb::ExtAuthz) -> Result<Rules, Rejection> {
    let pb::ExtAuthz {
        transport_api_version,
        failure_mode_allow,
        failure_mode_allow_header_add,
        with_request_body,
        clear_route_cache,
        status_on_error,
        validate_mutations,
        metadata_context_namespaces,
        typed_metadata_context_namespaces,
        route_metadata_context_namespaces,
        route_typed_metadata_context_namespaces,
        filter_enabled,
        filter_enabled_metadata,
        deny_at_disable,
        include_peer_certificate,
        stat_prefix,
        bootstrap_metadata_labels_key,
        allowed_headers,
        disallowed_headers,
        include_tls_session,
        charge_cluster_response_stats,
        encode_raw_headers,
        decoder_header_mutation_rules,
        enable_dynamic_metadata_ingestion,
        filter_metadata,
        emit_filter_state_stats,
        max_denied_response_body_bytes,
        enforce_response_header_limits,
        shadow_mode,
        emit_client_span,
        services,
    } = message;
    refuse!(at; shadow_mode, enforce_response_header_limits);
    no_effect!(at, "there is no typed metadata"; typed_metadata_context_namespaces, route_typed_metadata_context_namespaces);
    no_effect!(at, "no filter state is kept for logs"; filter_metadata, emit_filter_state_stats);
    silent!("calls of the proxy's own are not traced"; emit_client_span);
    let (authorizer, allowed) = match at.required("services", services)? {
        pb::ext_authz::Services::GrpcService(service) => {
            if *transport_api_version != i32::from(core::ApiVersion::V3) {
                return Err(at.field("transport_api_version").reject("only V3"));
            }
            let authorizer = of_grpc(&at.field("grpc_service"), service)?;
            (
                authorizer,
                Names::compile(at, "allowed_headers", allowed_headers)?,
            )
        }
        pb::ext_authz::Services::HttpService(service) => {
            let (authorizer, allowed) = of_http(&at.field("http_service"), service)?;
            let whole = Names::compile(at, "allowed_headers", allowed_headers)?;
            if allowed.is_some() && whole.is_some() {
                return Err(at
                    .field("allowed_headers")
                    .reject("http_service.authorization_request.allowed_headers says it already"));
            }
            (authorizer, Some(allowed.or(whole).unwrap_or_default()))
        }
    };
    Ok(Rules {
        authorizer,
        told: Told {
            allowed,
            disallowed: Names::compile(at, "disallowed_headers", disallowed_headers)?,
            always: matches!(services, Some(pb::ext_authz::Services::HttpService(_))),
            raw: *encode_raw_headers,
            tells: Tells {
                certificate: *include_peer_certificate,
                tls_session: *include_tls_session,
            },
            labels: bootstrap_metadata_labels_key.clone(),
            namespaces: metadata_context_namespaces.clone(),
            route_namespaces: route_metadata_context_namespaces.clone(),
        },
        body: body(at, with_request_body)?,
        enabled: When {
            share: match filter_enabled {
                None => None,
                Some(share) => Some(at.field("filter_enabled").runtime_fraction(share)?),
            },
            noted: match filter_enabled_metadata {
                None => None,
                Some(matcher) => Some(metadata(&at.field("filter_enabled_metadata"), matcher)?),
            },
        },
        denies_disabled: match deny_at_disable {
            None => false.into(),
            flag => at.field("deny_at_disable").enabled(flag.as_ref()),
        },
        on_failure: OnFailure {
            allows: *failure_mode_allow,
            marks: *failure_mode_allow_header_add,
            status: match status_on_error {
                None => 403,
                Some(status) => status_code(&at.field("status_on_error"), status.code)?,
            },
        },
        mutable: Mutable::compile(
            &at.field("decoder_header_mutation_rules"),
            decoder_header_mutation_rules.as_ref(),
            *validate_mutations,
        )?,
        reroutes: *clear_route_cache,
        takes_metadata: enable_dynamic_metadata_ingestion
            .as_ref()
            .is_none_or(|takes| takes.value),
        charges_cluster: charge_cluster_response_stats
            .as_ref()
            .is_none_or(|charges| charges.value),
        most_denied_body: match *max_denied_response_body_bytes {
            0 => None,
            most => Some(most as usize),
        },
        counts: Counts::new(stat_prefix),
    })
}

pub(super) fn of_route(at: &At<'_>, any: &protobuf::Any) -> Result<Option<OfRoute>, Rejection> {
    use pb::ext_authz_per_route::Override;
    if !any.is::<pb::ExtAuthzPerRoute>() {
        return Ok(None);
    }
    let pb::ExtAuthzPerRoute { r#override } = &at.unpack::<pb::ExtAuthzPerRoute>(any)?;
    Ok(Some(match at.required("override", r#override)? {
        Override::Disabled(disabled) => OfRoute::Disabled(*disabled),
        Override::CheckSettings(message) => {
            OfRoute::Settings(settings(&at.field("check_settings"), message)?)
        }
    }))
}

fn settings(at: &At<'_>, message: &pb::CheckSettings) -> Result<Settings, Rejection> {
    use pb::check_settings::ServiceOverride;
    let pb::CheckSettings {
        context_extensions,
        disable_request_body_buffering,
        with_request_body,
        emit_client_span,
        service_override,
    } = message;
    silent!("calls of the proxy's own are not traced"; emit_client_span);
    if *disable_request_body_buffering && with_request_body.is_some() {
        let at = at.field("with_request_body");
        return Err(at.reject("disable_request_body_buffering excludes it"));
    }
    Ok(Settings {
        extensions: context_extensions.clone().into_iter().collect(),
        body: match *disable_request_body_buffering {
            true => Some(None),
            false => body(at, with_request_body)?.map(Some),
        },
        authorizer: match service_override {
            None => None,
            Some(ServiceOverride::GrpcService(service)) => {
                Some(Arc::new(of_grpc(&at.field("grpc_service"), service)?))
            }
            Some(ServiceOverride::HttpService(service)) => {
                let at = at.field("http_service");
                let (authorizer, allowed) = of_http(&at, service)?;
                if allowed.is_some() {
                    // As in Envoy which headers are told is the filter's matter.
                    at.field("authorization_request")
                        .field("allowed_headers")
                        .warn("the filter's own holds");
                }
                Some(Arc::new(authorizer))
            }
        },
    })
}

fn of_grpc(at: &At<'_>, message: &core::GrpcService) -> Result<Authorizer, Rejection> {
    let service = grpc_service(at, message)?;
    Ok(Authorizer::Grpc(Arc::new(service), PATIENCE))
}

/// The headers that it is told besides those that it always is.
fn of_http(at: &At<'_>, message: &pb::HttpService) -> Result<(Authorizer, Option<Names>), Rejection> {
    let (authorizer, allowed) = super::http::compile(at, message)?;
    Ok((Authorizer::Http(Box::new(authorizer)), allowed))
}

fn body(at: &At<'_>, message: &Option<pb::BufferSettings>) -> Result<Option<Body>, Rejection> {
    let Some(pb::BufferSettings {
        max_request_bytes,
        allow_partial_message,
        pack_as_bytes,
    }) = message
    else {
        return Ok(None);
    };
    if *max_request_bytes == 0 {
        let at = at.field("with_request_body");
        return Err(at.field("max_request_bytes").reject("must be more than zero"));
    }
    Ok(Some(Body {
        most: *max_request_bytes as usize,
        partial: *allow_partial_message,
        as_bytes: *pack_as_bytes,
    }))
}

/// One of those that Envoy knows by name.
fn status_code(at: &At<'_>, code: i32) -> Result<u16, Rejection> {
    let unknown = || at.field("code").reject(format!("not a status: {code}"));
    match u16::try_from(code) {
        Ok(status @ 200..=599) => Ok(status),
        _ => Err(unknown()),
    }
}

// === impl Counts ===

impl Counts {
    fn new(prefix: &str) -> Self {
        let dot = if prefix.is_empty() { "" } else { "." };
        let name = |what: &str| format!("ext_authz.{prefix}{dot}{what}");
        Self {
            ok: name("ok"),
            denied: name("denied"),
            error: name("error"),
            disabled: name("disabled"),
            failure_mode_allowed: name("failure_mode_allowed"),
            invalid: name("invalid"),
            ignored_metadata: name("ignored_dynamic_metadata"),
            others: [
                name("filter_state_name_collision"),
                name("omitted_response_headers"),
                name("request_header_limits_reached"),
            ],
        }
    }

    pub(super) fn all(&self) -> Vec<String> {
        let Self {
            ok,
            denied,
            error,
            disabled,
            failure_mode_allowed,
            invalid,
            ignored_metadata,
            others,
        } = self;
        let own = [
            ok,
            denied,
            error,
            disabled,
            failure_mode_allowed,
            invalid,
            ignored_metadata,
        ];
        own.into_iter().chain(others).cloned().collect()
    }
}

impl When {
    /// Nothing is said of it.
    pub(super) fn noted_at(&self) -> Option<(&str, &[String])> {
        let matcher = self.noted.as_ref()?;
        Some((&matcher.namespace, &matcher.path))
    }
}
