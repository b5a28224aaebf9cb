//! The mesh at one moment. Every part is shared with the snapshots before and after it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::authentication::{Authentication, KeySource, Keys, longest};
use crate::authorization::Authorization;
use crate::envoy_filter::EnvoyFilters;
use crate::gateway::{Gateway, GatewaySecret};
use crate::in_force::Policies;
use crate::mesh::MeshConfig;
use crate::name::{Host, Labels, WorkloadId};
use crate::policy::{HostPolicies, PeerMtls, ServicePolicy};
use crate::route::{HttpRoute, TcpRoute};
use crate::service::Service;
use crate::sidecar::Sidecar;
use crate::telemetry::Telemetries;
use crate::trust::Trust;
use crate::visibility::Scoped;
use crate::workload::Workload;

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up with every change.
    pub version: u64,
    pub mesh: Arc<MeshConfig>,
    pub services: BTreeMap<Host, Arc<Service>>,
    pub workloads: BTreeMap<WorkloadId, Arc<Workload>>,
    /// The healthy and unhealthy workloads that a service selects.
    pub endpoints: HashMap<Host, Arc<Vec<Arc<Workload>>>>,
    /// HTTP routes by host, in the order of precedence.
    pub http_routes: HashMap<Host, Scoped<Vec<Arc<HttpRoute>>>>,
    pub tcp_routes: HashMap<Host, Scoped<Vec<Arc<TcpRoute>>>>,
    /// Which services routes of others lead to: by the one that is led to. Known where there are Sidecars.
    pub led_to: HashMap<Host, BTreeSet<Host>>,
    pub policies: HashMap<Host, Arc<HostPolicies>>,
    /// Effective mTLS mode by workload.
    pub mtls: HashMap<WorkloadId, Arc<PeerMtls>>,
    /// What proxies are told of the mesh.
    pub sidecars: Arc<Policies<Sidecar>>,
    /// Who may do what.
    pub authorization: Arc<Authorization>,
    /// Whose tokens are taken.
    pub authentication: Arc<Authentication>,
    /// Changes to what proxies are given.
    pub envoy_filters: Arc<EnvoyFilters>,
    /// Who is told of requests.
    pub telemetries: Arc<Telemetries>,
    /// Keys that were fetched, as JSON Web Key Sets.
    pub keys: Arc<BTreeMap<KeySource, Arc<str>>>,
    /// Virtual addresses.
    pub vips: HashMap<IpAddr, Host>,
    /// Addresses that objects say, the narrowest first.
    pub fixed: Vec<(IpNet, Host)>,
    /// Gateways, in the order in which the first holds.
    pub gateways: Vec<Arc<Gateway>>,
    /// By namespace and name.
    pub secrets: BTreeMap<(String, String), Arc<GatewaySecret>>,
    /// Not of the configuration: the certificate authority says it.
    pub trust: Arc<Trust>,
}

impl Snapshot {
    pub fn service(&self, host: &Host) -> Option<&Arc<Service>> {
        self.services.get(host)
    }

    pub fn by_vip(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.vips.get(&address).and_then(|host| self.services.get(host))
    }

    /// The services that say that this address is theirs, the narrowest first.
    pub fn by_fixed_address(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        let covering = self.fixed.iter().filter(move |(net, _)| net.contains(&address));
        covering.filter_map(|(_, host)| self.services.get(host))
    }

    /// Where keys are to be fetched, and how long an attempt may take.
    pub fn key_sources(&self) -> BTreeMap<KeySource, Duration> {
        let rules = self.authentication.all().flat_map(|policy| &policy.rules);
        longest(rules.filter_map(|rule| match &rule.keys {
            Keys::Fetched(source, timeout) => Some((source.clone(), *timeout)),
            Keys::Inline(_) => None,
        }))
    }

    /// How a host is called by a caller of this namespace and with these labels.
    pub fn policy(&self, host: &Host, namespace: &str, labels: &Labels) -> Option<&ServicePolicy> {
        self.policies.get(host)?.for_caller(namespace, labels)
    }

    pub fn endpoints(&self, host: &Host) -> &[Arc<Workload>] {
        self.endpoints.get(host).map_or(&[], |list| list.as_slice())
    }
}
