//! Authorizers that speak HTTP: they are asked by the request's own head, and answer by theirs.

#![allow(deprecated)]

use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, Edit, How, Outcome, Reply};
use super::mutable::is_framing;
use super::told::{Asking, PARTIAL_BODY, Told, told};
use crate::compile::Rejection;
use crate::compile::access_log::{Format, Heads, format};
use crate::compile::at::{At, refuse};
use crate::compile::metadata::Value;
use crate::compile::pb::{core, ext_authz as pb};
use crate::compile::service::http_uri;
use crate::decide::ext_authz::{Names, text};
use crate::decide::filter::{Context, Effect};
use crate::message::{Decimal, Headers, RequestHead, ResponseHead};

/// The names of headers of the request that are to be taken away.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

#[derive(Debug)]
pub(super) struct HttpAuthorizer {
    cluster: String,
    /// For people: requests have their own authority and path.
    pub(super) uri: String,
    timeout: Duration,
    path_prefix: String,
    /// In place of the request's.
    path: Option<String>,
    adds: Vec<(String, Format)>,
    /// Of its answer: headers that the request gets,
    set: Names,
    append: Names,
    /// and those that the client gets where it denies (None: all), and where it allows.
    on_denial: Option<Names>,
    on_success: Names,
    noted: Names,
}

pub(super) fn compile(
    at: &At<'_>,
    message: &pb::HttpService,
) -> Result<(HttpAuthorizer, Option<Names>), Rejection> {
    let pb::HttpService {
        server_uri,
        path_prefix,
        path_override,
        authorization_request,
        authorization_response,
        retry_policy,
    } = message;
    refuse!(at; retry_policy);
    let server_uri = at.required("server_uri", server_uri)?;
    let uri = http_uri(&at.field("server_uri"), server_uri)?;
    if !path_prefix.is_empty() && !path_override.is_empty() {
        return Err(at.field("path_override").reject("path_prefix excludes it"));
    }
    for (field, path) in [("path_prefix", path_prefix), ("path_override", path_override)] {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(at.field(field).reject("must begin with /"));
        }
    }
    let request = authorization_request.clone().unwrap_or_default();
    let pb::AuthorizationRequest {
        allowed_headers,
        headers_to_add,
    } = &request;
    let of_request = at.field("authorization_request");
    let allowed = Names::compile(&of_request, "allowed_headers", allowed_headers)?;
    let adds = of_request.each("headers_to_add", headers_to_add, |at, header| {
        let core::HeaderValue {
            key,
            value,
            raw_value,
        } = header;
        refuse!(at; raw_value);
        Ok((
            at.field("key").header_name(key)?,
            format(&at.field("value"), value)?,
        ))
    })?;
    let response = authorization_response.clone().unwrap_or_default();
    let pb::AuthorizationResponse {
        allowed_upstream_headers,
        allowed_upstream_headers_to_append,
        allowed_client_headers,
        allowed_client_headers_on_success,
        dynamic_metadata_from_headers,
    } = &response;
    let of_response = at.field("authorization_response");
    let names = |field, list| Names::compile(&of_response, field, list);
    let authorizer = HttpAuthorizer {
        cluster: uri.cluster,
        uri: server_uri.uri.clone(),
        timeout: uri.timeout,
        path_prefix: path_prefix.clone(),
        path: Some(path_override.clone()).filter(|path| !path.is_empty()),
        adds,
        set: names("allowed_upstream_headers", allowed_upstream_headers)?.unwrap_or_default(),
        append: names(
            "allowed_upstream_headers_to_append",
            allowed_upstream_headers_to_append,
        )?
        .unwrap_or_default(),
        on_denial: names("allowed_client_headers", allowed_client_headers)?,
        on_success: names(
            "allowed_client_headers_on_success",
            allowed_client_headers_on_success,
        )?
        .unwrap_or_default(),
        noted: names("dynamic_metadata_from_headers", dynamic_metadata_from_headers)?.unwrap_or_default(),
    };
    Ok((authorizer, allowed))
}

impl HttpAuthorizer {
    pub(super) fn ask(
        &self,
        rules: &Told,
        asking: &Asking<'_>,
        cx: &Context<'_>,
        head: &RequestHead,
    ) -> Effect {
        let body = asking
            .body
            .as_ref()
            .map_or(Bytes::new(), |body| body.told.clone());
        let mut headers = Headers::default();
        headers.append("content-length", Decimal::from(body.len()));
        for (name, value) in told(rules, head) {
            if name.starts_with(b":") || is_framing(name) {
                continue;
            }
            let Ok(said) = std::str::from_utf8(name) else {
                continue;
            };
            let there = (!rules.raw).then(|| headers.joined(said)).flatten();
            match there.map(|there| [&there, &b","[..], value].concat()) {
                Some(longer) => headers.set(name, longer),
                None => headers.append(name, value),
            }
        }
        if let Some(body) = &asking.body {
            headers.set(PARTIAL_BODY, body.is_partial());
        }
        let heads = Heads {
            request: Some(head),
            ..Heads::default()
        };
        for (name, value) in &self.adds {
            let mut out = Vec::new();
            value.write_omitting(heads, cx.values, &mut out);
            headers.set(name, out);
        }
        // As Envoy's requests of its own have it.
        headers.set("x-envoy-internal", "true");
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        headers.set("x-envoy-expected-rq-timeout-ms", Decimal::from(millis));
        let path = match &self.path {
            Some(path) => Bytes::copy_from_slice(path.as_bytes()),
            None if self.path_prefix.is_empty() => head.path.clone(),
            None => [self.path_prefix.as_bytes(), &head.path].concat().into(),
        };
        Effect::Call {
            cluster: self.cluster.clone(),
            request: Box::new(RequestHead {
                version: head.version,
                method: head.method.clone(),
                scheme: Bytes::from_static(b"http"),
                authority: head.authority.clone(),
                path,
                headers,
                upgrade: None,
            }),
            body,
            timeout: self.timeout,
        }
    }

    /// What it has said.
    pub(super) fn answer(&self, head: &ResponseHead, body: Bytes) -> Answer {
        let ResponseHead { status, headers, .. } = head;
        if *status >= 500 {
            return Answer::failed(format!("it answers {status}"));
        }
        let edit = |name: &[u8], value: &[u8], how| Edit {
            name: name.to_vec(),
            value: value.to_vec(),
            how,
        };
        let fields = || headers.iter().filter(|(name, _)| *name != TO_REMOVE.as_bytes());
        let metadata = fields()
            .filter(|(name, _)| self.noted.contains(name))
            .map(|(name, value)| (text(name), Value::Text(text(value))))
            .collect();
        if *status != 200 {
            let is_told = |name: &[u8]| match &self.on_denial {
                None => true,
                Some(names) => matches!(name, b"www-authenticate" | b"location") || names.contains(name),
            };
            let told = fields().filter(|(name, _)| is_told(name));
            return Answer {
                metadata,
                ..Answer::of(Outcome::Denied(Reply {
                    status: Some(*status).filter(|status| *status >= 200),
                    headers: told.map(|(name, value)| edit(name, value, How::Add)).collect(),
                    body,
                }))
            };
        }
        let mut request: Vec<Edit> = Vec::new();
        for (name, value) in fields().filter(|(name, _)| self.set.contains(name)) {
            request.push(edit(name, value, How::Set));
        }
        for (name, value) in fields().filter(|(name, _)| self.append.contains(name)) {
            request.push(edit(name, value, How::Add));
        }
        let removed = headers
            .get_all(TO_REMOVE)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|name| text(name.trim_ascii()));
        Answer {
            request,
            remove: removed.filter(|name| !name.is_empty()).collect(),
            response: fields()
                .filter(|(name, _)| self.on_success.contains(name))
                .map(|(name, value)| edit(name, value, How::Add))
                .collect(),
            metadata,
            ..Answer::of(Outcome::Allowed)
        }
    }
}
