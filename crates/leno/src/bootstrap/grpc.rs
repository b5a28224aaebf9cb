//! gRPC's bootstrap (gRFC A27, A29, A36): the control plane through the agent, certificates from its files.

use serde_json::{Value, json};

use super::Place;
use crate::node::{self, Program};
use crate::workload::WorkloadArgs;

/// How soon a renewed certificate is used. The library looks at three small files.
const REFRESH: &str = "2s";
/// As Istio's, by which the control plane knows what is asked of it.
const SERVER_LISTENERS: &str = "xds.istio.io/grpc/lds/inbound/%s";

/// `port`: where the agent forwards xDS, on loopback.
pub fn grpc(workload: &WorkloadArgs, place: &Place, port: u16) -> Value {
    let node = node::node(Program::Grpc, workload, &place.name, place.address);
    let file = |name: &str| place.certificates().join(name).display().to_string();
    json!({
        "xds_servers": [{
            // What leaves the machine is the agent's TLS.
            "server_uri": format!("127.0.0.1:{port}"),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": node::json(&node),
        "certificate_providers": { "default": {
            "plugin_name": "file_watcher",
            "config": {
                "certificate_file": file("cert-chain.pem"),
                "private_key_file": file("key.pem"),
                "ca_certificate_file": file("root-cert.pem"),
                "refresh_interval": REFRESH,
            },
        } },
        "server_listener_resource_name_template": SERVER_LISTENERS,
    })
}
