//! What a collector has got of a case, told record by record without what differs from run to run.

use std::fmt::Write;

use leno_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use leno_proto::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use leno_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use leno_proto::otlp::{ExportLogsServiceRequest, Resource};
use leno_proto_text::Schema;
use prost::Message as _;
use serde_json::Value;

use super::backend::Message;
use super::spans;

/// Records as they are told, and what they came in: told once.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) around: Vec<String>,
    pub(crate) records: Vec<String>,
    /// By their beginning.
    pub(crate) spans: Vec<(u64, String)>,
}

/// Of all messages, in the order in which they came.
pub(crate) fn collected(schema: &Schema, messages: &[Message]) -> Collected {
    let mut all = Collected::default();
    for message in messages {
        match message.path.as_str() {
            "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs" => {
                entries(schema, message, &mut all);
            }
            path if path.contains("logs") => logs(message, &mut all),
            path if path.contains("race") => spans::opentelemetry(message, &mut all),
            path if path.contains("spans") => spans::zipkin(message, &mut all),
            path => panic!("nobody sends to {path}"),
        }
    }
    // A request's before those of its tries.
    all.spans.sort_by_key(|(began, _)| *began);
    let spans = std::mem::take(&mut all.spans);
    all.records.extend(spans.into_iter().map(|(_, span)| span));
    all
}

impl Collected {
    pub(crate) fn around(&mut self, text: String) {
        if !self.around.contains(&text) {
            self.around.push(text);
        }
    }
}

fn entries(schema: &Schema, message: &Message, all: &mut Collected) {
    let message = StreamAccessLogsMessage::decode(message.bytes.clone()).unwrap();
    if let Some(identifier) = message.identifier {
        let node = identifier.node.unwrap_or_default();
        all.around(format!(
            "{} of {} in {}",
            identifier.log_name, node.id, node.cluster
        ));
    }
    let entries: Vec<Value> = match message.log_entries {
        None => Vec::new(),
        Some(LogEntries::HttpLogs(logs)) => logs
            .log_entry
            .iter()
            .map(|entry| schema.to_json(entry).unwrap())
            .collect(),
        Some(LogEntries::TcpLogs(logs)) => logs
            .log_entry
            .iter()
            .map(|entry| schema.to_json(entry).unwrap())
            .collect(),
    };
    for mut entry in entries {
        mask(&mut entry);
        let mut lines = Vec::new();
        flatten("", &entry, &mut lines);
        all.records.push(lines.join("\n  "));
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let bytes = name.contains("_header_bytes")
                    || name.contains("headers_bytes")
                    || name.contains("wire_bytes");
                let time =
                    ["start_time", "duration"].contains(&name.as_str()) || name.starts_with("time_to_");
                match name.as_str() {
                    _ if bytes || time || name == "port_value" => *value = "*".into(),
                    _ => mask(value),
                }
            }
            // Not every time is known to both, nobody counts on the sizes, and a connection's id is any.
            let of_connection = fields.contains_key("connection_properties");
            if let Some(common) = fields.get_mut("common_properties").filter(|_| of_connection) {
                common.as_object_mut().unwrap().remove("stream_id");
            }
            fields.retain(|name, _| {
                !name.starts_with("time_to_")
                    && !name.contains("wire_bytes")
                    && !name.contains("_header_bytes")
            });
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

pub(crate) fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(&path, &fields[name], lines);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, lines);
            }
        }
        value => lines.push(format!("{path}: {value}")),
    }
}

fn logs(message: &Message, all: &mut Collected) {
    let message = ExportLogsServiceRequest::decode(message.bytes.clone()).unwrap();
    for logs in message.resource_logs {
        all.around(resource(logs.resource));
        for record in logs.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let body = record.body.as_ref().map(any).unwrap_or_default();
            let traced = if record.trace_id.is_empty() {
                ""
            } else {
                " (in a trace)"
            };
            assert!(record.time_unix_nano > 0);
            all.records
                .push(format!("{body:?}{traced}{}", pairs(&record.attributes)));
        }
    }
}

pub(crate) fn resource(resource: Option<Resource>) -> String {
    format!("resource{}", pairs(&resource.unwrap_or_default().attributes))
}

pub(crate) fn pairs(pairs: &[KeyValue]) -> String {
    let mut text = String::new();
    for pair in pairs {
        let value = pair.value.as_ref().map(any).unwrap_or_default();
        let _ = write!(text, "\n  {}: {value}", pair.key);
    }
    text
}

pub(crate) fn any(value: &AnyValue) -> String {
    match &value.value {
        None => "nothing".into(),
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::ArrayValue(list)) => format!("{:?}", list.values.iter().map(any).collect::<Vec<_>>()),
        Some(Any::KvlistValue(list)) => {
            let pairs = list.values.iter();
            let pairs = pairs.map(|pair| {
                format!(
                    "{}: {}",
                    pair.key,
                    pair.value.as_ref().map(any).unwrap_or_default()
                )
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Some(other) => format!("{other:?}"),
    }
}
