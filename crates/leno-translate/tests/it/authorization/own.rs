//! The same policies, made by leno.

use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::listener;
use leno_engine::compile::{NoFiles, Warnings};
use leno_model::{AuthorizationRule, Change, Protocol, Snapshot, Workload, WorkloadPort, World};
use leno_proto::envoy::config::listener::v3::Listener;
use leno_translate::{Cache, GatewayPorts, Proxy, ProxyKind, ResourceType, answer};
use prost::Message;

use super::given::Guards;
use crate::mesh;

pub(super) struct Mesh {
    snapshot: Snapshot,
    proxy: Proxy,
}

impl Mesh {
    pub(super) fn new(input: &str, trust: &[String]) -> Self {
        let parsed = leno_api::read("in.yaml", input.as_bytes());
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        let port = |port, protocol| WorkloadPort {
            port,
            name: format!("port-{port}"),
            protocol,
        };
        let workload = Workload {
            namespace: "foo".into(),
            labels: mesh::labels(&[("app", "httpbin"), ("version", "v1")]),
            ports: vec![port(80, Protocol::Http), port(81, Protocol::Tcp)],
            ..mesh::workload("httpbin", "v1", 2, &[])
        };
        let proxy = Proxy {
            namespace: "foo".into(),
            workload: Some(workload.id.clone()),
            ..mesh::sidecar("httpbin-v1")
        };
        let mut world = World::default();
        let file = Change::File {
            file: "in.yaml".into(),
            objects: parsed.objects,
        };
        world.apply([file, Change::Workload(workload)], Duration::from_secs(1));
        let mut snapshot = Snapshot::clone(world.snapshot());
        let mut settings = (*snapshot.mesh).clone();
        settings.trust_domain = trust[0].clone();
        settings.trust_domain_aliases = trust[1..].to_vec();
        snapshot.mesh = Arc::new(settings);
        Self { snapshot, proxy }
    }

    /// Of all policies.
    pub(super) fn rules(&self) -> Vec<AuthorizationRule> {
        let namespaces = self.snapshot.authorization.namespaces.values();
        let policies = namespaces.flat_map(|policies| policies.iter());
        policies.flat_map(|policy| policy.rules.clone()).collect()
    }

    pub(super) fn listener(&self) -> Listener {
        self.of(&self.proxy, "virtualInbound")
    }

    /// Of a server that is a gRPC library.
    pub(super) fn grpc_listener(&self) -> Listener {
        let library = Proxy {
            on_demand: false,
            kind: ProxyKind::Grpc,
            ..self.proxy.clone()
        };
        self.of(&library, "xds.istio.io/grpc/lds/inbound/0.0.0.0:80")
    }

    /// Of the gateway that serves `istio: ingressgateway`, on port 80.
    pub(super) fn gateway_listener(&self) -> Listener {
        let gateway = Proxy {
            labels: mesh::labels(&[("istio", "ingressgateway")]),
            workload: None,
            kind: ProxyKind::Gateway(GatewayPorts::default()),
            ..self.proxy.clone()
        };
        self.of(&gateway, "0.0.0.0_80")
    }

    fn of(&self, proxy: &Proxy, name: &str) -> Listener {
        let answer = answer(
            &mut Cache::default(),
            &self.snapshot,
            proxy,
            ResourceType::Listener,
            name,
        );
        Listener::decode(answer.resource.unwrap().body.clone()).unwrap()
    }

    pub(super) fn guards(&self, tcp: bool) -> Guards {
        let name = "virtualInbound";
        let answer = answer(
            &mut Cache::default(),
            &self.snapshot,
            &self.proxy,
            ResourceType::Listener,
            name,
        );
        let message = Listener::decode(answer.resource.unwrap().body.clone()).unwrap();
        let mut warnings = Warnings::default();
        let compiled = listener::compile(&message, &NoFiles, &mut warnings).unwrap_or_else(|e| panic!("{e}"));
        assert!(warnings.0.is_empty(), "{:?}", warnings.0);
        let wanted = if tcp {
            "0.0.0.0_81-mtls-tcp"
        } else {
            "0.0.0.0_80-mtls-http"
        };
        let chain = compiled.chains.iter().find(|chain| chain.name == wanted);
        Guards(Arc::clone(chain.unwrap()))
    }
}
