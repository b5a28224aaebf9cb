//! Istio's MeshConfig: the document in `mesh.yaml`, or one with `kind: MeshConfig`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::destination_rule::LocalityLb;
use super::telemetry_provider::{
    DefaultConfig, DefaultProviders, FileAccessLog, HttpAls, OpenTelemetryTracer, OtelAls, TcpAls,
    ZipkinTracer,
};
use crate::decode::{Ignored, NotServed};
use crate::quantity::Span;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfigSpec {
    pub trust_domain: Option<String>,
    /// Other names of the trust domain.
    pub trust_domain_aliases: Vec<String>,
    /// Where mesh-wide policies live. Istio's default: istio-system.
    pub root_namespace: Option<String>,
    pub access_log_file: Option<String>,
    pub access_log_format: Option<String>,
    pub access_log_encoding: Option<LogEncoding>,
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    pub enable_auto_mtls: Option<bool>,
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    pub path_normalization: Option<PathNormalization>,
    pub extension_providers: Vec<ExtensionProvider>,
    pub locality_lb_setting: Option<LocalityLb>,
    pub default_config: Option<DefaultConfig>,
    pub default_providers: DefaultProviders,
    pub enable_tracing: bool,
    pub ingress_class: Option<String>,
    pub ingress_controller_mode: Option<IngressControllerMode>,
    pub ingress_selector: Option<String>,
    pub default_service_export_to: Vec<String>,
    pub default_virtual_service_export_to: Vec<String>,
    pub default_destination_rule_export_to: Vec<String>,

    ingress_service: Option<Ignored>,
    proxy_http_port: Option<Ignored>,
    proxy_listen_port: Option<Ignored>,
    proxy_inbound_listen_port: Option<Ignored>,
    dns_refresh_rate: Option<Ignored>,
    config_sources: Option<Ignored>,
    thrift_config: Option<Ignored>,
    enable_envoy_access_log_service: Option<Ignored>,
    enable_prometheus_merge: Option<Ignored>,
    disable_envoy_listener_log: Option<Ignored>,
    verify_certificate_at_client: Option<Ignored>,
    tcp_keepalive: Option<Ignored>,
    tcp_keep_alive: Option<Ignored>,
    certificates: Option<Ignored>,

    #[serde(rename = "meshMTLS")]
    mesh_mtls: Option<NotServed>,
    tls_defaults: Option<NotServed>,
    inbound_traffic_policy: Option<NotServed>,
    ca_certificates: Option<NotServed>,
    ca: Option<NotServed>,
    connect_timeout: Option<NotServed>,
    protocol_detection_timeout: Option<Ignored>,
    default_http_retry_policy: Option<NotServed>,
    discovery_selectors: Option<NotServed>,
    service_settings: Option<NotServed>,
    service_scope_configs: Option<NotServed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogEncoding {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    pub mode: OutboundMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    AllowAny,
    RegistryOnly,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathNormalization {
    pub normalization: Normalization,
}

/// Which Ingresses are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IngressControllerMode {
    /// None.
    Off,
    /// Those of the mesh's class, and those of none.
    Default,
    /// Those of the mesh's class.
    #[default]
    Strict,
}

/// What is made of a path before policies and routes look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalization {
    /// [`Self::Base`].
    #[default]
    Default,
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    DoNotUpgrade,
    Upgrade,
}

/// Somebody outside of the proxies: whom they ask, or tell of requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    pub name: String,
    pub envoy_ext_authz_http: Option<ExtAuthzHttp>,
    pub envoy_ext_authz_grpc: Option<ExtAuthzGrpc>,
    pub zipkin: Option<ZipkinTracer>,
    lightstep: Option<Ignored>,
    datadog: Option<Ignored>,
    stackdriver: Option<Ignored>,
    opencensus: Option<Ignored>,
    skywalking: Option<Ignored>,
    pub opentelemetry: Option<OpenTelemetryTracer>,
    prometheus: Option<Ignored>,
    pub envoy_file_access_log: Option<FileAccessLog>,
    pub envoy_http_als: Option<HttpAls>,
    pub envoy_tcp_als: Option<TcpAls>,
    pub envoy_otel_als: Option<OtelAls>,
    sds: Option<Ignored>,
}

/// An authorizer that speaks HTTP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzHttp {
    /// `[NAMESPACE/]HOST`
    pub service: String,
    pub port: u32,
    pub timeout: Option<Span>,
    pub path_prefix: String,
    pub fail_open: bool,
    pub clear_route_cache: bool,
    pub status_on_error: String,
    /// Deprecated for `includeRequestHeadersInCheck`, which holds where both are given.
    pub include_headers_in_check: Vec<String>,
    pub include_request_headers_in_check: Vec<String>,
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    pub include_request_body_in_check: Option<RequestBodyInCheck>,
    pub headers_to_upstream_on_allow: Vec<String>,
    pub headers_to_downstream_on_deny: Vec<String>,
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// An authorizer that speaks `envoy.service.auth.v3`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzGrpc {
    /// `[NAMESPACE/]HOST`
    pub service: String,
    pub port: u32,
    pub timeout: Option<Span>,
    pub fail_open: bool,
    pub clear_route_cache: bool,
    pub status_on_error: String,
    pub include_request_body_in_check: Option<RequestBodyInCheck>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestBodyInCheck {
    pub max_request_bytes: u32,
    pub allow_partial_message: bool,
    pub pack_as_bytes: bool,
}
