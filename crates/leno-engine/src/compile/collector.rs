//! Where records are sent in batches: access log services, OpenTelemetry and Zipkin collectors.

use std::time::Duration;

use super::service::{GrpcService, HttpService};

/// Held back for a collector before it is sent, as Envoy's default.
pub const BATCH_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    pub service: Service,
    pub envelope: Envelope,
    /// How long the first record of a batch waits for others.
    pub flush_every: Duration,
    /// A batch of so many bytes waits for nothing.
    pub batch_bytes: usize,
    /// Nor does one of so many records.
    pub batch_records: usize,
    /// So many are held while the collector does not answer; more are lost.
    pub most_records: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    Grpc(GrpcService),
    Http(HttpService),
}

/// What a batch is put into.
#[derive(Clone, Debug, PartialEq)]
pub enum Envelope {
    /// `envoy.service.accesslog.v3.StreamAccessLogsMessage`
    AccessLogs {
        log_name: String,
        /// Entries are of connections, not of requests.
        tcp: bool,
    },
    /// `opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest`
    Logs {
        resource: Vec<(String, String)>,
        /// Of the log itself: with the names of node, zone and cluster it becomes part of the resource.
        builtin: Option<String>,
    },
    /// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`
    Spans {
        resource: Vec<(String, String)>,
        /// It says who has made them.
        scope: bool,
    },
    /// `zipkin.proto3.ListOfSpans`
    ZipkinProto,
    /// Zipkin's spans, version 2, in a list.
    ZipkinJson,
}

impl Service {
    pub fn cluster(&self) -> &str {
        match self {
            Self::Grpc(service) => &service.cluster,
            Self::Http(service) => &service.cluster,
        }
    }
}
