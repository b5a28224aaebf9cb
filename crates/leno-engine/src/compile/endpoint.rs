//! `ClusterLoadAssignment`: endpoints by priority and locality.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::listener::Address;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Index is the priority.
    pub priorities: Vec<Vec<Locality>>,
    /// Percent; Envoy's default 140.
    pub overprovisioning: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
    pub weight: u32,
    pub endpoints: Vec<Arc<Endpoint>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: Target,
    pub hostname: String,
    pub weight: u32,
    pub health: Health,
    /// `filter_metadata["envoy.transport_socket_match"]`
    pub transport_match: BTreeMap<String, String>,
    /// `filter_metadata["istio"].workload`, parsed.
    pub workload: Option<WorkloadLabel>,
}

/// A socket address, or a name that DNS clusters resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Address(Address),
    Name { host: String, port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Unknown,
    Healthy,
    Unhealthy,
    Draining,
    Degraded,
}

/// Istio's `name;namespace;canonical-service;canonical-revision;cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadLabel {
    pub name: String,
    pub namespace: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub cluster: String,
}

// === impl Target ===

/// `10.0.0.1:80`, `[::1]:80`, a path, or `host:80`; consistent hashing depends on this form.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(Address::Socket(address)) => address.fmt(f),
            Self::Address(Address::Pipe(path)) => path.display().fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Not written yet: the signature comes first.
pub fn compile(
    _message: &leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment,
    _warnings: &mut super::Warnings,
) -> Result<Assignment, super::Rejection> {
    Err(super::FieldPath::default().reject("not compiled yet"))
}
