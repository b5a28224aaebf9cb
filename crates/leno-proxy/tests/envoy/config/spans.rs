//! Spans as a collector has got them, told without what differs from run to run.

use std::collections::BTreeMap;
use std::fmt::Write;

use leno_proto::otlp::{ExportTraceServiceRequest, Span};
use leno_proto::zipkin::{self, ListOfSpans};
use prost::Message as _;
use serde_json::Value;

use super::backend::Message;
use super::collected::{Collected, any};

/// What each proxy says of itself.
const OWN: [&str; 3] = [
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
];

pub(super) fn opentelemetry(message: &Message, all: &mut Collected) {
    let message = ExportTraceServiceRequest::decode(message.bytes.clone()).unwrap();
    for spans in message.resource_spans {
        let attributes = spans.resource.unwrap_or_default().attributes;
        let mut told: Vec<String> = attributes
            .iter()
            .map(|pair| match OWN.contains(&pair.key.as_str()) {
                true => pair.key.clone(),
                false => format!("{}: {}", pair.key, any(pair.value.as_ref().unwrap())),
            })
            .collect();
        told.sort();
        all.around(format!("resource {}\n  {}", spans.schema_url, told.join("\n  ")));
        for scope in spans.scope_spans {
            if let Some(scope) = &scope.scope {
                let (named, versioned) = (!scope.name.is_empty(), !scope.version.is_empty());
                all.around(format!("scope with name: {named}, with version: {versioned}"));
            }
            all.spans.extend(
                scope
                    .spans
                    .iter()
                    .map(|span| (span.start_time_unix_nano, told_of(span))),
            );
        }
    }
}

fn told_of(span: &Span) -> String {
    let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_");
    let mut text = format!("{:?} {kind}", span.name);
    ids(
        &mut text,
        &hex(&span.trace_id),
        &hex(&span.span_id),
        &hex(&span.parent_span_id),
    );
    if !span.trace_state.is_empty() {
        let _ = write!(text, " state {}", span.trace_state);
    }
    if span.flags != 0 {
        let _ = write!(text, " flags {:x}", span.flags);
    }
    if let Some(status) = &span.status {
        let _ = write!(text, " status {} {}", status.code, status.message);
    }
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    let tags = span.attributes.iter();
    tags_of(
        &mut text,
        tags.map(|pair| (pair.key.clone(), any(pair.value.as_ref().unwrap()))),
    );
    for event in &span.events {
        let _ = write!(text, "\n  at some time: {}", event.name);
    }
    text
}

pub(super) fn zipkin(message: &Message, all: &mut Collected) {
    if message.bytes.starts_with(b"[") {
        let spans: Value = serde_json::from_slice(&message.bytes).unwrap();
        for span in spans.as_array().unwrap() {
            all.spans
                .push((span["timestamp"].as_u64().unwrap_or_default(), of_json(span)));
        }
        return;
    }
    let spans = ListOfSpans::decode(message.bytes.clone()).unwrap().spans;
    all.spans
        .extend(spans.iter().map(|span| (span.timestamp, of_proto(span))));
}

fn of_json(span: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told = format!("{} {}", span["name"], text(&span["kind"]));
    ids(
        &mut told,
        &text(&span["traceId"]),
        &text(&span["id"]),
        &text(&span["parentId"]),
    );
    let mut rest = BTreeMap::new();
    for (name, value) in span.as_object().unwrap() {
        match name.as_str() {
            "name" | "kind" | "traceId" | "id" | "parentId" | "tags" => {}
            "timestamp" | "duration" => {
                assert!(value.is_u64(), "{name}: {value}");
                rest.insert(name, "*".to_owned());
            }
            "localEndpoint" => {
                let mut names: Vec<String> = Vec::new();
                for (name, value) in value.as_object().unwrap() {
                    names.push(match name.as_str() {
                        "ipv4" | "ipv6" => "address".into(),
                        name => format!("{name} {value}"),
                    });
                }
                names.sort();
                rest.insert(name, names.join(", "));
            }
            "annotations" => {
                let values = value.as_array().unwrap().iter();
                let values = values.map(|annotation| text(&annotation["value"]));
                rest.insert(name, values.collect::<Vec<_>>().join(", "));
            }
            _ => {
                rest.insert(name, value.to_string());
            }
        }
    }
    for (name, value) in rest {
        let _ = write!(told, " {name}({value})");
    }
    let tags = span["tags"].as_object().into_iter().flatten();
    tags_of(&mut told, tags.map(|(name, value)| (name.clone(), text(value))));
    told
}

fn of_proto(span: &zipkin::Span) -> String {
    let mut told = format!("{:?} {}", span.name, span.kind().as_str_name());
    ids(
        &mut told,
        &hex(&span.trace_id),
        &hex(&span.id),
        &hex(&span.parent_id),
    );
    let endpoint = span.local_endpoint.clone().unwrap_or_default();
    let _ = write!(
        told,
        " duration {} shared {} of {} port {}",
        span.duration > 0,
        span.shared,
        endpoint.service_name,
        endpoint.port
    );
    tags_of(&mut told, span.tags.clone().into_iter());
    told
}

fn ids(text: &mut String, trace: &str, span: &str, parent: &str) {
    let _ = write!(text, " trace {trace} span {span}");
    if !parent.is_empty() {
        let _ = write!(text, " of {parent}");
    }
}

/// In the order of their names: tags of the configuration have none.
fn tags_of(text: &mut String, tags: impl Iterator<Item = (String, String)>) {
    let mut lines: Vec<String> = tags.map(|(name, value)| format!("\n  {name}: {value}")).collect();
    lines.sort();
    text.extend(lines);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ids get numbers, those of requests (UUIDs) keep the digit that tells why they are traced; ports become stars. What
/// is `known` stays.
pub(super) fn without_ids(text: &str, known: &str) -> String {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let is_hex = |word: &str| {
            word.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let uuid = rest.get(..36).filter(|uuid| {
            let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
            lengths == [8, 4, 4, 4, 12] && uuid.split('-').all(is_hex)
        });
        if let Some(uuid) = uuid.filter(|uuid| !known.contains(uuid)) {
            let _ = write!(told, "uuid({})", &uuid[14..15]);
            rest = &rest[36..];
            continue;
        }
        match word.len() {
            16 | 32 if is_hex(word) && !known.contains(word) => {
                let next = numbers.len() + 1;
                let number = numbers.entry(word).or_insert(next);
                let _ = write!(told, "id{number}{}", if word.len() == 32 { "(long)" } else { "" });
            }
            4 | 5 if told.ends_with("127.0.0.1:") => told.push('*'),
            _ => told.push_str(word),
        }
        rest = &rest[end..];
        if let Some(separator) = rest.chars().next() {
            told.push(separator);
            rest = &rest[separator.len_utf8()..];
        }
    }
    told
}
