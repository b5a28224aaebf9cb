//! Authorizers that speak `envoy.service.auth.v3`: the request as a `CheckRequest`.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use super::told::{Asking, PARTIAL_BODY, Told, told};
use crate::compile::access_log::MetadataKind;
use crate::compile::metadata::{Value, message};
use crate::compile::pb::auth::{AttributeContext, attribute_context as pb};
use crate::compile::pb::{core, protobuf};
use crate::decide::ext_authz::{noted, text};
use crate::decide::filter::Context;
use crate::message::RequestHead;

pub(super) fn attributes(
    rules: &Told,
    asking: &Asking<'_>,
    cx: &Context<'_>,
    head: &RequestHead,
) -> AttributeContext {
    let (mut source, mut destination) = rules.tells.parties(&cx.caller, cx.values);
    if let Some(service) = head.headers.get("x-envoy-downstream-service-cluster") {
        source.service = text(service);
    }
    if !rules.labels.is_empty() {
        destination.labels = cx.process.node_labels(&rules.labels).into_iter().collect();
    }
    let since = (cx.time)().duration_since(UNIX_EPOCH).unwrap_or_default();
    let request = pb::Request {
        time: Some(protobuf::Timestamp {
            seconds: since.as_secs().try_into().unwrap_or(i64::MAX),
            nanos: since.subsec_nanos().try_into().unwrap_or(0),
        }),
        http: Some(http_request(rules, asking, cx, head)),
    };
    AttributeContext {
        source: Some(source),
        destination: Some(destination),
        request: Some(request),
        context_extensions: asking.extensions.clone().into_iter().collect(),
        metadata_context: Some(noted(&rules.namespaces, Some(cx.notes))),
        route_metadata_context: Some(of_route(&rules.route_namespaces, cx)),
        tls_session: rules.tells.session(&cx.caller),
    }
}

fn http_request(rules: &Told, asking: &Asking<'_>, cx: &Context<'_>, head: &RequestHead) -> pb::HttpRequest {
    let mut raw = Vec::new();
    let mut headers = HashMap::<String, String>::new();
    let mut tell = |name: &str, value: &[u8]| match rules.raw {
        true => raw.push(core::HeaderValue {
            key: name.to_owned(),
            raw_value: value.to_vec(),
            ..Default::default()
        }),
        false => {
            let value = text(value);
            match headers.get_mut(name) {
                None => drop(headers.insert(name.to_owned(), value)),
                Some(there) => {
                    there.push(',');
                    there.push_str(&value);
                }
            }
        }
    };
    for (name, value) in told(rules, head) {
        tell(&text(name), value);
    }
    let (mut body, mut raw_body) = (String::new(), Vec::new());
    if let Some(gathered) = &asking.body {
        match gathered.rules.as_bytes {
            true => raw_body = gathered.told.to_vec(),
            false => body = text(&gathered.told),
        }
        tell(PARTIAL_BODY, gathered.is_partial().as_bytes());
    }
    pb::HttpRequest {
        id: cx.random.to_string(),
        method: text(&head.method),
        path: text(&head.path),
        host: text(&head.authority),
        scheme: text(&head.scheme),
        size: asking.body.as_ref().map_or(0, |body| body.size as i64),
        protocol: head.version.as_str().to_owned(),
        headers,
        header_map: rules.raw.then_some(core::HeaderMap { headers: raw }),
        body,
        raw_body,
        ..Default::default()
    }
}

fn of_route(namespaces: &[String], cx: &Context<'_>) -> core::Metadata {
    let of = |namespace: &String| {
        let mut found = None;
        cx.values.metadata(MetadataKind::Route, namespace, &mut |value| {
            if let Value::Fields(fields) = value {
                found = Some((namespace.clone(), message(fields)));
            }
        });
        found
    };
    core::Metadata {
        filter_metadata: namespaces.iter().filter_map(of).collect(),
        ..Default::default()
    }
}
