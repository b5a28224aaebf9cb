//! An xDS node, in Istio's conventions, as the proxy and the workload that it stands for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use leno_model::{Labels, Protocol, Workload, WorkloadId, WorkloadPort};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::google::protobuf::value::Kind;
use leno_proto::google::protobuf::{Struct, Value};
use leno_translate::{GatewayPorts, Proxy, ProxyKind};

/// Why a node is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("the first request names no node — xDS node — set node.id")]
    Missing,
    #[error(
        "the node id {0:?} is not understood — xDS node — use sidecar~IP~NAME.NAMESPACE~DOMAIN (router~… for a gateway)"
    )]
    Id(String),
    #[error(
        "the node {name:?} is not of its namespace {namespace:?} — xDS node — use sidecar~IP~NAME.{namespace}~DOMAIN"
    )]
    Namespace { name: String, namespace: String },
    #[error("the port {0} of the node is not understood — metadata LENO.ports — use numbers from 1 to 65535")]
    Port(String),
    #[error(
        "the node's {0:?} is not understood — metadata LENO.gateway — use map: {{\"80\": 8080}} and bind: [\"0.0.0.0\"]"
    )]
    Gateway(String),
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) proxy: Proxy,
    pub(crate) workload: Workload,
    pub(crate) program: Program,
    /// It says when the application listens, and is not healthy before. Of others nobody says so.
    pub(crate) reports_health: bool,
}

/// What runs beside, or in, the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Leno,
    Envoy,
    /// A gRPC library in the application itself.
    Grpc,
}

impl Program {
    /// `metadata.LENO` is leno's own; `leno agent` writes it on behalf of the program that it serves.
    fn of(metadata: &Struct, leno: Option<&Struct>) -> Self {
        let agent = leno.and_then(|l| field(l, "agent")) == Some(&Kind::BoolValue(true));
        match text(metadata, "GENERATOR") {
            Some("grpc") => Self::Grpc,
            _ if leno.is_some() && !agent => Self::Leno,
            _ => Self::Envoy,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leno => "leno",
            Self::Envoy => "envoy",
            Self::Grpc => "grpc",
        }
    }
}

pub(crate) fn describe(node: &Node) -> Result<Described, NodeError> {
    let bad = || NodeError::Id(node.id.clone());
    let parts: Vec<&str> = node.id.split('~').collect();
    let [kind, address, name, domain] = parts.as_slice() else {
        return Err(bad());
    };
    let gateway = match *kind {
        "sidecar" => false,
        "router" => true,
        _ => return Err(bad()),
    };
    if name.is_empty() {
        return Err(bad());
    }
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let empty = Struct::default();
    let metadata = node.metadata.as_ref().unwrap_or(&empty);
    let leno = field(metadata, "LENO").and_then(structure);
    let namespace = text(metadata, "NAMESPACE")
        .or_else(|| domain.split('.').next())
        .filter(|namespace| !namespace.is_empty())
        .ok_or_else(bad)?;
    // Names are unique in their namespace only: without this one could take another's place.
    let short = name.strip_suffix(namespace).and_then(|n| n.strip_suffix('.'));
    if short.is_none_or(str::is_empty) {
        return Err(NodeError::Namespace {
            name: (*name).to_owned(),
            namespace: namespace.to_owned(),
        });
    }
    let service_account = text(metadata, "SERVICE_ACCOUNT").unwrap_or("default");
    let labels = labels(metadata);
    let id = WorkloadId((*name).into());
    let program = Program::of(metadata, leno);
    let on_demand = leno.is_some_and(|l| matches!(field(l, "onDemand"), Some(Kind::BoolValue(true))));
    let mut addresses: Vec<IpAddr> = text(metadata, "INSTANCE_IPS")
        .map(|list| list.split(',').filter_map(|ip| ip.trim().parse().ok()).collect())
        .unwrap_or_default();
    if addresses.is_empty() {
        addresses.push(address);
    }
    let short = text(metadata, "WORKLOAD_NAME").or_else(|| text(metadata, "NAME"));
    Ok(Described {
        proxy: Proxy {
            id: node.id.clone(),
            namespace: namespace.to_owned(),
            labels: labels.clone(),
            service_account: service_account.to_owned(),
            workload: Some(id.clone()),
            on_demand,
            metadata: texts(metadata),
            audited: false,
            kind: match program {
                Program::Leno | Program::Envoy if gateway => {
                    ProxyKind::Gateway(leno.map(gateway_ports).transpose()?.unwrap_or_default())
                }
                Program::Grpc => ProxyKind::Grpc,
                Program::Leno | Program::Envoy => ProxyKind::Sidecar,
            },
        },
        workload: Workload {
            id,
            name: short
                .or_else(|| name.split('.').next())
                .unwrap_or(name)
                .to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            labels,
            addresses,
            ports: leno.map(ports).transpose()?.unwrap_or_default(),
            service: leno
                .and_then(|l| text(l, "service"))
                .filter(|_| !gateway)
                .map(str::to_owned),
            healthy: leno.is_none(),
            // A gateway's ports are for clients outside.
            mesh_tls: !gateway,
            http2_upgrade: program == Program::Leno && !gateway,
            locality: locality(node),
            weight: 1,
        },
        program,
        reports_health: leno.is_some(),
    })
}

/// What `--map` and `--bind` said.
fn gateway_ports(leno: &Struct) -> Result<GatewayPorts, NodeError> {
    let mut ports = GatewayPorts::default();
    let Some(gateway) = field(leno, "gateway").and_then(structure) else {
        return Ok(ports);
    };
    let number = |value: &Kind| match value {
        Kind::NumberValue(number) if number.fract() == 0.0 && (0.0..=65535.0).contains(number) => {
            Some(*number as u16)
        }
        _ => None,
    };
    if let Some(map) = field(gateway, "map").and_then(structure) {
        for (port, value) in &map.fields {
            let to = value.kind.as_ref().and_then(number);
            let pair = port.parse().ok().zip(to);
            let (port, to) = pair.ok_or_else(|| NodeError::Gateway(format!("map {port}")))?;
            ports.map.insert(port, to);
        }
    }
    if let Some(Kind::ListValue(list)) = field(gateway, "bind") {
        for value in &list.values {
            let Some(Kind::StringValue(text)) = &value.kind else {
                return Err(NodeError::Gateway("bind".into()));
            };
            let address = text.parse();
            ports
                .bind
                .push(address.map_err(|_| NodeError::Gateway(format!("bind {text}")))?);
        }
    }
    Ok(ports)
}

fn ports(leno: &Struct) -> Result<Vec<WorkloadPort>, NodeError> {
    let Some(Kind::ListValue(list)) = field(leno, "ports") else {
        return Ok(Vec::new());
    };
    list.values.iter().map(port).collect()
}

fn port(value: &Value) -> Result<WorkloadPort, NodeError> {
    let bad = || NodeError::Port(format!("{:?}", value.kind));
    let fields = value.kind.as_ref().and_then(structure).ok_or_else(bad)?;
    let Some(Kind::NumberValue(number)) = field(fields, "port") else {
        return Err(bad());
    };
    if number.fract() != 0.0 || !(1.0..=65535.0).contains(number) {
        return Err(NodeError::Port(number.to_string()));
    }
    let protocol = text(fields, "protocol").unwrap_or_default();
    let port = *number as u16;
    Ok(WorkloadPort {
        port,
        name: text(fields, "name").map_or_else(|| port_name(protocol, port), str::to_owned),
        protocol: named_protocol(protocol),
    })
}

fn port_name(protocol: &str, port: u16) -> String {
    match protocol {
        "" => format!("port-{port}"),
        protocol => format!("{protocol}-{port}"),
    }
}

/// Istio's words for protocols (`--port P:PROTOCOL`).
fn named_protocol(name: &str) -> Protocol {
    match name.to_ascii_lowercase().as_str() {
        "http" => Protocol::Http,
        "http2" | "h2c" => Protocol::Http2,
        "grpc" | "grpc-web" => Protocol::Grpc,
        "tcp" => Protocol::Tcp,
        "tls" | "https" => Protocol::Tls,
        "mysql" | "redis" | "mongo" => Protocol::Opaque,
        "udp" => Protocol::Udp,
        _ => Protocol::Detect,
    }
}

fn labels(metadata: &Struct) -> Labels {
    let Some(labels) = field(metadata, "LABELS").and_then(structure) else {
        return Labels::new();
    };
    labels
        .fields
        .keys()
        .filter_map(|key| Some((key.clone(), text(labels, key)?.to_owned())))
        .collect()
}

/// What EnvoyFilters may ask of a proxy.
fn texts(metadata: &Struct) -> BTreeMap<String, String> {
    let keys = metadata.fields.keys();
    keys.filter_map(|key| Some((key.clone(), text(metadata, key)?.to_owned())))
        .collect()
}

fn locality(node: &Node) -> String {
    let Some(locality) = &node.locality else {
        return String::new();
    };
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let parts: Vec<&str> = parts
        .iter()
        .map(|p| p.as_str())
        .take_while(|p| !p.is_empty())
        .collect();
    parts.join("/")
}

fn field<'a>(fields: &'a Struct, name: &str) -> Option<&'a Kind> {
    fields.fields.get(name)?.kind.as_ref()
}

fn text<'a>(fields: &'a Struct, name: &str) -> Option<&'a str> {
    match field(fields, name)? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn structure(kind: &Kind) -> Option<&Struct> {
    match kind {
        Kind::StructValue(fields) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value {
            kind: Some(Kind::StringValue(text.into())),
        }
    }

    fn fields(fields: Vec<(&str, Value)>) -> Value {
        let fields = fields.into_iter().map(|(k, v)| (k.into(), v)).collect();
        Value {
            kind: Some(Kind::StructValue(Struct { fields })),
        }
    }

    fn node(id: &str, metadata: Vec<(&str, Value)>) -> Node {
        Node {
            id: id.into(),
            metadata: fields(metadata).kind.as_ref().and_then(structure).cloned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_leno_sidecar_is_unhealthy_until_it_says_otherwise_and_an_envoy_is_not() {
        let id = "sidecar~127.0.0.9~web-1.shop~shop.svc.cluster.local";
        let described = describe(&node(id, vec![("LENO", fields(vec![]))])).unwrap();
        assert_eq!(described.program, Program::Leno);
        assert!(!described.workload.healthy && described.workload.http2_upgrade);
        let described = describe(&node(id, vec![])).unwrap();
        assert_eq!(described.program, Program::Envoy);
        assert!(described.workload.healthy && !described.workload.http2_upgrade);
        assert_eq!(described.proxy.namespace, "shop");
        assert_eq!(&*described.workload.id.0, "web-1.shop");
    }

    #[test]
    fn an_agent_speaks_for_an_envoy_or_a_grpc_library_and_reports_its_health() {
        let id = "sidecar~127.0.0.9~web-1.shop~shop.svc.cluster.local";
        let agent = Value {
            kind: Some(Kind::BoolValue(true)),
        };
        let leno = fields(vec![("agent", agent)]);
        let envoy = describe(&node(id, vec![("LENO", leno.clone())])).unwrap();
        let grpc = describe(&node(id, vec![("LENO", leno), ("GENERATOR", string("grpc"))])).unwrap();
        for (described, program) in [(&envoy, Program::Envoy), (&grpc, Program::Grpc)] {
            assert_eq!(described.program, program);
            assert!(described.reports_health && !described.workload.healthy);
            assert!(!described.workload.http2_upgrade);
        }
        assert_eq!(
            (envoy.proxy.kind, grpc.proxy.kind),
            (ProxyKind::Sidecar, ProxyKind::Grpc)
        );
    }

    #[test]
    fn all_instance_addresses_count_and_else_the_one_in_the_id() {
        let id = "sidecar~127.0.0.9~web-1.shop~shop.svc.cluster.local";
        let described = describe(&node(id, vec![("INSTANCE_IPS", string("10.0.0.1,fd00::1"))])).unwrap();
        assert_eq!(described.workload.addresses.len(), 2);
        let described = describe(&node(id, vec![])).unwrap();
        assert_eq!(
            described.workload.addresses,
            ["127.0.0.9".parse::<IpAddr>().unwrap()]
        );
    }

    #[test]
    fn a_name_is_of_the_namespace_that_the_metadata_says() {
        for (name, namespace) in [
            ("web-1.shop", "bank"),
            ("web-1.myshop", "shop"),
            (".shop", "shop"),
            ("shop", "shop"),
        ] {
            let id = format!("sidecar~127.0.0.9~{name}~shop.svc.cluster.local");
            let refused = describe(&node(&id, vec![("NAMESPACE", string(namespace))])).unwrap_err();
            let (name, namespace) = (name.to_owned(), namespace.to_owned());
            assert_eq!(refused, NodeError::Namespace { name, namespace });
        }
        let id = "sidecar~127.0.0.9~web-1.bank~shop.svc.cluster.local";
        let described = describe(&node(id, vec![("NAMESPACE", string("bank"))])).unwrap();
        assert_eq!(described.proxy.namespace, "bank");
    }

    #[test]
    fn a_router_is_a_gateway_that_nobody_calls_by_mesh_mtls() {
        let id = "router~127.0.0.1~gate-1.shop~shop.svc.cluster.local";
        let number = |number| Value {
            kind: Some(Kind::NumberValue(number)),
        };
        let map = fields(vec![("80", number(8080.0))]);
        let leno = |map: Value| fields(vec![("gateway", fields(vec![("map", map)]))]);
        let described = describe(&node(id, vec![("LENO", leno(map))])).unwrap();
        let ProxyKind::Gateway(ports) = &described.proxy.kind else {
            panic!("{:?}", described.proxy.kind);
        };
        assert_eq!(ports.map.get(&80), Some(&8080));
        assert!(!ports.proven && !described.workload.mesh_tls);
        let bad = fields(vec![("80", number(80_000.0))]);
        let refused = describe(&node(id, vec![("LENO", leno(bad))])).unwrap_err();
        assert_eq!(refused, NodeError::Gateway("map 80".into()));
    }

    #[test]
    fn a_node_that_is_not_istios_is_refused_by_name() {
        for id in [
            "",
            "web",
            "waypoint~1.2.3.4~a.b~c",
            "sidecar~x~a.b~c",
            "sidecar~1.2.3.4~~c",
        ] {
            assert_eq!(describe(&node(id, vec![])).unwrap_err(), NodeError::Id(id.into()));
        }
    }
}
