//! What differs between a snapshot and the one before it. The keys are also what an answer depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::authentication::KeySource;
use crate::name::{Host, WorkloadId};

/// Something that an xDS answer may depend on. The push index maps keys to the subscriptions they concern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A service's ports, VIPs, selector, or that it exists.
    Service(Host),
    /// The addresses, health and labels of a service's endpoints.
    Endpoints(Host),
    /// The routes of a host, for namespaces that find none of their own.
    Routes(Host),
    /// The routes that a namespace finds for a host, in place of those for all.
    RoutesOf(Host, Arc<str>),
    /// The DestinationRules of a host, for namespaces that none of them names.
    Policy(Host),
    /// What a namespace is told of a host by DestinationRules, where one is its own or names it.
    PolicyOf(Host, Arc<str>),
    /// What a workload itself is or accepts: its ports, its mTLS mode.
    Workload(WorkloadId),
    /// The AuthorizationPolicies of a namespace.
    Authorization(String),
    /// The RequestAuthentications of a namespace.
    Authentication(String),
    /// The EnvoyFilters of a namespace.
    EnvoyFilters(String),
    /// The Telemetry of a namespace.
    Telemetry(String),
    /// The keys that are known from there.
    Keys(KeySource),
    /// The set of services that everybody sees (a wildcard answer, or the name table).
    ServiceList,
    /// The services that this namespace sees and others do not, or that are in it.
    ServiceListOf(Arc<str>),
    /// Who sees a service that not everybody sees.
    Exported(Host),
    /// What the Sidecars of a namespace, or those for all, say to its proxies.
    Sidecar(String),
    /// Which routes of other hosts lead to a service.
    LedTo(Host),
    /// Mesh-wide settings.
    Mesh,
    /// The Gateways, with the routes that are bound to them.
    Gateways,
    /// A Secret with a gateway's certificate: namespace and name.
    Secret(String, String),
    /// Whom the mesh trusts.
    Trust,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub changed: BTreeSet<Key>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Only addresses or health moved: the short way.
    pub fn endpoints_only(&self) -> bool {
        self.changed.iter().all(|k| matches!(k, Key::Endpoints(_)))
    }
}
