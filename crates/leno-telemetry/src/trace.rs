//! Spans: what Envoy's say, in the forms of OpenTelemetry and of Zipkin.

mod otlp;
mod tags;
mod zipkin;

use std::time::{Duration, SystemTime};

use leno_engine::compile::collector::Envelope;
use leno_engine::decide::trace::SpanContext;
use leno_proto::envoy::config::core::v3::Node;

pub use tags::{Tried, of_request, of_try};

use crate::batch;

/// A span that has ended.
#[derive(Debug)]
pub struct Span<'a> {
    pub context: &'a SpanContext,
    pub name: &'a str,
    pub start: SystemTime,
    pub duration: Duration,
    pub tags: Tags,
}

/// By different names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    pub all: Vec<(String, String)>,
    pub outcome: Outcome,
}

/// What OpenTelemetry wants to know besides the tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of HTTP; 0: there was no answer.
    pub status: u16,
    pub grpc: Option<u32>,
}

impl Tags {
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.all.iter_mut().find(|(known, _)| known == name) {
            Some((_, said)) => *said = value,
            None => self.all.push((name.to_owned(), value)),
        }
    }
}

/// Appends a span to a batch, in its collector's form.
pub fn append(
    envelope: &Envelope,
    span: &Span<'_>,
    node: &Node,
    address: std::net::IpAddr,
    out: &mut Vec<u8>,
) {
    match envelope {
        Envelope::Spans { .. } => batch::append(envelope, &otlp::span(span), out),
        Envelope::ZipkinProto => batch::append(envelope, &zipkin::span(span, node, address), out),
        Envelope::ZipkinJson => {
            if !out.is_empty() {
                out.push(b',');
            }
            zipkin::json(&zipkin::span(span, node, address), span.context, out);
        }
        Envelope::AccessLogs { .. } | Envelope::Logs { .. } => {}
    }
}
