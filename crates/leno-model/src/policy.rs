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
    /// One for each namespace and selector, those with a selector first.
    pub rules: Vec<ServicePolicy>,
}

/// What the rules of a namespace say of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePolicy {
    pub origin: Origin,
    pub host: Host,
    /// Only for callers of the rule's own namespace with all of these labels.
    pub selector: Option<Labels>,
    /// To whom they say it.
    pub exported: Exported,
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
}

impl HostPolicies {
    /// The rule that is in force for a caller: of its own namespace, else of the service's, else of the root
    /// namespace; of each only what is exported to it, and what selects it before what is for everybody.
    pub fn for_caller(&self, namespace: &str, labels: &Labels) -> Option<&ServicePolicy> {
        self.seen_by(namespace)
            .find(|rule| rule.selects(namespace, labels))
    }

    /// Those that callers of a namespace may be told, the nearest first.
    pub fn seen_by<'s, 'n>(
        &'s self,
        namespace: &'n str,
    ) -> impl Iterator<Item = &'s ServicePolicy> + use<'s, 'n> {
        (0..3).flat_map(move |distance| {
            let rules = self.rules.iter();
            rules.filter(move |rule| {
                self.distance(rule, namespace) == Some(distance) && rule.exported.to(namespace)
            })
        })
    }

    /// Of the caller's own namespace, of the service's, or of the root; None: of none of these.
    fn distance(&self, rule: &ServicePolicy, namespace: &str) -> Option<u8> {
        match &*rule.origin.namespace {
            own if own == namespace && own != self.root => Some(0),
            home if self.home.as_deref() == Some(home) => Some(1),
            root if root == self.root => Some(2),
            _ => None,
        }
    }

    /// Namespaces whose callers may be told others than all the rest.
    pub fn named(&self) -> impl Iterator<Item = &Arc<str>> {
        let rules = self.rules.iter();
        rules.flat_map(|rule| std::iter::once(&rule.origin.namespace).chain(rule.exported.named()))
    }
}

impl ServicePolicy {
    /// Whether TLS is made with what this Secret holds, to any subset or port.
    pub fn names_secret(&self, secret: &str) -> bool {
        let subsets = self.subsets.iter().map(|subset| &subset.policy);
        let mut policies = std::iter::once(&self.policy)
            .chain(subsets)
            .flat_map(|policy| std::iter::once(policy).chain(policy.ports.iter().map(|(_, policy)| policy)));
        policies.any(|policy| match &policy.tls {
            Some(TlsMode::Originate(said)) => said.credentials == Credentials::Secret(secret.to_owned()),
            _ => false,
        })
    }

    /// Rules that select their callers select those of their own namespace.
    fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.selector.as_ref().is_none_or(|selector| {
            *self.origin.namespace == *namespace
                && selector
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
        })
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
    /// Where the balancer hashes.
    pub table: HashTable,
    pub warmup: Option<Warmup>,
    pub locality: Option<LocalityLb>,
    pub pool: ConnectionPool,
    pub outlier: Option<OutlierDetection>,
    pub tls: Option<TlsMode>,
    pub tunnel: Option<Tunnel>,
    pub proxy_protocol: Option<ProxyProtocol>,
    pub retry_budget: Option<RetryBudget>,
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
        attributes: Vec<(String, String)>,
    },
    HashSourceIp,
    HashQuery(String),
}

/// How a hash becomes an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashTable {
    Ring {
        minimum: u64,
    },
    /// None: the default size.
    Maglev {
        size: Option<u64>,
    },
}

impl Default for HashTable {
    /// Istio's.
    fn default() -> Self {
        Self::Ring { minimum: 1024 }
    }
}

/// A new endpoint gets its share little by little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Warmup {
    pub window: Duration,
    /// Of its share, at least: in parts of a million.
    pub minimum: u32,
    /// In thousandths; 1000 is linear.
    pub aggression: u32,
}

/// Which endpoints are preferred by where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalityLb {
    pub enabled: bool,
    pub distribute: Vec<Distribute>,
    /// From a region to the one that comes next.
    pub failover: Vec<(String, String)>,
    /// Labels that callers and endpoints have in common, the weightiest first; with a value in place of the caller's.
    pub priority: Vec<(String, Option<String>)>,
}

/// For callers of a locality: percent by the endpoints' localities. The last parts may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distribute {
    pub from: String,
    pub to: Vec<(String, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionPool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub keepalive: Option<TcpKeepalive>,
    pub max_connection_duration: Option<Duration>,
    /// Of connections that carry bytes; zero: without end.
    pub tcp_idle_timeout: Option<Duration>,
    pub http1_max_pending: Option<u32>,
    pub http2_max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    /// `h2UpgradePolicy`: None: as the mesh does.
    pub http2_upgrade: Option<bool>,
    /// Upstream is spoken what the client speaks.
    pub client_protocol: bool,
    /// Of one connection of HTTP/2.
    pub max_concurrent_streams: Option<u32>,
    /// Interval and time-out of HTTP/2's pings.
    pub http2_keepalive: Option<(Duration, Duration)>,
}

/// What is not said is the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpKeepalive {
    pub probes: Option<u32>,
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OutlierDetection {
    pub consecutive_5xx: Option<u32>,
    pub consecutive_gateway_errors: Option<u32>,
    /// Failures to connect count for themselves, and so many of them eject.
    pub split_local: bool,
    pub consecutive_local: Option<u32>,
    pub interval: Option<Duration>,
    pub base_ejection_time: Option<Duration>,
    pub max_ejection_percent: Option<u32>,
    pub min_health_percent: Option<u32>,
}

/// DestinationRule `tls.mode`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    Disable,
    IstioMutual {
        sni: Option<String>,
        /// Whom the other side may be, in place of the service's own identities; empty: those.
        names: Vec<String>,
    },
    Originate(Box<Origination>),
}

/// TLS as to a server that is not of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origination {
    pub sni: Option<String>,
    /// A certificate is shown.
    pub mutual: bool,
    /// Whom the other side may be; empty: who the server name says.
    pub names: Vec<String>,
    /// The other side may be anybody.
    pub unverified: bool,
    pub credentials: Credentials,
}

/// What TLS is made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// A Secret in the gateway's namespace.
    Secret(String),
    /// Files on the caller's machine.
    Files {
        /// Chain and key.
        certificate: Option<(String, String)>,
        /// None: the machine's own roots.
        roots: Option<String>,
        revoked: Option<String>,
    },
}

impl Default for Credentials {
    fn default() -> Self {
        Self::Files {
            certificate: None,
            roots: None,
            revoked: None,
        }
    }
}

impl Credentials {
    /// Nothing but the machine's own roots is needed.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Connections go through a proxy of somebody's, to this host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// In a POST; else a CONNECT.
    pub post: bool,
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    V1,
    V2,
}

/// How many retries there may be for so many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryBudget {
    /// In parts of a million of the requests under way. None: Envoy's 20 %.
    pub share: Option<u32>,
    /// So many always. None: 3.
    pub least: Option<u32>,
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
