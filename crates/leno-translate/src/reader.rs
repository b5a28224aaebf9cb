//! Reading the snapshot, and noting what was read.
//!
//! Collectors get the snapshot only through here, so that no answer can depend on something that the push index
//! does not know of.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use leno_model::authorization::InForce;
use leno_model::delta::Key;
use leno_model::{
    EnvoyPatch, Gateway, GatewaySecret, Host, HttpRoute, KeySource, Labels, MeshConfig, Origin, PeerMtls,
    RequestAuthentication, Service, ServicePolicy, Snapshot, TcpRoute, Telemetry, Trust, Workload,
    WorkloadId,
};

use crate::Proxy;

pub(crate) struct Reader<'a> {
    snapshot: &'a Snapshot,
    deps: BTreeSet<Key>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            deps: BTreeSet::new(),
        }
    }

    pub(crate) fn into_deps(self) -> BTreeSet<Key> {
        self.deps
    }

    pub(crate) fn mesh(&mut self) -> &'a MeshConfig {
        self.deps.insert(Key::Mesh);
        &self.snapshot.mesh
    }

    pub(crate) fn trust(&mut self) -> &'a Trust {
        self.deps.insert(Key::Trust);
        &self.snapshot.trust
    }

    pub(crate) fn service(&mut self, host: &Host) -> Option<&'a Service> {
        self.deps.insert(Key::Service(host.clone()));
        self.snapshot.service(host).map(Arc::as_ref)
    }

    /// The service that is called at this address and port. Without a virtual address that depends on the set of
    /// services: a new one may take it.
    pub(crate) fn by_address(&mut self, address: IpAddr, port: u16) -> Option<&'a Service> {
        if let Some(service) = self.snapshot.by_vip(address) {
            return self.service(&service.host);
        }
        self.deps.insert(Key::ServiceList);
        let mut covering = Vec::new();
        for service in self.snapshot.by_fixed_address(address) {
            covering.extend(self.service(&service.host));
        }
        covering.into_iter().find(|service| service.port(port).is_some())
    }

    /// The services that have this port at whatever address.
    pub(crate) fn anywhere(&mut self, port: u16) -> Vec<&'a Service> {
        let mut services = self.services_where(Service::is_anywhere);
        services.retain(|service| service.port(port).is_some());
        services
    }

    /// Every service, with all that it is.
    pub(crate) fn services(&mut self) -> Vec<&'a Service> {
        self.services_where(|_| true)
    }

    /// The services of a namespace, with all that they are.
    pub(crate) fn services_in(&mut self, namespace: &str) -> Vec<&'a Service> {
        self.services_where(|service| service.namespace == namespace)
    }

    fn services_where(&mut self, wanted: impl Fn(&Service) -> bool) -> Vec<&'a Service> {
        self.deps.insert(Key::ServiceList);
        let services: Vec<&'a Service> = self
            .snapshot
            .services
            .values()
            .map(Arc::as_ref)
            .filter(|service| wanted(service))
            .collect();
        let keys = services.iter().map(|service| Key::Service(service.host.clone()));
        self.deps.extend(keys);
        services
    }

    /// Every service's names and addresses only, which `ServiceList` covers: the name table must not cost a key
    /// per service and proxy.
    pub(crate) fn service_names(&mut self) -> impl Iterator<Item = &'a Service> {
        self.deps.insert(Key::ServiceList);
        self.snapshot.services.values().map(Arc::as_ref)
    }

    pub(crate) fn endpoints(&mut self, host: &Host) -> &'a [Arc<Workload>] {
        self.deps.insert(Key::Endpoints(host.clone()));
        self.snapshot.endpoints(host)
    }

    pub(crate) fn http_routes(&mut self, host: &Host) -> &'a [Arc<HttpRoute>] {
        self.deps.insert(Key::Routes(host.clone()));
        self.snapshot.http_routes.get(host).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn tcp_routes(&mut self, host: &Host) -> &'a [Arc<TcpRoute>] {
        self.deps.insert(Key::Routes(host.clone()));
        self.snapshot.tcp_routes.get(host).map_or(&[], Vec::as_slice)
    }

    /// The DestinationRule that is in force for calls of this proxy's.
    pub(crate) fn policy(&mut self, proxy: &Proxy, host: &Host) -> Option<&'a ServicePolicy> {
        self.deps.insert(Key::Policy(host.clone()));
        self.snapshot.policy(host, &proxy.namespace, &proxy.labels)
    }

    /// All DestinationRules that are in force for this proxy and say how TLS is made with a Secret.
    pub(crate) fn policies_with(&mut self, proxy: &Proxy, secret: &str) -> Vec<&'a ServicePolicy> {
        let policies = self.snapshot.policies.iter();
        let all =
            policies.filter_map(|(host, all)| Some((host, all.for_caller(&proxy.namespace, &proxy.labels)?)));
        let naming = all.filter(|(_, rule)| crate::traffic_policy::names_secret(rule, secret));
        naming
            .map(|(host, rule)| {
                self.deps.insert(Key::Policy(host.clone()));
                rule
            })
            .collect()
    }

    /// All Gateways, in the order in which the first holds.
    pub(crate) fn gateways(&mut self) -> &'a [Arc<Gateway>] {
        self.deps.insert(Key::Gateways);
        &self.snapshot.gateways
    }

    pub(crate) fn secret(&mut self, namespace: &str, name: &str) -> Option<&'a GatewaySecret> {
        let key = (namespace.to_owned(), name.to_owned());
        self.deps.insert(Key::Secret(key.0.clone(), key.1.clone()));
        self.snapshot.secrets.get(&key).map(Arc::as_ref)
    }

    pub(crate) fn workload(&mut self, id: &WorkloadId) -> Option<&'a Workload> {
        self.deps.insert(Key::Workload(id.clone()));
        self.snapshot.workloads.get(id).map(Arc::as_ref)
    }

    /// The policies that are in force for a workload of the proxy's namespace with its labels; for a gateway those of
    /// these Gateways too.
    pub(crate) fn authorization(&mut self, proxy: &Proxy, labels: &Labels, gateways: &[&Origin]) -> InForce {
        let all = &self.snapshot.authorization;
        self.deps
            .extend(namespaces(&all.root, proxy, gateways).map(Key::Authorization));
        all.for_gateway(&proxy.namespace, labels, gateways)
    }

    /// What is told of the proxy's requests, the widest first.
    pub(crate) fn telemetry(&mut self, proxy: &Proxy) -> Vec<Arc<Telemetry>> {
        let all = &self.snapshot.telemetries;
        self.deps
            .extend(namespaces(&all.root, proxy, &[]).map(Key::Telemetry));
        if all.namespaces.is_empty() {
            return Vec::new();
        }
        let served = self.own_gateways(proxy, all.targets_gateways(&proxy.namespace));
        all.for_proxy(&proxy.namespace, &proxy.labels, &served)
    }

    /// The Gateways of the proxy's own namespace that it serves: as in Istio only they can be attached to here.
    fn own_gateways(&mut self, proxy: &Proxy, wanted: bool) -> Vec<&'a Origin> {
        if !wanted || !proxy.is_gateway() {
            return Vec::new();
        }
        let gateways = self.gateways().iter().filter(|gateway| {
            *gateway.origin.namespace == *proxy.namespace
                && gateway.is_served_by(&proxy.namespace, &proxy.labels)
        });
        gateways.map(|gateway| &gateway.origin).collect()
    }

    /// What is changed of what the proxy is given.
    pub(crate) fn envoy_patches(&mut self, proxy: &Proxy) -> Vec<Arc<EnvoyPatch>> {
        let all = &self.snapshot.envoy_filters;
        self.deps
            .extend(namespaces(&all.root, proxy, &[]).map(Key::EnvoyFilters));
        if all.namespaces.is_empty() {
            return Vec::new();
        }
        let served = self.own_gateways(proxy, all.targets_gateways(&proxy.namespace));
        let workload = (proxy.namespace.as_str(), &proxy.labels);
        all.for_proxy(workload, &proxy.metadata, &served)
    }

    /// Whose tokens are taken, for the same.
    pub(crate) fn authentication(
        &mut self,
        proxy: &Proxy,
        labels: &Labels,
        gateways: &[&Origin],
    ) -> Vec<Arc<RequestAuthentication>> {
        let all = &self.snapshot.authentication;
        self.deps
            .extend(namespaces(&all.root, proxy, gateways).map(Key::Authentication));
        all.for_gateway(&proxy.namespace, labels, gateways)
    }

    /// The keys that were fetched there; None: none yet.
    pub(crate) fn keys(&mut self, source: &KeySource) -> Option<&'a Arc<str>> {
        self.deps.insert(Key::Keys(source.clone()));
        self.snapshot.keys.get(source)
    }

    /// What an endpoint accepts. `Endpoints` of its service covers it: a caller has no key per endpoint.
    pub(crate) fn endpoint_mtls(&self, endpoint: &Workload) -> Option<&'a PeerMtls> {
        self.snapshot.mtls.get(&endpoint.id).map(Arc::as_ref)
    }

    /// What a workload accepts, for its own proxy.
    pub(crate) fn mtls(&mut self, id: &WorkloadId) -> Option<&'a PeerMtls> {
        self.deps.insert(Key::Workload(id.clone()));
        self.snapshot.mtls.get(id).map(Arc::as_ref)
    }
}

/// Those whose policies may be for the proxy, where it serves these Gateways.
fn namespaces(root: &str, proxy: &Proxy, gateways: &[&Origin]) -> impl Iterator<Item = String> {
    let own = [root, &*proxy.namespace].into_iter();
    let all = own.chain(gateways.iter().map(|gateway| &*gateway.namespace));
    all.map(str::to_owned).collect::<Vec<_>>().into_iter()
}
