//! Policies: how a service is called (DestinationRule) and what a workload accepts (PeerAuthentication).

use std::time::Duration;

use crate::name::{Host, Labels, Origin};

/// What DestinationRule says of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePolicy {
    pub origin: Origin,
    pub host: Host,
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subset {
    pub name: String,
    pub labels: Labels,
    /// Already merged over the host's own policy.
    pub policy: TrafficPolicy,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrafficPolicy {
    pub balancer: Option<LoadBalancer>,
    pub locality: Option<LocalityLb>,
    pub pool: ConnectionPool,
    pub outlier: Option<OutlierDetection>,
    pub tls: Option<TlsMode>,
    /// By port, already merged over the rest.
    pub ports: Vec<(u16, TrafficPolicy)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadBalancer {
    RoundRobin,
    LeastRequest,
    Random,
    Passthrough,
    HashHeader(String),
    HashCookie {
        name: String,
        path: Option<String>,
        ttl: Duration,
    },
    HashSourceIp,
    HashQuery(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalityLb {
    pub enabled: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionPool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub http1_max_pending: Option<u32>,
    pub http2_max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    /// `h2UpgradePolicy`: None: as the mesh does.
    pub http2_upgrade: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutlierDetection {
    pub consecutive_5xx: Option<u32>,
    pub consecutive_gateway_errors: Option<u32>,
    pub interval: Option<Duration>,
    pub base_ejection_time: Option<Duration>,
    pub max_ejection_percent: Option<u32>,
    pub min_health_percent: Option<u32>,
}

/// DestinationRule `tls.mode`, as far as the mesh itself is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    Disable,
    IstioMutual,
    Simple { sni: Option<String> },
}

/// What a workload accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MtlsMode {
    Strict,
    Permissive,
    Disable,
}

/// The effective PeerAuthentication of a workload, with ports that differ; the origin is who decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerMtls {
    pub mode: MtlsMode,
    pub ports: Vec<(u16, MtlsMode)>,
    pub origin: Option<Origin>,
}
