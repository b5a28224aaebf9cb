//! Clients that mean harm or are broken: bounded, told of, survived, and no other client is the worse for them.

use leno_proto::control::{ProxyStatus, StatusRequest};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use leno_proto::type_url::{CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::raw::{Raw, request};
use crate::rig::{PATIENCE, Proxy, Rig, node};

const REVIEWS: &str = "reviews.default.svc.cluster.local:9080";
const PORTS: u16 = 50;

fn services() -> String {
    let more: Vec<String> = (1..PORTS)
        .map(|port| format!("{{name: http-{port}, port: {}, targetPort: 9080}}", 10_000 + port))
        .collect();
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: reviews, namespace: default}}
spec:
  selector: {{app: reviews}}
  ports: [{{name: http, port: 9080}}, {}]
",
        more.join(", ")
    )
}

fn route(timeout: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews]
  http:
  - timeout: {timeout}s
    route: [{{destination: {{host: reviews}}}}]
"
    )
}

async fn rig() -> Rig {
    Rig::start(&[("services.yaml", &services()), ("route.yaml", &route(1))]).await
}

/// One that keeps to the protocol.
async fn honest(rig: &Rig) -> Proxy {
    let names = [(ROUTE_CONFIGURATION, REVIEWS)];
    let mut honest = Proxy::connect(rig.plaintext().await, node("honest-1", "honest", None), &names).await;
    honest.until("the route", |p| p.pushed.len() == 1).await;
    honest
}

/// Changes the route so often, and sees each change at the honest one.
async fn change(rig: &Rig, honest: &mut Proxy, times: u32) {
    for _ in 0..times {
        let before = honest.pushed.len();
        rig.write("route.yaml", &route(before as u32 + 1));
        honest.until("the change", |p| p.pushed.len() == before + 1).await;
    }
}

/// What `leno status` says of a workload when it is so.
async fn status(rig: &Rig, workload: &str, so: impl Fn(&ProxyStatus) -> bool) -> ProxyStatus {
    let mut mesh = rig.mesh().await;
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            let status = mesh.status(StatusRequest {}).await.unwrap().into_inner();
            let of = status
                .proxies
                .into_iter()
                .find(|p| p.workload.starts_with(workload));
            if let Some(found) = of.filter(&so) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    });
    asked
        .await
        .unwrap_or_else(|_| panic!("{workload} is never so in the status"))
}

fn state(status: &ProxyStatus) -> (&str, &str) {
    let routes = status.types.iter().find(|t| t.r#type == "RDS");
    routes.map_or(("", ""), |t| (&t.state, &t.error))
}

#[tokio::test]
async fn a_client_that_never_acknowledges_is_stale_and_gets_what_changes() {
    let rig = rig().await;
    let mut honest = honest(&rig).await;
    let node = node("mute-1", "mute", None);
    let mut mute = Raw::connect(rig.plaintext().await, node, ROUTE_CONFIGURATION, &[REVIEWS]).await;
    mute.receive().await.unwrap();
    change(&rig, &mut honest, 5).await;
    let received = mute.receive_all(ROUTE_CONFIGURATION, "barrier").await;
    assert_eq!(received.len(), 5, "once each");
    status(&rig, "mute-1", |s| state(s) == ("STALE", "")).await;
    status(&rig, "honest-1", |s| state(s) == ("SYNCED", "")).await;
}

#[tokio::test]
async fn a_client_that_rejects_everything_is_named_with_what_it_says_and_sent_nothing_twice() {
    let rig = rig().await;
    let mut honest = honest(&rig).await;
    let node = node("stubborn-1", "stubborn", None);
    let mut stubborn = Raw::connect(rig.plaintext().await, node, ROUTE_CONFIGURATION, &[REVIEWS]).await;
    for round in 0..6 {
        let response = stubborn.receive().await.unwrap();
        stubborn
            .reject(
                &response,
                &format!("{REVIEWS}: round {round}: {}", "no ".repeat(100_000)),
            )
            .await;
        let again = stubborn.receive_all(ROUTE_CONFIGURATION, "barrier").await;
        assert_eq!(again, [], "what it rejected is not sent again");
        change(&rig, &mut honest, 1).await;
    }
    let rejecting = status(&rig, "stubborn-1", |s| state(s).1.contains("round 5")).await;
    let (state_now, error) = state(&rejecting);
    assert_eq!(state_now, "REJECTED");
    assert!(error.len() < 4096, "{} bytes of complaint are told", error.len());
    status(&rig, "honest-1", |s| state(s) == ("SYNCED", "")).await;
}

#[tokio::test]
async fn old_and_invented_nonces_are_not_answered() {
    let rig = rig().await;
    let mut honest = honest(&rig).await;
    let node = node("stale-1", "stale", None);
    let mut stale = Raw::connect(rig.plaintext().await, node, ROUTE_CONFIGURATION, &[REVIEWS]).await;
    let first = stale.receive().await.unwrap();
    change(&rig, &mut honest, 1).await;
    let second = stale.receive().await.unwrap();
    for nonce in (0..200).map(|n| n.to_string()).chain(["".into(), "x".into()]) {
        if nonce == second.nonce {
            continue;
        }
        let request = DeltaDiscoveryRequest {
            response_nonce: nonce,
            ..request(ROUTE_CONFIGURATION, &[])
        };
        assert!(stale.send(request).await);
    }
    assert_eq!(stale.receive_all(ROUTE_CONFIGURATION, "barrier").await, []);
    assert_ne!(first.nonce, second.nonce);
    status(&rig, "stale-1", |s| state(s) == ("STALE", "")).await;
}

/// With small windows, so that what is not read soon stays at the server.
async fn narrow(rig: &Rig) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", rig.control.plaintext.unwrap())).unwrap();
    let narrow = endpoint
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    narrow.connect().await.unwrap()
}

#[tokio::test]
async fn a_client_that_stops_reading_costs_a_bounded_queue_and_gets_the_newest_when_it_reads() {
    const FLIPS: usize = 300;
    let rig = rig().await;
    let cluster = |port: u16| format!("outbound|{port}||reviews.default.svc.cluster.local");
    let ports = std::iter::once(9080).chain((1..PORTS).map(|port| 10_000 + port));
    let clusters: Vec<String> = ports.map(cluster).collect();
    let names: Vec<&str> = clusters.iter().map(String::as_str).collect();
    let of_one = [(CLUSTER_LOAD_ASSIGNMENT, names[0])];
    let reviews = node("reviews-1", "reviews", Some(9080));
    let mut honest = Proxy::connect(rig.plaintext().await, reviews, &of_one).await;
    honest
        .until("its own endpoint", |p| p.endpoints(names[0]) == 1)
        .await;

    let idle = node("idle-1", "idle", None);
    let mut idle = Raw::connect(narrow(&rig).await, idle, CLUSTER_LOAD_ASSIGNMENT, &names).await;
    let first = idle.receive().await.unwrap();
    assert_eq!(first.resources.len(), usize::from(PORTS));
    // Nothing is read from here on, and everything changes.
    for flip in 0..FLIPS {
        let (problem, endpoints) = [(Some("it is tired"), 0), (None, 1)][flip % 2];
        honest.set_health(problem).await;
        honest
            .until("its new health", |p| p.endpoints(names[0]) == endpoints)
            .await;
    }
    let received = idle.receive_all(CLUSTER_LOAD_ASSIGNMENT, "barrier").await;
    let bytes: usize = received.iter().map(Message::encoded_len).sum();
    let everything = FLIPS * first.encoded_len();
    assert!(everything > 2_000_000, "{everything} bytes are too few to tell");
    assert!(bytes < 1_000_000, "{bytes} of {everything} bytes waited for it");
    // And the newest is the last.
    let newest = honest.client.resources(CLUSTER_LOAD_ASSIGNMENT).next().unwrap();
    let last = received
        .iter()
        .rev()
        .flat_map(|r| &r.resources)
        .find(|r| r.name == newest.0);
    assert_eq!(last.unwrap().version, newest.1);
}

/// What is no HTTP/2, on either port; the server ends each of these connections, or they end by themselves.
async fn garbage(address: std::net::SocketAddr) {
    let mut state = 1u32;
    for length in [0usize, 1, 9, 23, 24, 25, 64, 1000, 70_000] {
        for preface in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01"] {
            let noise = (0..length).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            let bytes: Vec<u8> = preface.iter().copied().chain(noise).collect();
            let mut socket = TcpStream::connect(address).await.unwrap();
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer));
            assert!(ended.await.is_ok(), "{length} bytes of noise keep a connection");
        }
    }
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_no_other() {
    let rig = rig().await;
    let mut honest = honest(&rig).await;
    garbage(rig.control.plaintext.unwrap()).await;
    garbage(rig.control.secure).await;
    change(&rig, &mut honest, 1).await;
}

/// How a stream ends that begins so.
async fn refusal(rig: &Rig, node: Node, then: Vec<DeltaDiscoveryRequest>) -> Status {
    let mut raw = Raw::connect(rig.plaintext().await, node, ROUTE_CONFIGURATION, &[REVIEWS]).await;
    for request in then {
        if !raw.send(request).await {
            break;
        }
    }
    loop {
        if let Err(status) = raw.receive().await {
            return status;
        }
    }
}

#[tokio::test]
async fn requests_that_cannot_be_meant_end_their_stream_by_name_and_no_other() {
    let rig = rig().await;
    let mut honest = honest(&rig).await;
    let nobody = refusal(&rig, Node::default(), Vec::new()).await;
    assert_eq!(nobody.code(), Code::InvalidArgument, "{nobody}");
    assert!(
        nobody.message().contains("use sidecar~IP~NAME.NAMESPACE~DOMAIN"),
        "{nobody}"
    );

    let untyped = refusal(&rig, node("a-1", "a", None), vec![request("", &["x"])]).await;
    assert_eq!(untyped.code(), Code::InvalidArgument);
    assert!(untyped.message().contains("names no resource type"), "{untyped}");

    let types = (0..100).map(|number| request(&format!("type.googleapis.com/t{number}"), &["x"]));
    let inventive = refusal(&rig, node("b-1", "b", None), types.collect()).await;
    assert_eq!(inventive.code(), Code::InvalidArgument);
    assert!(
        inventive.message().contains("64 types of resources already"),
        "{inventive}"
    );
    change(&rig, &mut honest, 1).await;
}

#[tokio::test]
async fn types_that_are_not_served_are_answered_with_nothing_there() {
    let rig = rig().await;
    for kind in [
        "envoy.config.core.v3.TypedExtensionConfig",
        "envoy.config.route.v3.ScopedRouteConfiguration",
        "envoy.nothing.v9.Nothing",
    ] {
        let type_url = format!("type.googleapis.com/{kind}");
        let node = node("curious-1", "curious", None);
        let mut curious = Raw::connect(rig.plaintext().await, node, &type_url, &["x"]).await;
        let answer = curious.receive().await.unwrap();
        assert_eq!(
            (answer.removed_resources, answer.resources),
            (vec!["x".to_owned()], vec![])
        );
    }
}
