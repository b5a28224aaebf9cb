//! Answers of the proxy's own: what a route says by itself, what went wrong, and gRPC's form of both.

use bytes::Bytes;
use leno_engine::compile::access_log::{Attributes, FormatValues, Heads, MetadataKind, Operator};
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::local_reply::{BodyFormat, LocalReplies};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::metadata::Value;
use leno_engine::decide::log_filter::Facts;
use leno_engine::decide::normalise::Normalised;
use leno_engine::decide::retry::is_valid_control;
use leno_engine::decide::route::{Decision, is_grpc};
use leno_engine::decide::timeout::Heard;
use leno_engine::flags::Flag;
use leno_engine::message::{Decimal, Headers, LocalReply, RequestHead, ResponseHead, Version};

use crate::codec::{Answer, Body};
use crate::headers::Prepared;
use crate::outcome::Failure;
use crate::record::Exchange;

/// What a route answers by itself. `formatted`: where a redirect leads that the request's values are needed for.
pub(crate) fn direct(decision: &Decision<'_>, formatted: Option<Bytes>) -> LocalReply {
    let mut headers = Headers::default();
    match decision {
        Decision::Redirect { location, code, .. } => {
            headers.append("location", formatted.unwrap_or_else(|| location.clone()));
            reply(*code, headers, Bytes::new(), "direct_response")
        }
        Decision::Respond {
            status,
            body,
            location,
            ..
        } => {
            if let Some(location) = location {
                headers.append("location", location.clone());
            }
            reply(*status, headers, Bytes::clone(body), "direct_response")
        }
        Decision::NoRoute { .. } | Decision::NoHost | Decision::Forward(_) => no_route("route_not_found"),
    }
}

fn reply(status: u16, headers: Headers, body: Bytes, details: &'static str) -> LocalReply {
    LocalReply {
        status,
        headers,
        body,
        details: details.into(),
        flags: Default::default(),
        grpc_status: None,
    }
}

pub(crate) fn no_route(details: &'static str) -> LocalReply {
    LocalReply {
        flags: Flag::NoRouteFound.into(),
        ..reply(404, Headers::default(), Bytes::new(), details)
    }
}

/// What is answered to a request that is nobody's, whatever the routes say.
pub(crate) fn refusal(
    head: &RequestHead,
    prepared: &Prepared,
    manager: &HttpConnectionManager,
) -> Option<LocalReply> {
    if let Some(status) = prepared.unknown {
        let details = "rejecting_because_detection_failed";
        return Some(reply(status, Headers::default(), Bytes::new(), details));
    }
    if prepared.underscored {
        return Some(underscored(head));
    }
    if let Some(reply) = unclear(head, prepared.heard, manager) {
        return Some(reply);
    }
    match prepared.normalised {
        Normalised::GoesOn => {}
        Normalised::Refused => {
            let details = "path_normalization_failed";
            return Some(reply(400, Headers::default(), Bytes::new(), details));
        }
        // A gRPC client follows no redirect.
        Normalised::Redirected if is_grpc(head) => {
            let details = "path_normalization_failed";
            return Some(reply(400, Headers::default(), Bytes::new(), details));
        }
        Normalised::Redirected => {
            let mut headers = Headers::default();
            headers.append("location", head.path.clone());
            return Some(reply(307, headers, Bytes::new(), "path_normalization_failed"));
        }
    }
    let is_connect = head.method.as_ref() == b"CONNECT" && head.upgrade.is_none();
    if !is_connect && head.path.first() != Some(&b'/') {
        return Some(reply(
            404,
            Headers::default(),
            Bytes::new(),
            "absolute_path_rejected",
        ));
    }
    // A fragment is the client's own (RFC 3986 §3.5); where it hides what is routed by, somebody means harm.
    if head.path.contains(&b'#') {
        let mut headers = Headers::default();
        if head.version != Version::Http2 {
            headers.append("connection", "close");
        }
        return Some(reply(400, headers, Bytes::new(), "path_normalization_failed"));
    }
    None
}

/// What breaks the protocol as it is configured: the connection ends with it.
fn underscored(head: &RequestHead) -> LocalReply {
    let mut headers = Headers::default();
    let details = match head.version {
        Version::Http2 => "http2.unexpected_underscore",
        _ => {
            headers.append("connection", "close");
            "http1.unexpected_underscore"
        }
    };
    LocalReply {
        flags: Flag::DownstreamProtocolError.into(),
        ..reply(400, headers, Bytes::from_static(b"Bad Request"), details)
    }
}

/// The refusal of headers that mean nothing, where they are checked.
fn unclear(head: &RequestHead, heard: Heard, manager: &HttpConnectionManager) -> Option<LocalReply> {
    if heard == Heard::No {
        return None;
    }
    manager.router.strict_headers.iter().find_map(|name| {
        let value = head.headers.get_str(name)?;
        (!is_valid_control(name, value)).then(|| {
            let body = format!("invalid header '{name}' with value '{value}'");
            LocalReply {
                details: format!("request_headers_failed_strict_check{{{name}}}").into(),
                flags: Flag::InvalidEnvoyRequestHeaders.into(),
                ..reply(400, Headers::default(), body.into(), "")
            }
        })
    })
}

pub(crate) fn upgrade_refused() -> LocalReply {
    reply(403, Headers::default(), Bytes::new(), "upgrade_failed")
}

/// `again`: there was more than one try.
pub(crate) fn failed(failure: &Failure, again: bool) -> LocalReply {
    let body = match failure.body().split_once("reset reason: ") {
        Some((before, reason)) if again => {
            Bytes::from(format!("{before}retried and the latest reset reason: {reason}"))
        }
        _ => Bytes::from_static(failure.body().as_bytes()),
    };
    LocalReply {
        flags: failure.flags(),
        grpc_status: failure.grpc_status(),
        ..reply(failure.status(), Headers::default(), body, failure.details())
    }
}

/// An answer of our own. To a gRPC call it is an answer without a body, with the status that gRPC has for it
/// (gRPC's "HTTP to gRPC Status Code Mapping").
pub(crate) fn local(exchange: &Exchange, mut reply: LocalReply, grpc: bool) -> Answer {
    let mut all = exchange.flags.get();
    all |= reply.flags;
    exchange.flags.set(all);
    exchange.details.replace(reply.details.clone());
    if let Some(replies) = &exchange.session().manager.local_replies {
        rewrite(exchange, replies, &mut reply);
    }
    let LocalReply {
        status,
        mut headers,
        body,
        grpc_status: said,
        ..
    } = reply;
    let (status, body) = if grpc {
        headers.set("content-type", "application/grpc");
        match said {
            Some(code) => headers.set("grpc-status", Decimal::from(u64::from(code))),
            None => headers.set("grpc-status", grpc_status(status)),
        }
        if !body.is_empty() {
            headers.set("grpc-message", percent_encoded(&body));
        }
        (200, Bytes::new())
    } else {
        // As Envoy: of an answer without a body, the codec says so.
        if !body.is_empty() {
            headers.set("content-length", Decimal::from(body.len()));
            if !headers.contains("content-type") {
                headers.set("content-type", "text/plain");
            }
        }
        (status, body)
    };
    Answer {
        head: ResponseHead {
            version: Version::Http11,
            status,
            headers,
        },
        // Of HEAD only the length is told.
        body: if body.is_empty() || exchange.request.borrow().method.as_ref() == b"HEAD" {
            Body::Empty
        } else {
            Body::Full(body)
        },
        upgraded: None,
    }
}

/// What the connection manager makes of answers of the proxy's own: the first mapper's status, body and headers, and
/// its format or the one for all.
fn rewrite(exchange: &Exchange, replies: &LocalReplies, reply: &mut LocalReply) {
    let request = exchange.request.borrow();
    let heads = Heads {
        request: Some(&request),
        ..Heads::default()
    };
    let values = Replied { exchange, reply };
    let known = Attributes::new(heads, &values);
    let facts = Facts {
        request: Some(&request),
        status: reply.status,
        grpc_status: None,
        flags: exchange.flags.get(),
        duration: exchange.watch.began().elapsed(),
        forced: exchange.trace().is_some_and(|trace| trace.is_forced()),
        random: exchange.worker().random.next(),
        log_type: LogType::NotSet,
        notes: Some(&exchange.notes),
    };
    let mapper = replies.mapper(&facts, &known);
    if let Some(mapper) = mapper {
        reply.status = mapper.status.unwrap_or(reply.status);
        if let Some(body) = &mapper.body {
            reply.body = Bytes::clone(body);
        }
    }
    let own = mapper.and_then(|mapper| mapper.format.as_ref());
    if let Some(format) = own.or(replies.format.as_ref()) {
        shape(exchange, format, reply);
    }
    if let Some(mapper) = mapper.filter(|mapper| !mapper.headers.is_empty()) {
        let mut head = ResponseHead {
            version: Version::Http11,
            status: reply.status,
            headers: std::mem::take(&mut reply.headers),
        };
        mapper.headers.edit_response(&request, &mut head, exchange);
        reply.headers = head.headers;
    }
}

/// The body as a format makes it.
pub(crate) fn shape(exchange: &Exchange, format: &BodyFormat, reply: &mut LocalReply) {
    let values = Replied { exchange, reply };
    let request = exchange.request.borrow();
    let heads = Heads {
        request: Some(&request),
        ..Heads::default()
    };
    let mut body = Vec::new();
    leno_telemetry::access_log::write(&format.format, heads, &values, &mut body);
    reply.body = body.into();
    reply.headers.set("content-type", &format.content_type);
}

/// What an answer of the proxy's own says of itself.
struct Replied<'r> {
    exchange: &'r Exchange,
    reply: &'r LocalReply,
}

impl FormatValues for Replied<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::LocalReplyBody => out.extend_from_slice(&self.reply.body),
            Operator::ResponseCode => out.extend_from_slice(self.reply.status.to_string().as_bytes()),
            other => return self.exchange.write(other, out),
        }
        true
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        self.exchange.metadata(kind, namespace, read);
    }
}

fn grpc_status(http: u16) -> &'static str {
    match http {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

fn percent_encoded(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
