//! MeshConfig's `extensionProviders`, as far as they authorize.

use std::collections::BTreeSet;

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::mesh_config::{ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider, RequestBodyInCheck};
use crate::quantity::Span;

/// Those that Envoy knows by name and that can be an answer's.
const STATUSES: &str = "200 201 202 203 204 205 206 207 208 226 300 301 302 303 304 305 307 308 400 401 402 403 404 405 \
                        406 407 408 409 410 411 412 413 414 415 416 417 421 422 423 424 426 428 429 431 500 501 502 503 \
                        504 505 506 507 508 510 511";

pub(super) fn check(check: &mut Check<'_>, providers: &[ExtensionProvider]) {
    let mut known = BTreeSet::new();
    for (i, provider) in providers.iter().enumerate() {
        let at = format!("spec.extensionProviders[{i}]");
        if provider.name.is_empty() {
            let message = "a provider needs a name";
            let hint = "policies call it by that: provider: {name: …}";
            check.error(Code::MissingField, format!("{at}.name"), message, hint);
        } else if !known.insert(provider.name.as_str()) {
            let message = format!("a second provider {}", provider.name);
            check.error(
                Code::DuplicateName,
                format!("{at}.name"),
                message,
                "rename one of them",
            );
        }
        if provider.envoy_ext_authz_http.is_some() && provider.envoy_ext_authz_grpc.is_some() {
            let message = "a provider speaks HTTP or gRPC";
            let hint = "make two of it, with names of their own";
            check.error(Code::OneOf, format!("{at}.envoyExtAuthzGrpc"), message, hint);
        }
        if let Some(http) = &provider.envoy_ext_authz_http {
            self::http(check, &format!("{at}.envoyExtAuthzHttp"), http);
        }
        if let Some(grpc) = &provider.envoy_ext_authz_grpc {
            let ExtAuthzGrpc {
                service,
                port,
                timeout,
                fail_open: _,
                clear_route_cache: _,
                status_on_error,
                include_request_body_in_check,
            } = grpc;
            let at = format!("{at}.envoyExtAuthzGrpc");
            place(check, &at, service, *port);
            common(
                check,
                &at,
                timeout,
                status_on_error,
                include_request_body_in_check,
            );
        }
    }
}

fn http(check: &mut Check<'_>, at: &str, http: &ExtAuthzHttp) {
    let ExtAuthzHttp {
        service,
        port,
        timeout,
        path_prefix,
        fail_open: _,
        clear_route_cache: _,
        status_on_error,
        include_headers_in_check,
        include_request_headers_in_check,
        include_additional_headers_in_check,
        include_request_body_in_check,
        headers_to_upstream_on_allow,
        headers_to_downstream_on_deny,
        headers_to_downstream_on_allow,
    } = http;
    place(check, at, service, *port);
    common(check, at, timeout, status_on_error, include_request_body_in_check);
    if !path_prefix.is_empty() && !path_prefix.starts_with('/') {
        let message = format!("{path_prefix:?} does not begin with a slash");
        check.error(Code::BadPath, format!("{at}.pathPrefix"), message, "");
    }
    let lists = [
        ("includeHeadersInCheck", include_headers_in_check),
        ("includeRequestHeadersInCheck", include_request_headers_in_check),
        ("headersToUpstreamOnAllow", headers_to_upstream_on_allow),
        ("headersToDownstreamOnDeny", headers_to_downstream_on_deny),
        ("headersToDownstreamOnAllow", headers_to_downstream_on_allow),
    ];
    for (field, names) in lists {
        for (i, name) in names.iter().enumerate() {
            let path = format!("{at}.{field}[{i}]");
            let bare = name.strip_prefix('*').or_else(|| name.strip_suffix('*'));
            match bare.unwrap_or(name) {
                "" => {
                    let hint = "name them, or their beginning: x-auth-*";
                    check.error(Code::BadHeader, path, "it stands for every header", hint);
                }
                bare if !is_header_name(bare) => {
                    let message = format!("{name:?} is no header name");
                    check.error(
                        Code::BadHeader,
                        &path,
                        message,
                        "a star stands at one of its ends",
                    );
                }
                _ => {}
            }
        }
    }
    for (name, value) in include_additional_headers_in_check {
        if !is_header_name(name) || value.contains(['\r', '\n', '\0']) {
            let message = format!("{name:?}: {value:?} is no header");
            let path = format!("{at}.includeAdditionalHeadersInCheck");
            check.error(Code::BadHeader, path, message, "");
        }
    }
}

fn place(check: &mut Check<'_>, at: &str, service: &str, port: u32) {
    let host = match service.split_once('/') {
        Some((namespace, host)) => names::is_label(namespace).then_some(host),
        None => Some(service),
    };
    if !host.is_some_and(names::is_host) {
        let message = match service {
            "" => "a provider needs a service".to_owned(),
            service => format!("{service:?} is no service"),
        };
        let hint = "NAMESPACE/HOST or HOST, as authz.default.svc.cluster.local";
        check.error(Code::BadHost, format!("{at}.service"), message, hint);
    }
    if !(1..=65_535).contains(&port) {
        let message = format!("{port} is no port");
        check.error(Code::OutOfRange, format!("{at}.port"), message, "1 to 65535");
    }
}

fn common(
    check: &mut Check<'_>,
    at: &str,
    timeout: &Option<Span>,
    status: &str,
    body: &Option<RequestBodyInCheck>,
) {
    if timeout.is_some_and(|timeout| timeout.0.is_zero()) {
        let message = "nobody answers in no time";
        check.error(Code::BadDuration, format!("{at}.timeout"), message, "");
    }
    if !status.is_empty() && !STATUSES.split_whitespace().any(|known| known == status) {
        let message = format!("{status:?} is no status that a proxy may answer");
        check.error(
            Code::OutOfRange,
            format!("{at}.statusOnError"),
            message,
            "\"403\", \"503\"",
        );
    }
    if body.is_some_and(|body| body.max_request_bytes == 0) {
        let path = format!("{at}.includeRequestBodyInCheck.maxRequestBytes");
        let hint = "how much of a body the proxy may keep, in bytes";
        check.error(Code::OutOfRange, path, "must be more than zero", hint);
    }
}

fn is_header_name(name: &str) -> bool {
    names::is_token(name) && !name.contains('*')
}
