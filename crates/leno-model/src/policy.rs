//! Policies: how a service is called (DestinationRule) and what a workload accepts (PeerAuthentication).

use std::sync::Arc;
use std::time::Duration;

use crate::name::{Host, Labels, Origin};
use crate::visibility::Exported;

/// What DestinationRules say of a host: to whom depends on who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HostPolicies {
    /// The namespace of the service; none: it is not in the mesh.
    pub home: Option<String>,
    /// The namespace whose rules are for the whole mesh.
    pub root: String,
    pub rules: Vec<ServicePolicy>,
}

/// What the rules of a namespace say of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePolicy {
    pub origin: Origin,
    pub host: Host,
    /// To whom they say it.
    pub exported: Exported,
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
}

impl HostPolicies {
    /// The rule that is in force for callers of a namespace: of their own, else of the service's, else of the root
    /// namespace; of each only what is exported to them.
    pub fn for_caller(&self, namespace: &str) -> Option<&ServicePolicy> {
        self.seen_by(namespace).first().copied()
    }

    /// Those that callers of a namespace may be told, the nearest first.
    pub fn seen_by(&self, namespace: &str) -> Vec<&ServicePolicy> {
        let own = Some(namespace).filter(|own| *own != self.root);
        let namespaces = [own, self.home.as_deref(), Some(self.root.as_str())];
        let mut seen = Vec::new();
        for speaking in namespaces.into_iter().flatten() {
            let rules = self.rules.iter();
            seen.extend(
                rules.filter(|rule| *rule.origin.namespace == *speaking && rule.exported.to(namespace)),
            );
        }
        seen
    }

    /// Namespaces whose callers may be told others than all the rest.
    pub fn named(&self) -> impl Iterator<Item = &Arc<str>> {
        let rules = self.rules.iter();
        rules.flat_map(|rule| std::iter::once(&rule.origin.namespace).chain(rule.exported.named()))
    }
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
