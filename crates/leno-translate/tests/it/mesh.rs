//! A small mesh to ask about: built by hand, in the shape of Istio's bookinfo.

use std::net::IpAddr;
use std::sync::Arc;

use leno_model::delta::Key;
use leno_model::route::{HeaderEdits, HttpAction, HttpRoute, HttpRule};
use leno_model::service::TargetPort;
use leno_model::visibility::{Exported, Scoped};
use leno_model::{
    Backing, Host, HostPolicies, HttpMatch, Labels, MtlsMode, Origin, PeerMtls, Protocol, Service,
    ServicePolicy, ServicePort, Snapshot, Subset, TrafficPolicy, WeightedBackend, Workload, WorkloadId,
    WorkloadPort,
};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_translate::{Answer, Cache, Proxy, ProxyKind, ResourceType, answer};
use prost::Message;

pub(crate) fn host(name: &str) -> Host {
    Host::in_cluster(name, "default")
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn origin(kind: &str, name: &str) -> Origin {
    Origin {
        kind: kind.into(),
        namespace: "default".into(),
        name: name.into(),
        place: "mesh.yaml:1:1".into(),
    }
}

pub(crate) fn id(name: &str) -> WorkloadId {
    WorkloadId(format!("{name}.default").into())
}

/// A sidecar of leno beside workload `name`.
pub(crate) fn sidecar(name: &str) -> Proxy {
    Proxy {
        id: format!("sidecar~127.0.0.2~{name}.default~default.svc.cluster.local"),
        namespace: "default".into(),
        labels: labels(&[("app", name)]),
        service_account: name.into(),
        workload: Some(id(name)),
        on_demand: true,
        metadata: Default::default(),
        audited: false,
        kind: ProxyKind::Sidecar,
    }
}

/// The same, but Envoy.
pub(crate) fn envoy(name: &str) -> Proxy {
    Proxy {
        on_demand: false,
        ..sidecar(name)
    }
}

/// A service at 240.240.0.`last` and fd00:6c65:6e6f::`last`, selecting `app: name`.
pub(crate) fn service(name: &str, last: u8, ports: &[(u16, Protocol)]) -> Service {
    let v4 = IpAddr::from([240, 240, 0, last]);
    let v6: IpAddr = format!("fd00:6c65:6e6f::{last:x}").parse().unwrap();
    Service {
        host: host(name),
        name: name.into(),
        namespace: "default".into(),
        ports: ports
            .iter()
            .map(|(port, protocol)| ServicePort {
                port: *port,
                name: format!("port-{port}"),
                protocol: *protocol,
                target: TargetPort::Number(*port),
            })
            .collect(),
        selector: labels(&[("app", name)]),
        vips: vec![v4, v6],
        addresses: Vec::new(),
        backing: Backing::Workloads,
        described: Vec::new(),
        distribution: None,
        same_node: false,
        unready: false,
        sticky: false,
        external: false,
        subject_alt_names: Vec::new(),
        exported: Exported::Everywhere,
        undeclared: false,
        origin: origin("Service", name),
    }
}

/// Instance `name-version` of service `name` at 127.0.0.`last`, with leno in front of it.
pub(crate) fn workload(name: &str, version: &str, last: u8, ports: &[(u16, Protocol)]) -> Workload {
    Workload {
        id: id(&format!("{name}-{version}")),
        name: format!("{name}-{version}"),
        namespace: "default".into(),
        service_account: name.into(),
        labels: labels(&[("app", name), ("version", version)]),
        addresses: vec![IpAddr::from([127, 0, 0, last])],
        ports: ports
            .iter()
            .map(|(port, protocol)| WorkloadPort {
                port: *port,
                name: format!("port-{port}"),
                protocol: *protocol,
            })
            .collect(),
        service: None,
        healthy: true,
        mesh_tls: true,
        http2_upgrade: true,
        locality: String::new(),
        weight: 1,
    }
}

#[derive(Default)]
pub(crate) struct Mesh(pub(crate) Snapshot);

impl Mesh {
    /// reviews (HTTP), ratings (detected) and db (a protocol whose server speaks first), with two reviews.
    pub(crate) fn bookinfo() -> Self {
        let mut mesh = Self::default();
        mesh.add(service("reviews", 7, &[(9080, Protocol::Http)]));
        mesh.add(service("ratings", 8, &[(9080, Protocol::Detect)]));
        mesh.add(service("db", 9, &[(3306, Protocol::Opaque)]));
        mesh.join(
            "reviews",
            workload("reviews", "v1", 11, &[(9080, Protocol::Detect)]),
        );
        mesh.join(
            "reviews",
            workload("reviews", "v2", 12, &[(9080, Protocol::Detect)]),
        );
        mesh.join(
            "ratings",
            workload("ratings", "v1", 13, &[(9080, Protocol::Detect)]),
        );
        mesh.join("db", workload("db", "v1", 14, &[(3306, Protocol::Detect)]));
        mesh
    }

    pub(crate) fn add(&mut self, service: Service) {
        let host = service.host.clone();
        let vips = service.vips.iter().map(|vip| (*vip, host.clone()));
        self.0.vips.extend(vips);
        self.0.services.insert(host, Arc::new(service));
    }

    pub(crate) fn join(&mut self, service: &str, workload: Workload) {
        let workload = Arc::new(workload);
        self.0.workloads.insert(workload.id.clone(), workload.clone());
        let endpoints = self.0.endpoints.entry(host(service)).or_default();
        Arc::make_mut(endpoints).push(workload);
    }

    pub(crate) fn mtls(&mut self, workload: &str, mode: MtlsMode) {
        let peer = PeerMtls {
            mode,
            ports: Vec::new(),
            origin: Some(origin("PeerAuthentication", "strict")),
        };
        self.0.mtls.insert(id(workload), Arc::new(peer));
    }

    pub(crate) fn route(&mut self, service: &str, kind: &str, rules: Vec<HttpRule>) {
        let route = HttpRoute {
            origin: origin(kind, service),
            exported: Exported::Everywhere,
            hosts: vec![host(service)],
            ports: Vec::new(),
            rules,
        };
        let before = self.0.http_routes.remove(&host(service)).unwrap_or_default();
        let mut routes = before.of("default").clone();
        routes.push(Arc::new(route));
        self.0
            .http_routes
            .insert(host(service), Scoped::everywhere(routes));
    }

    /// Subsets by version, and a policy for all of them.
    pub(crate) fn policy(&mut self, service: &str, policy: TrafficPolicy, versions: &[&str]) {
        let rule = ServicePolicy {
            origin: origin("DestinationRule", service),
            host: host(service),
            selector: None,
            exported: Exported::Everywhere,
            policy: policy.clone(),
            subsets: versions
                .iter()
                .map(|version| Subset {
                    name: (*version).into(),
                    labels: labels(&[("version", version)]),
                    policy: policy.clone(),
                })
                .collect(),
        };
        let all = HostPolicies {
            home: Some("default".into()),
            root: "istio-system".into(),
            rules: vec![rule],
        };
        self.0.policies.insert(host(service), Arc::new(all));
    }

    pub(crate) fn ask(&self, proxy: &Proxy, kind: ResourceType, name: &str) -> Answer {
        answer(&mut Cache::default(), &self.0, proxy, kind, name)
    }

    fn get<M: Message + Default>(&self, proxy: &Proxy, kind: ResourceType, name: &str) -> Option<M> {
        let resource = self.ask(proxy, kind, name).resource?;
        Some(M::decode(resource.body.clone()).unwrap())
    }

    pub(crate) fn listener(&self, proxy: &Proxy, name: &str) -> Option<Listener> {
        self.get(proxy, ResourceType::Listener, name)
    }

    pub(crate) fn routes(&self, proxy: &Proxy, name: &str) -> Option<RouteConfiguration> {
        self.get(proxy, ResourceType::Route, name)
    }

    pub(crate) fn cluster(&self, proxy: &Proxy, name: &str) -> Option<Cluster> {
        self.get(proxy, ResourceType::Cluster, name)
    }

    pub(crate) fn endpoints(&self, proxy: &Proxy, name: &str) -> Option<ClusterLoadAssignment> {
        self.get(proxy, ResourceType::Endpoints, name)
    }
}

pub(crate) fn backend(service: &str, subset: Option<&str>, weight: u32) -> WeightedBackend {
    WeightedBackend {
        host: host(service),
        subset: subset.map(str::to_owned),
        port: None,
        weight,
        invalid: false,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
    }
}

pub(crate) fn rule(matches: Vec<HttpMatch>, action: HttpAction) -> HttpRule {
    HttpRule {
        name: None,
        number: 1,
        place: "reviews.yaml:8:5".into(),
        matches,
        action,
        timeout: None,
        retries: None,
        fault: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        rewrite: None,
        mirror: Vec::new(),
        cors: None,
    }
}

pub(crate) fn forward(backends: Vec<WeightedBackend>) -> HttpAction {
    HttpAction::Forward(backends)
}

pub(crate) fn depends_on(answer: &Answer, key: &Key) -> bool {
    answer.deps.contains(key)
}
