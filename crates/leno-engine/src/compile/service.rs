//! Services that the proxy itself calls, by its own clusters: `envoy.config.core.v3.GrpcService` and `HttpService`.

use std::time::Duration;

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::pb::core;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcService {
    pub cluster: String,
    /// `:authority`
    pub authority: String,
    /// None: as long as the caller waits.
    pub timeout: Option<Duration>,
    /// Headers of each call.
    pub metadata: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpService {
    pub cluster: String,
    /// Of its URI.
    pub authority: String,
    pub path: String,
    pub timeout: Duration,
    pub headers: Vec<(String, String)>,
}

/// Where something is to be had.
pub(crate) struct HttpUri {
    pub(crate) cluster: String,
    /// It says `https`; whether TLS is spoken is the cluster's matter.
    pub(crate) secure: bool,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) timeout: Duration,
}

pub(crate) fn grpc_service(at: &At<'_>, message: &core::GrpcService) -> Result<GrpcService, Rejection> {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let core::GrpcService {
        timeout,
        initial_metadata,
        retry_policy,
        target_specifier,
    } = message;
    refuse!(at; retry_policy);
    let grpc = match at.required("target_specifier", target_specifier)? {
        TargetSpecifier::EnvoyGrpc(grpc) => grpc,
        TargetSpecifier::GoogleGrpc(_) => return Err(at.field("google_grpc").reject("not supported")),
    };
    let envoy_grpc = at.field("envoy_grpc");
    let EnvoyGrpc {
        cluster_name,
        authority,
        retry_policy,
        max_receive_message_length,
        skip_envoy_headers,
    } = grpc;
    refuse!(envoy_grpc; retry_policy);
    no_effect!(envoy_grpc, "answers are bounded by leno's own limit"; max_receive_message_length);
    silent!("calls never have Envoy's x-envoy-internal and x-forwarded-for"; skip_envoy_headers);
    envoy_grpc.not_empty("cluster_name", cluster_name)?;
    Ok(GrpcService {
        cluster: cluster_name.clone(),
        authority: match authority.as_str() {
            "" => cluster_name.clone(),
            authority => authority.to_owned(),
        },
        timeout: at.timeout("timeout", timeout, None)?,
        metadata: at.each("initial_metadata", initial_metadata, header)?,
    })
}

pub(crate) fn http_service(at: &At<'_>, message: &core::HttpService) -> Result<HttpService, Rejection> {
    let core::HttpService {
        http_uri,
        request_headers_to_add,
        formatters,
    } = message;
    refuse!(at; formatters);
    let uri = self::http_uri(&at.field("http_uri"), at.required("http_uri", http_uri)?)?;
    Ok(HttpService {
        cluster: uri.cluster,
        authority: uri.authority,
        path: uri.path,
        timeout: uri.timeout,
        headers: at.each("request_headers_to_add", request_headers_to_add, |at, option| {
            let core::HeaderValueOption {
                header: said,
                append,
                append_action,
                keep_empty_value,
            } = option;
            refuse!(at; append, append_action, keep_empty_value);
            header(&at.field("header"), at.required("header", said)?)
        })?,
    })
}

pub(crate) fn http_uri(at: &At<'_>, message: &core::HttpUri) -> Result<HttpUri, Rejection> {
    let core::HttpUri {
        uri,
        timeout,
        http_upstream_type,
    } = message;
    let Some(core::http_uri::HttpUpstreamType::Cluster(cluster)) = http_upstream_type else {
        return Err(at.field("cluster").reject("required"));
    };
    let (authority, path) = parts(uri).ok_or_else(|| {
        let at = at.field("uri");
        at.reject(format!("not an http or https URI: {uri:?}"))
    })?;
    Ok(HttpUri {
        cluster: cluster.clone(),
        secure: uri.starts_with("https:"),
        authority,
        path,
        timeout: at
            .duration("timeout", timeout)?
            .ok_or_else(|| at.field("timeout").reject("required"))?,
    })
}

/// A header with a fixed value.
pub(crate) fn header(at: &At<'_>, message: &core::HeaderValue) -> Result<(String, String), Rejection> {
    let core::HeaderValue {
        key,
        value,
        raw_value,
    } = message;
    refuse!(at; raw_value);
    let name = at.field("key").header_name(key)?;
    if value.contains('%') {
        let at = at.field("value");
        return Err(at.reject("command operators are not supported here"));
    }
    Ok((name, value.clone()))
}

/// `http://authority/path`
fn parts(uri: &str) -> Option<(String, String)> {
    let rest = uri
        .strip_prefix("http://")
        .or_else(|| uri.strip_prefix("https://"))?;
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if authority.is_empty() {
        return None;
    }
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    Some((authority.to_owned(), path))
}
