//! Spans of Zipkin, in protobuf and in JSON.

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use leno_engine::decide::trace::{SpanContext, SpanKind};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::zipkin;
use leno_proto::zipkin::span::Kind;

use super::Span;
use crate::attributes::trace_id;

/// `address`: this proxy's.
pub(super) fn span(span: &Span<'_>, node: &Node, address: IpAddr) -> zipkin::Span {
    let context = span.context;
    let start = micros(span.start);
    let duration = u64::try_from(span.duration.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let tags: HashMap<String, String> = span
        .tags
        .all
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .cloned()
        .collect();
    // The moment at which the answer was whole.
    let ended = zipkin::Annotation {
        timestamp: start.saturating_add(duration),
        value: match context.kind {
            SpanKind::Server => "ss".to_owned(),
            SpanKind::Client => "cr".to_owned(),
        },
    };
    zipkin::Span {
        trace_id: match context.trace.long {
            true => trace_id(context),
            false => context.trace.low.to_be_bytes().to_vec(),
        },
        parent_id: context
            .parent
            .map(|parent| parent.to_be_bytes().to_vec())
            .unwrap_or_default(),
        id: context.span.to_be_bytes().to_vec(),
        kind: match context.kind {
            SpanKind::Server => Kind::Server.into(),
            SpanKind::Client => Kind::Client.into(),
        },
        name: span.name.to_owned(),
        timestamp: start,
        duration,
        local_endpoint: Some(zipkin::Endpoint {
            service_name: node.cluster.clone(),
            ipv4: match address {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(_) => Vec::new(),
            },
            ipv6: match address {
                IpAddr::V4(_) => Vec::new(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            port: 0,
        }),
        remote_endpoint: None,
        annotations: vec![ended],
        tags,
        debug: false,
        shared: context.shared,
    }
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn json(span: &zipkin::Span, context: &SpanContext, out: &mut Vec<u8>) {
    let mut text = |bytes: &str| {
        out.extend_from_slice(bytes.as_bytes());
    };
    text("{\"traceId\":\"");
    text(&context.trace.to_string());
    text(&format!("\",\"id\":\"{:016x}\"", context.span));
    if let Some(parent) = context.parent {
        text(&format!(",\"parentId\":\"{parent:016x}\""));
    }
    text(&format!(
        ",\"kind\":\"{}\",\"timestamp\":{},\"duration\":{}",
        span.kind().as_str_name(),
        span.timestamp,
        span.duration
    ));
    if span.shared {
        text(",\"shared\":true");
    }
    out.extend_from_slice(b",\"name\":");
    string(&span.name, out);
    out.extend_from_slice(b",\"localEndpoint\":{");
    if let Some(endpoint) = &span.local_endpoint {
        let v4 = <[u8; 4]>::try_from(endpoint.ipv4.as_slice()).map(IpAddr::from);
        let v6 = <[u8; 16]>::try_from(endpoint.ipv6.as_slice()).map(IpAddr::from);
        match (v4, v6) {
            (Ok(v4), _) => drop(write!(out, "\"ipv4\":\"{v4}\",")),
            (_, Ok(v6)) => drop(write!(out, "\"ipv6\":\"{v6}\",")),
            _ => {}
        }
        drop(write!(out, "\"port\":{}", endpoint.port));
        if !endpoint.service_name.is_empty() {
            out.extend_from_slice(b",\"serviceName\":");
            string(&endpoint.service_name, out);
        }
    }
    out.extend_from_slice(b"},\"annotations\":[");
    for annotation in &span.annotations {
        drop(write!(out, "{{\"timestamp\":{},\"value\":", annotation.timestamp));
        string(&annotation.value, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"tags\":{");
    for (at, (name, value)) in span.tags.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(name, out);
        out.push(b':');
        string(value, out);
    }
    out.extend_from_slice(b"}}");
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    crate::access_log::escape_json(text.as_bytes(), out);
    out.push(b'"');
}
