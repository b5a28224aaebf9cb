//! An authorizer as Envoy's `ext_authz` filters, as istiod makes them.

use std::time::Duration;

use leno_model::{Authorizer, AuthorizerHttp};
use leno_proto::ToAny;

use super::{EXT_AUTHZ_PREFIX, HTTP_FILTER, NETWORK_FILTER};
use crate::naming::outbound_cluster;
use crate::parts::{duration, network_filter as filter};
use crate::pb::{core, ext_authz, hcm, listener, matcher, network_ext_authz, types};

/// As istiod: who does not say it waits that long.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn http_filter(authorizer: &Authorizer) -> hcm::HttpFilter {
    let (services, allowed) = match &authorizer.http {
        None => {
            let service = grpc_service(authorizer);
            (ext_authz::ext_authz::Services::GrpcService(service), None)
        }
        Some(http) => {
            let service = http_service(authorizer, http);
            (
                ext_authz::ext_authz::Services::HttpService(service),
                names(&http.told),
            )
        }
    };
    let config = ext_authz::ExtAuthz {
        transport_api_version: core::ApiVersion::V3.into(),
        failure_mode_allow: authorizer.fails_open,
        clear_route_cache: authorizer.reroutes,
        status_on_error: authorizer.status_on_error.map(|status| types::HttpStatus {
            code: i32::from(status),
        }),
        with_request_body: authorizer.body.map(|body| ext_authz::BufferSettings {
            max_request_bytes: body.most,
            allow_partial_message: body.partial,
            pack_as_bytes: body.as_bytes,
        }),
        allowed_headers: allowed,
        filter_enabled_metadata: Some(asked_by(HTTP_FILTER, authorizer)),
        services: Some(services),
        ..Default::default()
    };
    hcm::HttpFilter {
        name: "envoy.filters.http.ext_authz".into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config.to_any())),
        ..Default::default()
    }
}

/// Only gRPC is spoken about connections.
pub(super) fn network_filter(authorizer: &Authorizer) -> listener::Filter {
    let config = network_ext_authz::ExtAuthz {
        stat_prefix: "tcp.".into(),
        failure_mode_allow: authorizer.fails_open,
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_service: Some(grpc_service(authorizer)),
        filter_enabled_metadata: Some(asked_by(NETWORK_FILTER, authorizer)),
        ..Default::default()
    };
    filter("envoy.filters.network.ext_authz", &config)
}

/// Of what the RBAC filter before it has noted.
fn asked_by(rbac: &str, authorizer: &Authorizer) -> matcher::MetadataMatcher {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    use matcher::string_matcher::MatchPattern;
    let key = format!("{EXT_AUTHZ_PREFIX}shadow_effective_policy_id");
    let prefix = format!("istio-ext-authz-{}", authorizer.name);
    let text = matcher::StringMatcher {
        match_pattern: Some(MatchPattern::Prefix(prefix)),
        ..Default::default()
    };
    matcher::MetadataMatcher {
        filter: rbac.into(),
        path: vec![PathSegment {
            segment: Some(Segment::Key(key)),
        }],
        value: Some(matcher::ValueMatcher {
            match_pattern: Some(matcher::value_matcher::MatchPattern::StringMatch(text)),
        }),
        ..Default::default()
    }
}

fn grpc_service(authorizer: &Authorizer) -> core::GrpcService {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: cluster(authorizer),
            // A cluster's name is no authority.
            authority: authorizer.host.to_string(),
            ..Default::default()
        })),
        timeout: duration(authorizer.timeout.unwrap_or(PATIENCE)),
        ..Default::default()
    }
}

fn http_service(authorizer: &Authorizer, http: &AuthorizerHttp) -> ext_authz::HttpService {
    let added = http.added.iter();
    let added: Vec<core::HeaderValue> = added
        .map(|(name, value)| core::HeaderValue {
            key: name.clone(),
            value: value.clone(),
            ..Default::default()
        })
        .collect();
    let response = ext_authz::AuthorizationResponse {
        allowed_upstream_headers: names(&http.to_upstream),
        allowed_client_headers: names(&http.to_client_on_deny),
        allowed_client_headers_on_success: names(&http.to_client_on_allow),
        ..Default::default()
    };
    ext_authz::HttpService {
        server_uri: Some(core::HttpUri {
            // Its host is not looked at.
            uri: format!("http://{}", authorizer.host),
            timeout: duration(authorizer.timeout.unwrap_or(PATIENCE)),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster(authorizer))),
        }),
        path_prefix: http.path_prefix.clone(),
        authorization_request: (!added.is_empty()).then(|| ext_authz::AuthorizationRequest {
            headers_to_add: added,
            ..Default::default()
        }),
        authorization_response: (response != ext_authz::AuthorizationResponse::default()).then_some(response),
        ..Default::default()
    }
}

fn cluster(authorizer: &Authorizer) -> String {
    outbound_cluster(authorizer.port, None, &authorizer.host)
}

/// Names of headers, of which one end may be a star.
fn names(names: &[String]) -> Option<matcher::ListStringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = |name: &String| {
        let pattern = if let Some(suffix) = name.strip_prefix('*') {
            MatchPattern::Suffix(suffix.to_owned())
        } else if let Some(prefix) = name.strip_suffix('*') {
            MatchPattern::Prefix(prefix.to_owned())
        } else {
            MatchPattern::Exact(name.clone())
        };
        matcher::StringMatcher {
            ignore_case: true,
            match_pattern: Some(pattern),
        }
    };
    (!names.is_empty()).then(|| matcher::ListStringMatcher {
        patterns: names.iter().map(pattern).collect(),
    })
}
