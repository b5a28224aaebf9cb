//! The model in xDS v3: listeners, routes, clusters, endpoints for each proxy.
//!
//! Each kind of resource has a collector, which reads from the snapshot all that the resource depends on, and a
//! generator, a pure function from what was collected to the message. What was collected is the cache's key, and
//! what was read is what the answer depends on: neither is written by hand.
//!
//! Shapes, names and meaning are Istio's, so that Envoy, `istioctl` and dashboards find what they know. leno's own
//! proxy gets the same resources, but asks for them by name when a connection needs them
//! ([`Proxy::on_demand`]).

mod access_log;
mod audit_log;
mod authentication;
mod authorization;
mod cache;
mod claims;
mod cluster;
mod connection_manager;
mod endpoint;
mod gateway;
mod grpc;
mod name_table;
mod naming;
mod parts;
mod patch;
mod pb;
mod peer_metadata;
mod reader;
mod route;
mod sidecar;
mod tcp;
mod telemetry;
mod tls;
mod tracing;
mod traffic_policy;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use leno_model::delta::Key;
use leno_model::{Labels, Snapshot, Trust, WorkloadId};
use leno_proto::type_url;

pub use cache::Cache;

use cache::Input;
use reader::Reader;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The xDS node id.
    pub id: String,
    pub namespace: String,
    pub labels: Labels,
    pub service_account: String,
    /// The workload that it stands beside; None until it has registered.
    pub workload: Option<WorkloadId>,
    /// leno's own proxy, which subscribes by name and restores the client's HTTP version.
    pub on_demand: bool,
    /// What it says of itself in the xDS node's metadata, as far as it is text.
    pub metadata: BTreeMap<String, String>,
    /// What policies deny is told to the control plane, which it has proved who it is to.
    pub audited: bool,
    pub kind: ProxyKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    Sidecar,
    /// At the mesh's edge: it serves Gateways on ports of its own machine.
    Gateway(GatewayPorts),
    /// A gRPC library in the application itself, which knows a part of xDS.
    Grpc,
}

/// Where a gateway proxy serves, and what it may know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayPorts {
    /// By a Gateway's port: the one that is opened in its place.
    pub map: BTreeMap<u16, u16>,
    /// Addresses to listen on; none: all of IPv4.
    pub bind: Vec<IpAddr>,
    /// It has proved who it is: it may have the certificates of its Gateways.
    pub proven: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    Listener,
    Route,
    Cluster,
    Endpoints,
    NameTable,
    /// Whom to trust, and a gateway's certificates.
    Secret,
}

impl Proxy {
    /// HTTP and bytes of a port whose protocol is detected have a cluster each; else one has both, and a filter of the
    /// sidecar's says which it is.
    fn tells_http_from_bytes(&self) -> bool {
        self.on_demand || self.is_gateway()
    }

    fn is_gateway(&self) -> bool {
        matches!(self.kind, ProxyKind::Gateway(_))
    }
}

impl ResourceType {
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE_CONFIGURATION,
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoints => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::NameTable => type_url::NAME_TABLE,
            Self::Secret => type_url::SECRET,
        }
    }

    /// None: leno serves no such resources.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        [
            Self::Listener,
            Self::Route,
            Self::Cluster,
            Self::Endpoints,
            Self::NameTable,
            Self::Secret,
        ]
        .into_iter()
        .find(|kind| kind.type_url() == type_url)
    }
}

/// A resource as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub name: String,
    pub type_url: &'static str,
    /// The encoded message.
    pub body: Bytes,
    /// Equal versions of a name mean equal resources, also after a restart.
    pub version: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    /// None: there is no such resource (for this proxy).
    pub resource: Option<Arc<Resource>>,
    /// What to ask again after, even where there is no resource.
    pub deps: BTreeSet<Key>,
}

/// The resource of this name, for this proxy.
pub fn answer(
    cache: &mut Cache,
    snapshot: &Snapshot,
    proxy: &Proxy,
    kind: ResourceType,
    name: &str,
) -> Answer {
    let mut reader = Reader::new(snapshot, proxy);
    let input = match &proxy.kind {
        ProxyKind::Sidecar => sidecar_input(&mut reader, proxy, kind, name),
        ProxyKind::Gateway(ports) => gateway_input(&mut reader, (proxy, ports), kind, name),
        ProxyKind::Grpc => grpc_input(&mut reader, proxy, kind, name),
    };
    let input = patch::patched(&mut reader, proxy, (kind, name), input);
    Answer {
        resource: input.map(|input| cache.get(Input::of(input))),
        deps: reader.into_deps(),
    }
}

/// The version of the secret `ROOTCA` that says this.
pub fn trust_version(trust: &Trust) -> String {
    Input::Trust(trust::TrustInput(trust.clone())).version()
}

fn sidecar_input(reader: &mut Reader<'_>, proxy: &Proxy, kind: ResourceType, name: &str) -> Option<Input> {
    match kind {
        ResourceType::Listener => sidecar::listener_input(reader, proxy, name).map(Input::Listener),
        ResourceType::Route => route::route_input(reader, proxy, name).map(Input::Route),
        ResourceType::Cluster => cluster::cluster_input(reader, proxy, name).map(Input::Cluster),
        ResourceType::Endpoints => endpoint::endpoints_input(reader, proxy, name).map(Input::Endpoints),
        ResourceType::NameTable => Some(Input::NameTable(name_table::name_table_input(reader, proxy))),
        ResourceType::Secret => trust::input(reader, name).map(Input::Trust),
    }
}

fn gateway_input(
    reader: &mut Reader<'_>,
    (proxy, ports): (&Proxy, &GatewayPorts),
    kind: ResourceType,
    name: &str,
) -> Option<Input> {
    match kind {
        ResourceType::Listener => {
            gateway::listener_input(reader, proxy, ports, name).map(Input::GatewayListener)
        }
        ResourceType::Route => gateway::route_input(reader, proxy, name).map(Input::Route),
        ResourceType::Secret if name == trust::ROOT_CA => trust::input(reader, name).map(Input::Trust),
        ResourceType::Secret => gateway::secret_input(reader, proxy, ports, name).map(Input::GatewaySecret),
        ResourceType::Cluster | ResourceType::Endpoints | ResourceType::NameTable => {
            sidecar_input(reader, proxy, kind, name)
        }
    }
}

fn grpc_input(reader: &mut Reader<'_>, proxy: &Proxy, kind: ResourceType, name: &str) -> Option<Input> {
    match kind {
        ResourceType::Listener => grpc::listener_input(reader, proxy, name).map(Input::GrpcListener),
        ResourceType::Route => grpc::route_input(reader, proxy, name).map(Input::GrpcRoutes),
        ResourceType::Cluster => grpc::cluster_input(reader, proxy, name).map(Input::GrpcCluster),
        ResourceType::Endpoints => endpoint::endpoints_input(reader, proxy, name).map(Input::Endpoints),
        // For the agent beside it, which has the same node.
        ResourceType::NameTable => Some(Input::NameTable(name_table::name_table_input(reader, proxy))),
        ResourceType::Secret => trust::input(reader, name).map(Input::Trust),
    }
}

/// What a wildcard subscription means for this proxy, and what that depends on.
///
/// Route configurations and endpoints have no wildcard in xDS: their names come from listeners and clusters.
pub fn names(snapshot: &Snapshot, proxy: &Proxy, kind: ResourceType) -> (Vec<String>, BTreeSet<Key>) {
    let mut reader = Reader::new(snapshot, proxy);
    let gateway = proxy.is_gateway();
    let names = match kind {
        ResourceType::Listener if gateway => gateway::listener_names(&mut reader, proxy),
        ResourceType::Cluster if gateway => gateway::cluster_names(&mut reader, proxy),
        // A library asks for what it dials and serves; all that there is means nothing to it.
        ResourceType::Listener | ResourceType::Cluster if proxy.kind == ProxyKind::Grpc => Vec::new(),
        ResourceType::Listener => sidecar::listener_names(&mut reader, proxy),
        ResourceType::Cluster => cluster::cluster_names(&mut reader, proxy),
        ResourceType::Route | ResourceType::Endpoints | ResourceType::Secret => Vec::new(),
        ResourceType::NameTable => vec![naming::NAME_TABLE.into()],
    };
    let names = patch::names(&mut reader, proxy, kind, names);
    (names, reader.into_deps())
}
