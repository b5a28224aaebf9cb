//! Reading the snapshot, and noting what was read.
//!
//! Collectors get the snapshot only through here, so that no answer can depend on something that the push index
//! does not know of.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use leno_model::authorization::InForce;
use leno_model::delta::Key;
use leno_model::visibility::Scoped;
use leno_model::{
    EnvoyPatch, Gateway, GatewaySecret, Host, HttpRoute, KeySource, Labels, MeshConfig, Origin,
    OutboundPolicy, PeerMtls, RequestAuthentication, Service, ServicePolicy, Sidecar, Snapshot, TcpRoute,
    Telemetry, Trust, Workload, WorkloadId,
};

use crate::Proxy;

pub(crate) struct Reader<'a> {
    snapshot: &'a Snapshot,
    /// Who asks: what is not exported there is not found.
    namespace: Arc<str>,
    /// What it is told of the mesh, if a Sidecar says so.
    sidecar: Option<&'a Sidecar>,
    deps: BTreeSet<Key>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, proxy: &Proxy) -> Self {
        Self {
            snapshot,
            namespace: proxy.namespace.as_str().into(),
            sidecar: match proxy.is_gateway() {
                true => None,
                false => snapshot.sidecars.for_proxy(&proxy.namespace, &proxy.labels),
            },
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

    /// What becomes of calls to strangers.
    pub(crate) fn outbound(&mut self) -> OutboundPolicy {
        self.depend_on_sidecar();
        let own = self.sidecar.and_then(|sidecar| sidecar.outbound);
        own.unwrap_or_else(|| self.mesh().outbound)
    }

    /// A service that the proxy may call.
    pub(crate) fn service(&mut self, host: &Host) -> Option<&'a Service> {
        self.depend_on_sidecar();
        let found = self.snapshot.service(host).map(Arc::as_ref);
        let hidden = found.is_some_and(|service| !self.reaches(service));
        if !hidden {
            self.deps.insert(Key::Service(host.clone()));
        } else {
            self.deps.insert(Key::Exported(host.clone()));
            self.deps.extend(self.sidecar.map(|_| Key::LedTo(host.clone())));
        }
        found.filter(|_| !hidden)
    }

    /// Whether connections to this port of a service are the proxy's to make.
    pub(crate) fn imports(&self, service: &Service, port: u16) -> bool {
        let sidecar = self.sidecar;
        sidecar.is_none_or(|sidecar| sidecar.imports(&self.namespace, service, Some(port)))
    }

    /// The same for any of its ports.
    fn imports_any(&self, service: &Service) -> bool {
        let sidecar = self.sidecar;
        let imported = sidecar.is_none_or(|sidecar| sidecar.imports(&self.namespace, service, None));
        imported && self.sees(service)
    }

    /// Directly, or led there by a route of what it may call.
    fn reaches(&self, service: &Service) -> bool {
        let led = || {
            let from = self.snapshot.led_to.get(&service.host).into_iter().flatten();
            let mut from = from.filter_map(|host| self.snapshot.service(host));
            from.any(|service| self.imports_any(service))
        };
        self.sees(service) && (self.imports_any(service) || led() || self.asks(service))
    }

    /// It answers for what the proxy lets in.
    fn asks(&self, service: &Service) -> bool {
        let mut authorizers = self.snapshot.mesh.authorizers.iter();
        authorizers.any(|authorizer| authorizer.is_at(service))
    }

    fn depend_on_sidecar(&mut self) {
        self.deps.insert(Key::Sidecar(self.namespace.to_string()));
    }

    fn sees(&self, service: &Service) -> bool {
        // Whom an authorizer's answers are for has been said by the mesh's settings.
        service.exported.to(&self.namespace) || self.asks(service)
    }

    /// The lists of services that the proxy's namespace sees.
    fn depend_on_lists(&mut self) {
        let own = Key::ServiceListOf(Arc::clone(&self.namespace));
        self.deps.extend([Key::ServiceList, own]);
        self.depend_on_sidecar();
    }

    /// The service that is called at this address and port. Without a virtual address that depends on the set of
    /// services: a new one may take it.
    pub(crate) fn by_address(&mut self, address: IpAddr, port: u16) -> Option<&'a Service> {
        if let Some(service) = self.snapshot.by_vip(address) {
            let found = self.service(&service.host);
            return found.filter(|service| self.imports(service, port));
        }
        self.depend_on_lists();
        let mut covering = Vec::new();
        for service in self.snapshot.by_fixed_address(address) {
            covering.extend(self.service(&service.host));
        }
        let serves = |service: &&Service| service.port(port).is_some() && self.imports(service, port);
        covering.into_iter().find(serves)
    }

    /// The services that have this port at whatever address.
    pub(crate) fn anywhere(&mut self, port: u16) -> Vec<&'a Service> {
        let anywhere =
            |reader: &Self, service: &Service| service.is_anywhere() && reader.imports_any(service);
        let mut services = self.services_where(anywhere);
        services.retain(|service| service.port(port).is_some() && self.imports(service, port));
        services
    }

    /// Every service that the proxy may call on some port, with all that it is.
    pub(crate) fn services(&mut self) -> Vec<&'a Service> {
        self.services_where(Self::imports_any)
    }

    /// Those, and what their routes lead to.
    pub(crate) fn reached(&mut self) -> Vec<&'a Service> {
        let led = self.snapshot.led_to.keys().cloned().map(Key::LedTo);
        self.deps.extend(led.filter(|_| self.sidecar.is_some()));
        self.services_where(Self::reaches)
    }

    /// The services of the proxy's own namespace, with all that they are, whoever may call them.
    pub(crate) fn own_services(&mut self) -> Vec<&'a Service> {
        self.services_where(|reader, service| *service.namespace == *reader.namespace)
    }

    fn services_where(&mut self, wanted: impl Fn(&Self, &Service) -> bool) -> Vec<&'a Service> {
        self.depend_on_lists();
        let snapshot = self.snapshot;
        let all = snapshot.services.values().map(Arc::as_ref);
        let services: Vec<&'a Service> = all.filter(|service| wanted(self, service)).collect();
        let keys = services.iter().map(|service| Key::Service(service.host.clone()));
        self.deps.extend(keys);
        services
    }

    /// Every service's names and addresses only, which `ServiceList` covers: the name table must not cost a key
    /// per service and proxy.
    pub(crate) fn service_names(&mut self) -> Vec<&'a Service> {
        self.depend_on_lists();
        let all = self.snapshot.services.values().map(Arc::as_ref);
        all.filter(|service| self.imports_any(service)).collect()
    }

    pub(crate) fn endpoints(&mut self, host: &Host) -> &'a [Arc<Workload>] {
        self.deps.insert(Key::Endpoints(host.clone()));
        self.snapshot.endpoints(host)
    }

    pub(crate) fn http_routes(&mut self, host: &Host) -> Vec<&'a HttpRoute> {
        let all = self.scoped(host, self.snapshot.http_routes.get(host));
        let all = all.iter().map(Arc::as_ref);
        all.filter(|route| self.imports_route(&route.origin, &route.hosts))
            .collect()
    }

    pub(crate) fn tcp_routes(&mut self, host: &Host) -> Vec<&'a TcpRoute> {
        let all = self.scoped(host, self.snapshot.tcp_routes.get(host));
        let all = all.iter().map(Arc::as_ref);
        all.filter(|route| self.imports_route(&route.origin, &route.hosts))
            .collect()
    }

    /// Routes of the Gateway API know nothing of Sidecars.
    fn imports_route(&self, origin: &Origin, hosts: &[Host]) -> bool {
        let sidecar = self.sidecar.filter(|_| &*origin.kind == "VirtualService");
        sidecar.is_none_or(|sidecar| sidecar.imports_route(&self.namespace, &origin.namespace, hosts))
    }

    /// What the proxy's namespace finds. It always depends on getting something of its own, and on what all others find
    /// only until then: a change of what it does not see does not concern it.
    fn scoped<R>(&mut self, host: &Host, routes: Option<&'a Scoped<Vec<R>>>) -> &'a [R] {
        let own = Key::RoutesOf(host.clone(), Arc::clone(&self.namespace));
        self.deps.insert(own);
        if !routes.is_some_and(|routes| routes.is_own(&self.namespace)) {
            self.deps.insert(Key::Routes(host.clone()));
        }
        routes.map_or(&[], |routes| routes.of(&self.namespace).as_slice())
    }

    /// The DestinationRule that is in force for calls of this proxy's.
    pub(crate) fn policy(&mut self, proxy: &Proxy, host: &Host) -> Option<&'a ServicePolicy> {
        self.depend_on_policy(host);
        self.snapshot.policy(host, &proxy.namespace, &proxy.labels)
    }

    fn depend_on_policy(&mut self, host: &Host) {
        let own = Key::PolicyOf(host.clone(), Arc::clone(&self.namespace));
        self.deps.insert(own);
        let all = self.snapshot.policies.get(host);
        if !all.is_some_and(|all| all.named().any(|named| *named == self.namespace)) {
            self.deps.insert(Key::Policy(host.clone()));
        }
    }

    /// All DestinationRules that are in force for this proxy and say how TLS is made with a Secret.
    pub(crate) fn policies_with(&mut self, proxy: &Proxy, secret: &str) -> Vec<&'a ServicePolicy> {
        let policies = self.snapshot.policies.iter();
        let all =
            policies.filter_map(|(host, all)| Some((host, all.for_caller(&proxy.namespace, &proxy.labels)?)));
        let naming = all.filter(|(_, rule)| rule.names_secret(secret));
        naming
            .map(|(host, rule)| {
                self.depend_on_policy(host);
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
