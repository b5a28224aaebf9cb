//! Encoded resources, shared between the proxies that need the same.
//!
//! The key is the generator's only argument, so it cannot lack anything (keys written by hand have given proxies
//! each other's configuration: istio 34604, 46081, 33629).

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::cluster::ClusterInput;
use crate::endpoint::EndpointsInput;
use crate::gateway::{self, GatewayListener, GatewaySecretInput};
use crate::grpc::{self, GrpcCluster, GrpcListener, GrpcRoutes};
use crate::name_table::NameTableInput;
use crate::patch::{self, Added, Outcome, Patched};
use crate::pb;
use crate::route::RouteInput;
use crate::sidecar::ListenerInput;
use crate::trust::TrustInput;
use crate::{Resource, ResourceType};

/// All that a resource is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Listener(ListenerInput),
    Route(RouteInput),
    Cluster(ClusterInput),
    Endpoints(EndpointsInput),
    NameTable(NameTableInput),
    GatewayListener(GatewayListener),
    GatewaySecret(GatewaySecretInput),
    Trust(TrustInput),
    GrpcListener(GrpcListener),
    GrpcRoutes(GrpcRoutes),
    GrpcCluster(GrpcCluster),
    /// Changed by EnvoyFilters.
    Patched(Box<Patched<Input>>),
    Added(Added),
}

impl Input {
    pub(crate) fn of(outcome: Outcome<Input>) -> Self {
        match outcome {
            Outcome::Unchanged(input) => input,
            Outcome::Patched(patched) => Self::Patched(Box::new(patched)),
            Outcome::Added(added) => Self::Added(added),
        }
    }

    fn resource(&self) -> (ResourceType, Resource) {
        let (kind, name, body) = match self {
            Self::Patched(patched) => {
                let mut made = patched.input.made();
                made.patch(&patched.patches);
                made.encode()
            }
            other => other.made().encode(),
        };
        let resource = Resource {
            name,
            type_url: kind.type_url(),
            body: Bytes::from(body),
            version: self.version(),
        };
        (kind, resource)
    }

    fn made(&self) -> Made {
        match self {
            Self::Listener(input) => Made::Listener(Box::new(crate::sidecar::listener(input))),
            Self::Route(input) => Made::Route(Box::new(crate::route::configuration(input))),
            Self::Cluster(input) => Made::Cluster(Box::new(crate::cluster::cluster(input))),
            Self::Endpoints(input) => {
                let made = crate::endpoint::assignment(input);
                Made::other(ResourceType::Endpoints, &made.cluster_name, &made)
            }
            Self::GatewayListener(input) => Made::Listener(Box::new(gateway::listener(input))),
            Self::GatewaySecret(input) => {
                let made = gateway::secret(input);
                Made::other(ResourceType::Secret, &made.name, &made)
            }
            Self::Trust(input) => {
                let made = crate::trust::secret(input);
                Made::other(ResourceType::Secret, &made.name, &made)
            }
            Self::GrpcListener(input) => Made::Listener(Box::new(grpc::listener(input))),
            Self::GrpcRoutes(input) => Made::Route(Box::new(grpc::configuration(input))),
            Self::GrpcCluster(input) => Made::Cluster(Box::new(grpc::cluster(input))),
            Self::NameTable(input) => {
                let made = crate::name_table::table(input);
                Made::other(ResourceType::NameTable, crate::naming::NAME_TABLE, &made)
            }
            Self::Added(added) => Made::Other(added.kind, added.name.clone(), added.change.message()),
            Self::Patched(patched) => patched.input.made(),
        }
    }

    /// The hash of the input and of the generators' own version.
    ///
    /// Not of the bytes: prost writes a map in its table's random order, so that equal resources would differ
    /// after an eviction or a restart, and be sent again.
    pub(crate) fn version(&self) -> String {
        let mut hasher = DefaultHasher::new();
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        self.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// A message before it is encoded.
enum Made {
    Listener(Box<pb::listener::Listener>),
    Route(Box<pb::route::RouteConfiguration>),
    Cluster(Box<pb::cluster::Cluster>),
    /// Nothing of it is patched.
    Other(ResourceType, String, Vec<u8>),
}

impl Made {
    fn other(kind: ResourceType, name: &str, message: &impl Message) -> Self {
        Self::Other(kind, name.to_owned(), message.encode_to_vec())
    }

    fn patch(&mut self, patches: &patch::Patches) {
        match self {
            Self::Listener(listener) => patch::patch_listener(listener, patches),
            Self::Route(routes) => patch::patch_routes(routes, patches),
            Self::Cluster(cluster) => patch::patch_cluster(cluster, patches),
            Self::Other(..) => {}
        }
    }

    fn encode(self) -> (ResourceType, String, Vec<u8>) {
        match self {
            Self::Listener(made) => {
                let body = made.encode_to_vec();
                (ResourceType::Listener, made.name, body)
            }
            Self::Route(made) => {
                let body = made.encode_to_vec();
                (ResourceType::Route, made.name, body)
            }
            Self::Cluster(made) => {
                let body = made.encode_to_vec();
                (ResourceType::Cluster, made.name, body)
            }
            Self::Other(kind, name, body) => (kind, name, body),
        }
    }
}

/// A bounded map from input to resource, in two generations: when the young one is full it becomes the old one,
/// and what nobody asked for since is dropped.
#[derive(Debug)]
pub struct Cache {
    young: HashMap<Input, Arc<Resource>>,
    old: HashMap<Input, Arc<Resource>>,
    limit: usize,
    /// How many were made, by kind.
    made: BTreeMap<ResourceType, u64>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(16_384)
    }
}

impl Cache {
    /// Holds at most `limit` resources.
    pub fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            limit,
            made: BTreeMap::new(),
        }
    }

    /// How many resources have been made since the beginning, by kind: what was found here is not counted.
    pub fn made(&self) -> &BTreeMap<ResourceType, u64> {
        &self.made
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&mut self, input: Input) -> Arc<Resource> {
        if let Some(found) = self.young.get(&input) {
            return found.clone();
        }
        let resource = match self.old.remove(&input) {
            Some(found) => found,
            None => {
                let (kind, resource) = input.resource();
                *self.made.entry(kind).or_default() += 1;
                Arc::new(resource)
            }
        };
        if self.young.len() >= (self.limit / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(input, resource.clone());
        resource
    }
}
