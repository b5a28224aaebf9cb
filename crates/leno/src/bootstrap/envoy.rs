//! Envoy's bootstrap: everything over one delta ADS stream, secrets from the agent.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use leno_proto::envoy::config::core::v3::Node;
use serde_json::{Value, json};

use super::Place;
use crate::gateway;
use crate::node::{self, GatewayPorts, Program};
use crate::workload::WorkloadArgs;

/// `SO_MARK` of asm-generic/socket.h, at `SOL_SOCKET`.
const SOL_SOCKET: u32 = 1;
const SO_MARK: u32 = 36;

#[derive(Clone, Debug, Args)]
pub struct EnvoyArgs {
    /// Where it stands: beside a workload, or at the mesh's edge, where it serves Gateways
    #[arg(long, value_enum, default_value_t = EnvoyRole::Sidecar)]
    role: EnvoyRole,
    /// Open another port in place of a Gateway's: 80:8080
    #[arg(long = "map", value_name = "PORT:OPENED", value_parser = gateway::mapping)]
    maps: Vec<(u16, u16)>,
    /// Address that a gateway listens on [default: all of this machine]
    #[arg(long = "bind", value_name = "ADDR")]
    binds: Vec<IpAddr>,
    /// Port of Envoy's admin interface, on loopback; 0 picks a free one
    #[arg(long, default_value_t = 15000, value_name = "PORT")]
    admin_port: u16,
    /// Mark Envoy's own connections, for capture to let them pass (0x539), where it does not run as user 1337; needs
    /// CAP_NET_ADMIN
    #[arg(long, value_name = "MARK", value_parser = mark_number)]
    mark: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnvoyRole {
    Sidecar,
    Gateway,
}

impl EnvoyArgs {
    pub fn is_gateway(&self) -> bool {
        self.role == EnvoyRole::Gateway
    }

    /// How it introduces itself, and its agent on its behalf.
    pub fn node(&self, workload: &WorkloadArgs, place: &Place) -> Node {
        if !self.is_gateway() {
            return node::node(Program::Envoy, workload, &place.name, place.address);
        }
        let mut workload = workload.clone();
        if workload.labels.is_empty() {
            let (key, value) = gateway::LABEL;
            workload.labels.push((key.to_owned(), value.to_owned()));
        }
        let ports = GatewayPorts {
            map: self.maps.iter().copied().collect(),
            bind: match self.binds.as_slice() {
                [] => gateway::everywhere(),
                said => said.to_vec(),
            },
        };
        node::gateway(Program::Envoy, &workload, &place.name, place.address, &ports)
    }
}

pub fn envoy(workload: &WorkloadArgs, place: &Place, args: &EnvoyArgs) -> Value {
    let node = args.node(workload, place);
    let ads = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    let mut bootstrap = json!({
        "node": node::json(&node),
        "admin": { "address": { "socket_address": {
            "address": "127.0.0.1", "port_value": args.admin_port,
        } } },
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
        },
        "static_resources": { "clusters": [
            agent("xds-grpc", &place.xds().display().to_string()),
            agent("sds-grpc", &place.sds().display().to_string()),
        ] },
    });
    if let (Some(mark), Some(fields)) = (args.mark, bootstrap.as_object_mut()) {
        let option = json!({
            "description": "passes capture", "level": SOL_SOCKET, "name": SO_MARK, "int_value": mark,
            "state": "STATE_PREBIND",
        });
        let bind = json!({ "upstream_bind_config": { "socket_options": [option] } });
        fields.insert("cluster_manager".to_owned(), bind);
    }
    bootstrap
}

/// A socket of the agent's.
fn agent(name: &str, path: &str) -> Value {
    let endpoint = json!({ "endpoint": { "address": { "pipe": { "path": path } } } });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {
                    // A control plane's machine that lost its power sends no reset.
                    "connection_keepalive": { "interval": "30s", "timeout": "10s" },
                } },
            },
        },
    })
}

fn mark_number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "give a number such as 1337 or 0x539".to_owned())
}
