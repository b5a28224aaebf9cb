//! How a workload introduces itself to the control plane: Istio's node id and metadata, and what leno adds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::google::protobuf::value::Kind;
use leno_proto::google::protobuf::{ListValue, Struct, Value};

use crate::workload::WorkloadArgs;

/// Who speaks xDS for the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// leno's own sidecar.
    Leno,
    /// An Envoy, or a gRPC library: neither says how the application is, so an agent does.
    Envoy,
    Grpc,
}

/// `sidecar~<ip>~<name>.<namespace>~<namespace>.svc.cluster.local`
pub fn node(program: Program, workload: &WorkloadArgs, name: &str, address: IpAddr) -> Node {
    let namespace = &workload.namespace;
    let labels = workload.all_labels();
    let app = workload.service.clone();
    let mut metadata = vec![
        ("NAME", text(name)),
        ("NAMESPACE", text(namespace)),
        ("SERVICE_ACCOUNT", text(&workload.service_account)),
        ("WORKLOAD_NAME", text(&workload.base_name())),
        ("INSTANCE_IPS", text(&address.to_string())),
        ("CLUSTER_ID", text("leno")),
        ("MESH_ID", text(&workload.trust_domain)),
        (
            "LABELS",
            structure(labels.iter().map(|(k, v)| (k.as_str(), text(v)))),
        ),
        ("LENO", leno(program, workload)),
    ];
    if program == Program::Grpc {
        metadata.push(("GENERATOR", text("grpc")));
    }
    Node {
        id: format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: format!("{app}.{namespace}"),
        metadata: Some(Struct {
            fields: metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        }),
        user_agent_name: "leno".into(),
        ..Node::default()
    }
}

/// The ports of a gateway that are opened elsewhere, and on which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayPorts {
    pub map: BTreeMap<u16, u16>,
    pub bind: Vec<IpAddr>,
}

/// The same at the mesh's edge: `router~…`.
pub fn gateway(
    program: Program,
    workload: &WorkloadArgs,
    name: &str,
    address: IpAddr,
    ports: &GatewayPorts,
) -> Node {
    let mut node = node(program, workload, name, address);
    if let Some(rest) = node.id.strip_prefix("sidecar~") {
        node.id = format!("router~{rest}");
    }
    let map: Vec<(String, Value)> = ports
        .map
        .iter()
        .map(|(port, opened)| (port.to_string(), number(f64::from(*opened))))
        .collect();
    let bind = ports.bind.iter().map(|address| text(&address.to_string()));
    let bind = Value {
        kind: Some(Kind::ListValue(ListValue {
            values: bind.collect(),
        })),
    };
    let map = structure(map.iter().map(|(port, opened)| (port.as_str(), opened.clone())));
    let said = structure([("map", map), ("bind", bind)]);
    let fields = node.metadata.as_mut().map(|metadata| &mut metadata.fields);
    let leno = fields.and_then(|fields| fields.get_mut("LENO"));
    if let Some(Kind::StructValue(leno)) = leno.and_then(|value| value.kind.as_mut()) {
        leno.fields.insert("gateway".to_owned(), said);
    }
    node
}

fn leno(program: Program, workload: &WorkloadArgs) -> Value {
    let ports = workload.ports.iter().map(|p| {
        // What a gRPC library serves is gRPC.
        let known = (program == Program::Grpc).then_some("grpc");
        let protocol = p.protocol.as_deref().or(known);
        let protocol = protocol.map(|name| ("protocol", text(name)));
        structure([("port", number(f64::from(p.port)))].into_iter().chain(protocol))
    });
    let ports = Value {
        kind: Some(Kind::ListValue(ListValue {
            values: ports.collect(),
        })),
    };
    let which = if program == Program::Leno {
        "onDemand"
    } else {
        "agent"
    };
    structure([
        ("service", text(&workload.service)),
        ("ports", ports),
        (
            which,
            Value {
                kind: Some(Kind::BoolValue(true)),
            },
        ),
    ])
}

/// As a bootstrap has it.
pub fn json(node: &Node) -> serde_json::Value {
    serde_json::json!({
        "id": node.id,
        "cluster": node.cluster,
        // grpc-js takes no node without one.
        "locality": {},
        "metadata": node.metadata.as_ref().map(json_fields),
    })
}

fn json_fields(fields: &Struct) -> serde_json::Value {
    let fields = fields.fields.iter();
    fields
        .map(|(name, value)| (name.clone(), json_value(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn json_value(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::NumberValue(number)) => serde_json::json!(number),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::BoolValue(flag)) => (*flag).into(),
        Some(Kind::StructValue(fields)) => json_fields(fields),
        Some(Kind::ListValue(list)) => list.values.iter().map(json_value).collect(),
    }
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

fn number(number: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(number)),
    }
}

fn structure<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Value {
        kind: Some(Kind::StructValue(Struct { fields })),
    }
}
