//! Who is asked: the request as it is told, as an effect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;

use super::Asking;
use super::config::Rules;
use super::http::HttpAuthorizer;
use crate::compile::access_log::MetadataKind;
use crate::compile::metadata::{Value, message};
use crate::compile::pb::auth::{AttributeContext, CheckRequest, attribute_context as pb};
use crate::compile::pb::{core, protobuf};
use crate::compile::service::GrpcService;
use crate::decide::ext_authz::{CHECK, noted, text};
use crate::decide::filter::{Context, Effect};
use crate::message::{RequestHead, Version};

/// Says that not all of the body is told.
pub(super) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

#[derive(Debug)]
pub(super) enum Authorizer {
    Grpc(Arc<GrpcService>, Duration),
    Http(Box<HttpAuthorizer>),
}

impl Authorizer {
    pub(super) fn ask(
        &self,
        rules: &Rules,
        asking: &Asking<'_>,
        cx: &Context<'_>,
        head: &RequestHead,
    ) -> Effect {
        match self {
            Self::Grpc(service, patience) => {
                let attributes = attributes(rules, asking, cx, head);
                let message = CheckRequest {
                    attributes: Some(attributes),
                };
                Effect::Ask {
                    service: Arc::clone(service),
                    path: CHECK,
                    message: message.encode_to_vec().into(),
                    patience: *patience,
                }
            }
            Self::Http(authorizer) => authorizer.ask(rules, asking, cx, head),
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> &str {
        match self {
            Self::Grpc(service, _) => &service.cluster,
            Self::Http(authorizer) => &authorizer.uri,
        }
    }
}

fn attributes(rules: &Rules, asking: &Asking<'_>, cx: &Context<'_>, head: &RequestHead) -> AttributeContext {
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

fn http_request(rules: &Rules, asking: &Asking<'_>, cx: &Context<'_>, head: &RequestHead) -> pb::HttpRequest {
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

/// The fields of a head that an authorizer may see.
pub(super) fn told<'h>(
    rules: &'h Rules,
    head: &'h RequestHead,
) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
    let own: [(&[u8], &[u8]); 4] = [
        (b":authority", &head.authority),
        (b":path", &head.path),
        (b":method", &head.method),
        (b":scheme", &head.scheme),
    ];
    // What a head of HTTP/1.1 says of it is no header here.
    let upgrade = head.upgrade.as_ref().filter(|_| head.version != Version::Http2);
    let upgrade = upgrade.into_iter().flat_map(|protocol| {
        let wants: [(&[u8], &[u8]); 2] = [(b"connection", b"Upgrade"), (b"upgrade", protocol)];
        wants
    });
    let is_http = matches!(rules.authorizer, Authorizer::Http(_));
    let always = move |name: &[u8]| {
        is_http && matches!(name, b":authority" | b":path" | b":method" | b"authorization")
    };
    let may = move |name: &[u8]| {
        name != PARTIAL_BODY.as_bytes()
            && !rules
                .disallowed
                .as_ref()
                .is_some_and(|names| names.contains(name))
            && (always(name) || rules.allowed.as_ref().is_none_or(|names| names.contains(name)))
    };
    own.into_iter()
        .chain(head.headers.iter())
        .chain(upgrade)
        .filter(move |(name, _)| may(name))
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

/// A body as far as it has come.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) rules: super::config::Body,
    /// No more than may be told.
    pub(super) told: Bytes,
    pub(super) size: usize,
}

impl Gathered {
    pub(super) fn is_partial(&self) -> &'static str {
        match self.told.len() == self.size {
            true => "false",
            false => "true",
        }
    }
}
