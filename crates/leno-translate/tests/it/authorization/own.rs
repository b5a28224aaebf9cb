//! The same policies, made by leno.

use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::listener;
use leno_engine::compile::{NoFiles, Warnings};
use leno_model::{AuthorizationRule, Change, Protocol, Snapshot, Workload, WorkloadPort, World};
use leno_proto::envoy::config::listener::v3::filter::ConfigType;
use leno_proto::envoy::config::listener::v3::{Filter, Listener};
use leno_proto::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
use leno_proto::envoy::extensions::filters::http::rbac::v3 as rbac;
use leno_proto::envoy::extensions::filters::network::ext_authz::v3 as network_ext_authz;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use leno_proto::envoy::extensions::filters::network::rbac::v3 as network_rbac;
use leno_proto::google::protobuf::Any;
use leno_proto::{FromAny, ToAny};
use leno_translate::{Cache, GatewayPorts, Proxy, ProxyKind, ResourceType, answer};
use prost::Message;

use super::given::{Guards, SCHEMA};
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

    /// What the filter that asks says.
    pub(super) fn asks(&self, tcp: bool) -> String {
        let listener = self.listener();
        let chain = listener
            .filter_chains
            .iter()
            .find(|chain| chain.name == wanted(tcp));
        let filters = &chain.unwrap().filters;
        let config = |any: &Option<ConfigType>| match any {
            Some(ConfigType::TypedConfig(any)) => any.clone(),
            _ => Any::default(),
        };
        if tcp {
            let asks = filters.iter().find(|filter| filter.name.ends_with("ext_authz"));
            return shown(&config(&asks.unwrap().config_type));
        }
        let mut managers = filters.iter().rev().map(|filter| config(&filter.config_type));
        let manager: HttpConnectionManager = managers.next().unwrap().unpack().unwrap();
        let mut filters = manager.http_filters.into_iter();
        let asks = filters.find(|filter| filter.name.ends_with("ext_authz"));
        let Some(http_filter::ConfigType::TypedConfig(any)) = asks.unwrap().config_type else {
            panic!("no configuration");
        };
        shown(&any)
    }

    /// Those who would be asked about are denied.
    pub(super) fn guards_if_asked(&self, tcp: bool) -> Guards {
        let mut listener = self.listener();
        for chain in &mut listener.filter_chains {
            chain.filters.retain(|filter| !filter.name.ends_with("ext_authz"));
            for filter in &mut chain.filters {
                let Some(ConfigType::TypedConfig(any)) = &mut filter.config_type else {
                    continue;
                };
                if let Ok(mut rules) = any.unpack::<network_rbac::Rbac>() {
                    rules.rules = rules.rules.or(rules.shadow_rules.take());
                    *any = rules.to_any();
                }
                if let Ok(mut manager) = any.unpack::<HttpConnectionManager>() {
                    manager
                        .http_filters
                        .retain(|filter| !filter.name.ends_with("ext_authz"));
                    for filter in &mut manager.http_filters {
                        let Some(http_filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
                            continue;
                        };
                        if let Ok(mut rules) = any.unpack::<rbac::Rbac>() {
                            rules.rules = rules.rules.or(rules.shadow_rules.take());
                            *any = rules.to_any();
                        }
                    }
                    *any = manager.to_any();
                }
            }
        }
        compiled(&listener, tcp)
    }

    pub(super) fn guards(&self, tcp: bool) -> Guards {
        compiled(&self.listener(), tcp)
    }
}

/// The same of Istio's.
pub(super) fn asks_as(filter: &serde_json::Value, tcp: bool) -> String {
    let text = filter.to_string();
    if tcp {
        let filter: Filter = SCHEMA.from_text(&text).unwrap();
        let Some(ConfigType::TypedConfig(any)) = filter.config_type else {
            panic!("no configuration");
        };
        return shown(&any);
    }
    let filter: HttpFilter = SCHEMA.from_text(&text).unwrap();
    let Some(http_filter::ConfigType::TypedConfig(any)) = filter.config_type else {
        panic!("no configuration");
    };
    shown(&any)
}

/// Whatever the order of its fields is.
fn shown(any: &Any) -> String {
    match any.unpack::<ext_authz::ExtAuthz>() {
        Ok(message) => format!("{message:?}"),
        Err(_) => format!("{:?}", any.unpack::<network_ext_authz::ExtAuthz>().unwrap()),
    }
}

/// Istio's filters, which deny what they would ask about.
pub(super) fn enforced(filters: &[serde_json::Value]) -> Vec<serde_json::Value> {
    let rules = filters
        .iter()
        .filter(|filter| !filter["name"].as_str().unwrap().ends_with("ext_authz"));
    rules
        .cloned()
        .map(|mut filter| {
            filter["typedConfig"]["rules"] = filter["typedConfig"]["shadowRules"].take();
            filter["typedConfig"]
                .as_object_mut()
                .unwrap()
                .remove("shadowRules");
            filter
        })
        .collect()
}

fn wanted(tcp: bool) -> &'static str {
    match tcp {
        true => "0.0.0.0_81-mtls-tcp",
        false => "0.0.0.0_80-mtls-http",
    }
}

fn compiled(message: &Listener, tcp: bool) -> Guards {
    let mut warnings = Warnings::default();
    let compiled = listener::compile(message, &NoFiles, &mut warnings).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.0.is_empty(), "{:?}", warnings.0);
    let chain = compiled.chains.iter().find(|chain| chain.name == wanted(tcp));
    Guards(Arc::clone(chain.unwrap()))
}
