//! Make before break, over the wire: what refers comes after what it refers to, and goes before it.

use leno_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use leno_proto::type_url::{CLUSTER, LISTENER};

use crate::raw::Raw;
use crate::rig::{Rig, node};

fn service(name: &str, port: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: {port}}}]
"
    )
}

/// What a response says of a service's port.
fn events(response: &DeltaDiscoveryResponse) -> Vec<String> {
    let kind = match response.type_url.as_str() {
        CLUSTER => "cluster",
        LISTENER => "listener",
        _ => return Vec::new(),
    };
    let port = |name: &str| ["7001", "7002"].into_iter().find(|port| name.contains(port));
    let told = response.resources.iter().filter_map(|r| port(&r.name));
    let gone = response.removed_resources.iter().filter_map(|name| port(name));
    let told = told.map(|port| format!("{kind} of {port} comes"));
    told.chain(gone.map(|port| format!("{kind} of {port} goes")))
        .collect()
}

#[tokio::test]
async fn a_service_in_place_of_another_comes_whole_before_that_goes_from_above() {
    let rig = Rig::start(&[("service.yaml", &service("old", 7001))]).await;
    let mut envoy = node("client-1", "client", None);
    envoy.metadata.as_mut().unwrap().fields.remove("LENO");
    let mut client = Raw::connect(rig.plaintext().await, envoy, CLUSTER, &["*"]).await;
    client.ask(LISTENER, &["*"]).await;
    client.receive_all(LISTENER, "barrier").await;
    rig.write("service.yaml", &service("new", 7002));
    let mut seen = Vec::new();
    while !seen.iter().any(|event| event == "cluster of 7001 goes") {
        seen.extend(events(&client.receive().await.unwrap()));
    }
    seen.dedup();
    assert_eq!(
        seen,
        [
            "cluster of 7002 comes",
            "listener of 7002 comes",
            "listener of 7001 goes",
            "cluster of 7001 goes"
        ]
    );
}
