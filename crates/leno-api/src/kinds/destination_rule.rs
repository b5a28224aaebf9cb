//! networking.istio.io DestinationRule.

use serde::Deserialize;

use super::Labels;
use crate::decode::{Ignored, NotServed};
use crate::quantity::Span;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    pub host: String,
    #[serde(default)]
    pub traffic_policy: TrafficPolicy,
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// Only `*` is served.
    #[serde(default)]
    pub export_to: Vec<String>,
    #[serde(default)]
    workload_selector: Option<NotServed>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    pub name: String,
    #[serde(default)]
    pub labels: Labels,
    pub traffic_policy: Option<TrafficPolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<Tls>,
    pub port_level_settings: Vec<PortPolicy>,
    tunnel: Option<NotServed>,
    proxy_protocol: Option<NotServed>,
    retry_budget: Option<NotServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortPolicy {
    pub port: Option<super::virtual_service::PortSelector>,
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    pub simple: Option<SimpleBalancer>,
    pub consistent_hash: Option<ConsistentHash>,
    pub locality_lb_setting: Option<LocalityLb>,
    warmup_duration_secs: Option<NotServed>,
    warmup: Option<NotServed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleBalancer {
    Unspecified,
    Random,
    Passthrough,
    RoundRobin,
    LeastRequest,
    /// Istio's old name of LEAST_REQUEST.
    LeastConn,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsistentHash {
    pub http_header_name: Option<String>,
    pub http_cookie: Option<HashCookie>,
    pub use_source_ip: Option<bool>,
    pub http_query_parameter_name: Option<String>,
    ring_hash: Option<Ignored>,
    maglev: Option<NotServed>,
    minimum_ring_size: Option<Ignored>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HashCookie {
    pub name: String,
    pub path: Option<String>,
    pub ttl: Option<Span>,
    #[serde(default)]
    attributes: Option<NotServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityLb {
    pub enabled: Option<bool>,
    distribute: Option<NotServed>,
    failover: Option<NotServed>,
    failover_priority: Option<NotServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionPool {
    pub tcp: TcpPool,
    pub http: HttpPool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpPool {
    pub max_connections: Option<i64>,
    pub connect_timeout: Option<Span>,
    tcp_keepalive: Option<Ignored>,
    max_connection_duration: Option<NotServed>,
    idle_timeout: Option<NotServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPool {
    pub http1_max_pending_requests: Option<i64>,
    pub http2_max_requests: Option<i64>,
    pub max_requests_per_connection: Option<i64>,
    pub max_retries: Option<i64>,
    pub idle_timeout: Option<Span>,
    pub h2_upgrade_policy: Option<H2Upgrade>,
    use_client_protocol: Option<NotServed>,
    max_concurrent_streams: Option<Ignored>,
    http2_keep_alive: Option<Ignored>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2Upgrade {
    Default,
    DoNotUpgrade,
    Upgrade,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Legacy name of consecutive5xxErrors.
    pub consecutive_errors: Option<i64>,
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<i64>,
    pub consecutive_gateway_errors: Option<i64>,
    pub interval: Option<Span>,
    pub base_ejection_time: Option<Span>,
    pub max_ejection_percent: Option<i64>,
    pub min_health_percent: Option<i64>,
    split_external_local_origin_errors: Option<NotServed>,
    consecutive_local_origin_failures: Option<NotServed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    pub mode: TlsMode,
    pub sni: Option<String>,
    #[serde(default)]
    client_certificate: Option<NotServed>,
    #[serde(default)]
    private_key: Option<NotServed>,
    #[serde(default)]
    ca_certificates: Option<NotServed>,
    #[serde(default)]
    ca_crl: Option<NotServed>,
    #[serde(default)]
    credential_name: Option<NotServed>,
    #[serde(default)]
    subject_alt_names: Option<NotServed>,
    #[serde(default)]
    insecure_skip_verify: Option<NotServed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}
