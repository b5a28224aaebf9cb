//! MeshConfig's `extensionProviders`, as far as they are told of requests: who gets logs and traces.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::decode::{Ignored, NotServed};
use crate::quantity::Span;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileAccessLog {
    pub path: String,
    pub log_format: Option<LogFormat>,
    pub omit_empty_values: bool,
}

/// A line or an object; of an OpenTelemetry record its body and its attributes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFormat {
    pub text: String,
    pub labels: BTreeMap<String, Value>,
}

/// It speaks Envoy's access log service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpAls {
    /// `[NAMESPACE/]HOST`
    pub service: String,
    pub port: u32,
    pub log_name: String,
    pub filter_state_objects_to_log: Vec<String>,
    pub additional_request_headers_to_log: Vec<String>,
    pub additional_response_headers_to_log: Vec<String>,
    pub additional_response_trailers_to_log: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpAls {
    pub service: String,
    pub port: u32,
    pub log_name: String,
    pub filter_state_objects_to_log: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelAls {
    pub service: String,
    pub port: u32,
    pub log_name: String,
    pub log_format: Option<LogFormat>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZipkinTracer {
    pub service: String,
    pub port: u32,
    pub max_tag_length: u32,
    pub enable64bit_trace_id: bool,
    pub path: String,
    pub trace_context_option: TraceContextOption,
    timeout: Option<NotServed>,
    headers: Option<NotServed>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TraceContextOption {
    #[default]
    #[serde(rename = "USE_B3")]
    UseB3,
    #[serde(rename = "USE_B3_WITH_W3C_PROPAGATION")]
    UseB3WithW3cPropagation,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetryTracer {
    pub service: String,
    pub port: u32,
    pub max_tag_length: u32,
    pub http: Option<OtlpHttp>,
    grpc: Option<NotServed>,
    resource_detectors: Option<NotServed>,
    dynatrace_sampler: Option<NotServed>,
}

/// OTLP by HTTP; else it is by gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtlpHttp {
    pub path: String,
    pub timeout: Option<Span>,
    headers: Option<NotServed>,
}

/// Who is told where no Telemetry says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultProviders {
    pub tracing: Vec<String>,
    pub access_logging: Vec<String>,
    metrics: Option<Ignored>,
}

/// `defaultConfig.tracing`: as it was before there were providers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyTracing {
    pub zipkin: Option<ZipkinAddress>,
    pub sampling: Option<f64>,
    pub max_path_tag_length: u32,
    pub custom_tags: BTreeMap<String, super::telemetry::CustomTag>,
    enable_istio_tags: Option<NotServed>,
    lightstep: Option<NotServed>,
    datadog: Option<NotServed>,
    stackdriver: Option<NotServed>,
    open_census_agent: Option<NotServed>,
    tls_settings: Option<NotServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZipkinAddress {
    /// `HOST:PORT`
    pub address: String,
}

/// MeshConfig's `defaultConfig`: what all proxies are started with in Istio. Of it leno's control plane says what proxies
/// are told by xDS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultConfig {
    pub tracing: Option<ProxyTracing>,
    binary_path: Option<Ignored>,
    ca_certificates_pem: Option<Ignored>,
    concurrency: Option<Ignored>,
    config_path: Option<Ignored>,
    control_plane_auth_policy: Option<Ignored>,
    custom_config_file: Option<Ignored>,
    discovery_address: Option<Ignored>,
    drain_duration: Option<Ignored>,
    envoy_access_log_service: Option<Ignored>,
    envoy_metrics_service: Option<Ignored>,
    extra_stat_tags: Option<Ignored>,
    file_flush_interval: Option<Ignored>,
    file_flush_min_size_kb: Option<Ignored>,
    hold_application_until_proxy_starts: Option<Ignored>,
    image: Option<Ignored>,
    interception_mode: Option<Ignored>,
    mesh_id: Option<Ignored>,
    private_key_provider: Option<Ignored>,
    proxy_admin_port: Option<Ignored>,
    proxy_bootstrap_template_path: Option<Ignored>,
    proxy_headers: Option<Ignored>,
    proxy_metadata: Option<Ignored>,
    proxy_stats_matcher: Option<Ignored>,
    readiness_probe: Option<Ignored>,
    runtime_values: Option<Ignored>,
    service_cluster: Option<Ignored>,
    stat_name_length: Option<Ignored>,
    stats_compression: Option<Ignored>,
    statsd_udp_address: Option<Ignored>,
    status_port: Option<Ignored>,
    termination_drain_duration: Option<Ignored>,
    tracing_service_name: Option<Ignored>,
    zipkin_address: Option<Ignored>,
}
