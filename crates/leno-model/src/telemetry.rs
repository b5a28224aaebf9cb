//! Who is told of requests: logs and traces, by Istio's Telemetry and MeshConfig's providers.

use std::sync::Arc;
use std::time::Duration;

use crate::in_force::{Policies, PolicyTarget, Targeted};
use crate::name::{Host, Labels, Origin};

/// All of the mesh.
pub type Telemetries = Policies<Telemetry>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Telemetry {
    pub origin: Origin,
    pub target: PolicyTarget,
    pub logging: Vec<Logging>,
    pub tracing: Vec<Tracing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Logging {
    pub side: Option<Side>,
    /// None: those that hold already.
    pub providers: Vec<String>,
    pub disabled: bool,
    /// In CEL: only what it is true of.
    pub expression: Option<String>,
}

/// What is not there stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tracing {
    pub side: Option<Side>,
    pub provider: Option<String>,
    /// Of a million requests.
    pub sampled: Option<u32>,
    pub disabled: Option<bool>,
    pub tags: Vec<(String, Tag)>,
    pub by_request_id: Option<bool>,
    pub istio_tags: Option<bool>,
}

/// Of a call; a gateway is a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Server,
}

/// What a span's tag says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    Literal(String),
    /// Of the proxy's environment, and what where it has none.
    Environment(String, String),
    Header(String, String),
    /// With Envoy's command operators.
    Format(String),
}

/// Istio's default, of a million: one request of a hundred.
pub const SAMPLED: u32 = 10_000;

/// MeshConfig's part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    pub providers: Vec<Provider>,
    /// Where no Telemetry says otherwise.
    pub logging: Vec<String>,
    pub tracing: Vec<String>,
    /// Of all requests, where Telemetry does not say; of a million.
    pub sampled: Option<u32>,
    /// Zipkin's collector and tags, as before there were providers.
    pub zipkin: Option<Zipkin>,
    pub tags: Vec<(String, Tag)>,
    pub max_path: u32,
}

/// Somebody who is told of requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Provider {
    pub name: String,
    pub kind: ProviderKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    File {
        path: String,
        /// None: Istio's line.
        format: Option<FileFormat>,
        omits_empty: bool,
    },
    /// Envoy's access log service, of requests or of connections.
    Entries(Entries),
    /// Log records for an OpenTelemetry collector.
    Records {
        at: Address,
        log_name: String,
        /// None: Istio's line.
        body: Option<String>,
        /// A JSON object.
        attributes: Option<String>,
    },
    Zipkin(Zipkin),
    OpenTelemetry {
        at: Address,
        max_path: u32,
        /// None: by gRPC.
        http: Option<(String, Option<Duration>)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileFormat {
    Text(String),
    /// A JSON object.
    Labels(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entries {
    pub http: bool,
    pub at: Address,
    pub log_name: String,
    pub state: Vec<String>,
    pub request_headers: Vec<String>,
    pub response_headers: Vec<String>,
    pub response_trailers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Zipkin {
    pub at: Address,
    pub path: String,
    pub max_path: u32,
    pub wide_ids: bool,
    /// W3C's headers besides its own.
    pub w3c: bool,
}

/// A service of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: Host,
    pub port: u16,
}

// === impl Telemetries ===

impl Telemetries {
    /// What holds for a proxy, the widest first: of the mesh, of its namespace, of the workload itself or the Gateways that
    /// it serves. Of each the first by name.
    pub fn for_proxy(&self, namespace: &str, labels: &Labels, gateways: &[&Origin]) -> Vec<Arc<Telemetry>> {
        let wide = |of: &str| {
            let mut all = self.namespaces.get(of).into_iter().flat_map(|list| list.iter());
            all.find(|telemetry| telemetry.is_wide()).cloned()
        };
        let own = wide(namespace).filter(|_| namespace != self.root);
        let mut found: Vec<Arc<Telemetry>> = wide(&self.root).into_iter().chain(own).collect();
        let narrow = self.for_gateway(namespace, labels, gateways);
        let narrow = narrow
            .into_iter()
            .filter(|telemetry| !telemetry.is_wide() && *telemetry.origin.namespace == *namespace);
        let (attached, selecting): (Vec<_>, Vec<_>) =
            narrow.partition(|telemetry| matches!(telemetry.target, PolicyTarget::Gateways(_)));
        found.extend(selecting.into_iter().take(1));
        found.extend(attached);
        found
    }
}

impl Telemetry {
    fn is_wide(&self) -> bool {
        matches!(&self.target, PolicyTarget::Workloads(labels) if labels.is_empty())
    }
}

impl Targeted for Telemetry {
    fn target(&self) -> &PolicyTarget {
        &self.target
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Istio's own provider, besides the user's.
const ENVOY: &str = "envoy";

impl Default for Told {
    fn default() -> Self {
        Self {
            providers: vec![Provider {
                name: ENVOY.into(),
                kind: ProviderKind::File {
                    path: "/dev/stdout".into(),
                    format: None,
                    omits_empty: false,
                },
            }],
            logging: Vec::new(),
            tracing: Vec::new(),
            sampled: None,
            zipkin: None,
            tags: Vec::new(),
            max_path: 0,
        }
    }
}

impl Told {
    pub fn provider(&self, name: &str) -> Option<&ProviderKind> {
        let mut providers = self.providers.iter();
        providers
            .find(|provider| provider.name == name)
            .map(|found| &found.kind)
    }
}

impl ProviderKind {
    /// Where it is; None: a file.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::File { .. } => None,
            Self::Entries(entries) => Some(&entries.at),
            Self::Records { at, .. } | Self::OpenTelemetry { at, .. } => Some(at),
            Self::Zipkin(zipkin) => Some(&zipkin.at),
        }
    }
}
