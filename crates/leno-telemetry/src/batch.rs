//! Records on their way to a collector: encoded one by one, put into one message together.

use leno_engine::compile::collector::Envelope;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::accesslog::v3 as als;
use leno_proto::opentelemetry::proto::common::v1::InstrumentationScope;
use leno_proto::otlp;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, message};

use crate::attributes::{key_value, text};

/// Appends a record as an element of the repeated field that its envelope has for it.
pub fn append(envelope: &Envelope, record: &impl Message, batch: &mut Vec<u8>) {
    message::encode(element(envelope), record, batch);
}

/// The field's number.
fn element(envelope: &Envelope) -> u32 {
    match envelope {
        // `HTTPAccessLogEntries.log_entry`, `TCPAccessLogEntries.log_entry`
        Envelope::AccessLogs { .. } => 1,
        // `ScopeLogs.log_records`, `ScopeSpans.spans`
        Envelope::Logs { .. } | Envelope::Spans { .. } => 2,
        // `ListOfSpans.spans`; in JSON nothing is a message.
        Envelope::ZipkinProto | Envelope::ZipkinJson => 1,
    }
}

/// The whole message.
pub fn seal(envelope: &Envelope, node: &Node, batch: &[u8]) -> Vec<u8> {
    match envelope {
        Envelope::AccessLogs { log_name, tcp } => {
            let mut message = als::StreamAccessLogsMessage {
                identifier: Some(als::stream_access_logs_message::Identifier {
                    node: Some(node.clone()),
                    log_name: log_name.clone(),
                }),
                log_entries: None,
            }
            .encode_to_vec();
            nested(if *tcp { 3 } else { 2 }, batch, &mut message);
            message
        }
        Envelope::Logs { resource, builtin } => {
            let zone = node.locality.as_ref().map_or("", |locality| &locality.zone);
            let of_node = builtin.as_ref().map(|log_name| {
                [
                    ("log_name", log_name.as_str()),
                    ("zone_name", zone),
                    ("cluster_name", node.cluster.as_str()),
                    ("node_name", node.id.as_str()),
                ]
            });
            let said = resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            resource_and_scope(of_node.into_iter().flatten().chain(said), &[], batch)
        }
        Envelope::Spans { resource, scope } => {
            let said = resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let mut by = Vec::new();
            if *scope {
                let scope = InstrumentationScope {
                    name: "leno".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..Default::default()
                };
                message::encode(1, &scope, &mut by);
            }
            resource_and_scope(said, &by, batch)
        }
        Envelope::ZipkinProto => batch.to_vec(),
        Envelope::ZipkinJson => [b"[", batch, b"]"].concat(),
    }
}

/// `ExportLogsServiceRequest` and `ExportTraceServiceRequest` are alike in their numbers. `scope`: the field that says
/// who made the records, if one does.
fn resource_and_scope<'r>(
    resource: impl Iterator<Item = (&'r str, &'r str)>,
    scope: &[u8],
    batch: &[u8],
) -> Vec<u8> {
    let resource = otlp::Resource {
        attributes: resource.map(|(key, value)| key_value(key, text(value))).collect(),
    };
    let mut of_resource = Vec::new();
    message::encode(1, &resource, &mut of_resource);
    nested(2, &[scope, batch].concat(), &mut of_resource);
    let mut whole = Vec::new();
    nested(1, &of_resource, &mut whole);
    whole
}

/// A message that is encoded already, as a field of another.
fn nested(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_message_that_holds_its_records() {
        let envelope = Envelope::Logs {
            resource: vec![("key".into(), "value".into())],
            builtin: Some("log".into()),
        };
        let node = Node {
            id: "node-1".into(),
            cluster: "edge".into(),
            ..Default::default()
        };
        let records = [1, 2].map(|time_unix_nano| otlp::LogRecord {
            time_unix_nano,
            ..Default::default()
        });
        let mut batch = Vec::new();
        for record in &records {
            append(&envelope, record, &mut batch);
        }
        let sealed = seal(&envelope, &node, &batch);
        let decoded = otlp::ExportLogsServiceRequest::decode(sealed.as_slice()).unwrap();
        let [logs] = decoded.resource_logs.as_slice() else {
            panic!("one resource: {decoded:?}");
        };
        assert_eq!(logs.scope_logs[0].log_records, records);
        let resource = logs.resource.clone().unwrap();
        let names: Vec<&str> = resource.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(
            names,
            ["log_name", "zone_name", "cluster_name", "node_name", "key"]
        );
    }

    #[test]
    fn entries_are_of_requests_or_of_connections() {
        use als::stream_access_logs_message::LogEntries;
        use leno_proto::envoy::data::accesslog::v3::TcpAccessLogEntry;
        let envelope = Envelope::AccessLogs {
            log_name: "tcp".into(),
            tcp: true,
        };
        let mut batch = Vec::new();
        append(&envelope, &TcpAccessLogEntry::default(), &mut batch);
        let sealed = seal(&envelope, &Node::default(), &batch);
        let decoded = als::StreamAccessLogsMessage::decode(sealed.as_slice()).unwrap();
        assert_eq!(decoded.identifier.unwrap().log_name, "tcp");
        let Some(LogEntries::TcpLogs(entries)) = decoded.log_entries else {
            panic!("not of connections: {:?}", decoded.log_entries);
        };
        assert_eq!(entries.log_entry.len(), 1);
    }
}
