//! `envoy.config.cluster.v3.Cluster`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Assignment;
use super::tls::UpstreamTls;

#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub name: String,
    /// `alt_stat_name`, else the name.
    pub stat_name: String,
    pub discovery: Discovery,
    pub balance: BalancePolicy,
    pub connect_timeout: Duration,
    pub limits: CircuitBreakers,
    pub outlier: Option<OutlierDetection>,
    pub transport: TransportSockets,
    pub protocol: UpstreamProtocol,
    /// Percent; below this share of healthy hosts all are used. Envoy's default 50.
    pub panic_threshold: u32,
    /// `locality_weighted_lb_config`: localities share a priority's load by their weights.
    pub locality_weighted: bool,
    pub max_requests_per_connection: Option<u32>,
    /// Pooled connections: Envoy's default 1 h.
    pub idle_timeout: Option<Duration>,
    /// Istio's `filter_metadata["istio"].services[0]`.
    pub service: Option<ServiceName>,
    pub per_connection_buffer_limit: Option<u32>,
    pub http2: UpstreamHttp2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamHttp2 {
    pub max_concurrent_streams: u32,
    pub initial_stream_window: u32,
    pub initial_connection_window: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    pub host: String,
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    Static(Arc<Assignment>),
    /// EDS, by this service name.
    Eds(String),
    StrictDns {
        assignment: Arc<Assignment>,
        refresh: Duration,
    },
    LogicalDns {
        assignment: Arc<Assignment>,
        refresh: Duration,
    },
    /// The connection's original destination.
    OriginalDst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancePolicy {
    RoundRobin,
    LeastRequest {
        choices: u32,
    },
    Random,
    RingHash {
        minimum: u64,
        maximum: u64,
    },
    Maglev {
        table_size: u64,
    },
    /// The cluster says the destination itself (ORIGINAL_DST).
    ClusterProvided,
}

/// Limits of the default priority; per process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    pub consecutive_5xx: Option<u32>,
    pub consecutive_gateway_failure: Option<u32>,
    pub consecutive_local_origin_failure: Option<u32>,
    pub split_external_local: bool,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    pub max_ejection_percent: u32,
    pub always_eject_one_host: bool,
}

/// `transport_socket_matches` in order, then `transport_socket`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransportSockets {
    pub matches: Vec<(BTreeMap<String, String>, Transport)>,
    pub default: Transport,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Transport {
    #[default]
    Raw,
    Tls(Arc<UpstreamTls>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// As the downstream request came.
    Downstream,
    /// By ALPN.
    Auto,
}

/// Not written yet: the signature comes first.
pub fn compile(
    _message: &leno_proto::envoy::config::cluster::v3::Cluster,
    _files: &dyn super::Files,
    _warnings: &mut super::Warnings,
) -> Result<Cluster, super::Rejection> {
    Err(super::FieldPath::default().reject("not compiled yet"))
}
