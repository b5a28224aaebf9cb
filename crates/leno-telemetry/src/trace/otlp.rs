//! Spans of OpenTelemetry.

use leno_engine::decide::trace::SpanKind;
use leno_proto::otlp;
use leno_proto::otlp::status::StatusCode;

use super::{Outcome, Span};
use crate::attributes::{key_value, nanoseconds, text, trace_id};

/// Whether the parent is another process's is known, and that it is (`SPAN_FLAGS_CONTEXT_…_IS_REMOTE`).
const IS_REMOTE_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

pub(super) fn span(span: &Span<'_>) -> otlp::Span {
    let context = span.context;
    let remote = if context.remote { IS_REMOTE } else { 0 };
    otlp::Span {
        trace_id: trace_id(context),
        span_id: context.span.to_be_bytes().to_vec(),
        trace_state: context.state.clone(),
        parent_span_id: context
            .parent
            .map(|parent| parent.to_be_bytes().to_vec())
            .unwrap_or_default(),
        flags: u32::from(context.sampled) | IS_REMOTE_KNOWN | remote,
        name: span.name.to_owned(),
        kind: match context.kind {
            SpanKind::Server => otlp::span::SpanKind::Server.into(),
            SpanKind::Client => otlp::span::SpanKind::Client.into(),
        },
        start_time_unix_nano: nanoseconds(span.start),
        end_time_unix_nano: nanoseconds(span.start + span.duration),
        attributes: span
            .tags
            .all
            .iter()
            .map(|(name, value)| key_value(name, text(value)))
            .collect(),
        events: Vec::new(),
        status: status(span.tags.outcome, context.kind),
    }
}

/// By the conventions of OpenTelemetry: what is a caller's mistake is no server's error.
fn status(outcome: Outcome, kind: SpanKind) -> Option<otlp::Status> {
    let is_client = kind == SpanKind::Client;
    let by_http = outcome.status >= 500 || (is_client && outcome.status >= 400);
    let by_grpc = outcome.grpc.map(|code| match is_client {
        true => code != 0,
        false => is_server_error(code),
    });
    if !by_http && by_grpc.is_none() {
        return None;
    }
    let code = match by_http || by_grpc == Some(true) {
        true => StatusCode::Error,
        false => StatusCode::Unset,
    };
    Some(otlp::Status {
        code: code.into(),
        message: String::new(),
    })
}

/// Of gRPC's codes.
pub(super) fn is_server_error(code: u32) -> bool {
    matches!(code, 2 | 4 | 12 | 13 | 14 | 15)
}
