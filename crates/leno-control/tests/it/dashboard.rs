//! The dashboard on the admin port: who may ask, what it answers, and what that costs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use leno_proto::control::mesh_client::MeshClient;
use leno_proto::control::{Edge, Hello, Peer, Report, TrafficReport, report};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::type_url::LISTENER;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::rig::{PATIENCE, Proxy, Rig, node};

/// Status, head and body.
pub(crate) type Answer = (u16, String, String);

async fn get_with(admin: SocketAddr, path: &str, headers: &str) -> Answer {
    let mut connection = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

pub(crate) async fn get(admin: SocketAddr, path: &str) -> Answer {
    get_with(admin, path, &format!("Host: {admin}\r\n")).await
}

/// What the page is told; null when there is no such thing.
pub(crate) async fn ask(admin: SocketAddr, question: &str) -> Value {
    match get(admin, &format!("/dashboard/api/{question}")).await {
        (200, _, body) => serde_json::from_str(&body).unwrap(),
        (404, ..) => Value::Null,
        other => panic!("{question}: {other:?}"),
    }
}

/// Asks until it is so.
pub(crate) async fn ask_until(admin: SocketAddr, question: &str, so: impl Fn(&Value) -> bool) -> Value {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = ask(admin, question).await;
            if so(&answer) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    match asked.await {
        Ok(answer) => answer,
        Err(_) => panic!("never so: {:#}", ask(admin, question).await),
    }
}

/// A side stream that tells of one edge, as often as it is told to.
pub(crate) async fn attach(channel: Channel, node: &Node) -> mpsc::Sender<Report> {
    let (reports, outgoing) = mpsc::channel(8);
    let hello = Hello {
        node_id: node.id.clone(),
        start: 1,
    };
    let what = Some(report::What::Hello(hello));
    reports.send(Report { what }).await.unwrap();
    tokio::spawn(async move {
        let mut commands = MeshClient::new(channel)
            .attach(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        while let Ok(Some(_)) = commands.message().await {}
    });
    reports
}

pub(crate) async fn tell(reports: &mpsc::Sender<Report>, edges: Vec<Edge>) {
    let what = Some(report::What::Traffic(TrafficReport { edges }));
    reports.send(Report { what }).await.unwrap();
}

/// A proxy that goes on acknowledging what comes.
pub(crate) async fn connect(channel: Channel, node: Node) {
    let mut proxy = Proxy::connect(channel, node, &[(LISTENER, "virtualInbound")]).await;
    tokio::spawn(async move { while proxy.next().await.is_ok() {} });
}

fn peer(workload: &str) -> Option<Peer> {
    Some(Peer {
        app: workload.to_owned(),
        version: "v1".to_owned(),
        namespace: "default".to_owned(),
        workload: workload.to_owned(),
        principal: format!("spiffe://cluster.local/ns/default/sa/{workload}"),
    })
}

fn edge(requests: u64, failures: u64) -> Edge {
    Edge {
        id: 1,
        source: peer("web"),
        destination: peer("shop"),
        destination_service: "shop.default.svc.cluster.local".to_owned(),
        reporter: "source".to_owned(),
        protocol: "http".to_owned(),
        mtls: true,
        requests,
        failures,
        latency: vec![0, 0, 0, requests],
        ..Default::default()
    }
}

#[tokio::test]
async fn the_page_comes_whole_from_here_with_a_strict_policy() {
    let rig = Rig::start(&[]).await;
    let admin = rig.control.admin;
    let (status, head, page) = get(admin, "/dashboard/").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{head}"
    );
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    for asset in leno_dashboard::page::ASSETS {
        let (status, head, body) = get(admin, &format!("/dashboard/{}", asset.name)).await;
        assert_eq!((status, body.as_str()), (200, asset.body), "{}", asset.name);
        assert!(head.contains(asset.content_type) && head.contains("content-security-policy"));
        // Every module that one names is there.
        for import in asset.body.lines().filter_map(|line| line.split_once(" from './")) {
            let name = import.1.trim_end_matches("';");
            assert!(
                leno_dashboard::page::ASSETS.iter().any(|a| a.name == name),
                "{name}"
            );
        }
    }
    let (status, head, _) = get(admin, "/dashboard").await;
    assert_eq!(status, 308, "{head}");
}

#[tokio::test]
async fn other_names_and_other_pages_are_refused() {
    let rig = Rig::start(&[]).await;
    let admin = rig.control.admin;
    // A name that somebody made lead to 127.0.0.1.
    for path in [
        "/dashboard/",
        "/dashboard/api/topology",
        "/debug/services",
        "/metrics",
    ] {
        let (status, _, body) = get_with(admin, path, "Host: evil.example:15014\r\n").await;
        assert_eq!(status, 421, "{path}");
        assert!(body.contains("localhost"), "{body}");
        assert_eq!(
            get_with(admin, path, "Host: localhost:1\r\n").await.0,
            200,
            "{path}"
        );
    }
    let cross = format!("Host: {admin}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n");
    assert_eq!(get_with(admin, "/dashboard/api/topology", &cross).await.0, 403);
    let mut connection = TcpStream::connect(admin).await.unwrap();
    let post = format!(
        "POST /dashboard/api/topology HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(post.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn the_topology_is_what_proxies_report_and_who_is_there() {
    let rig = Rig::start(&[]).await;
    let admin = rig.control.admin;
    let empty = ask(admin, "topology").await;
    assert_eq!(
        (
            empty["data"]["nodes"].as_array().unwrap().len(),
            &empty["overview"]["quiet"]
        ),
        (0, &true.into())
    );

    let web = node("web", "web", None);
    connect(rig.plaintext().await, web.clone()).await;
    connect(rig.plaintext().await, node("shop", "shop", Some(1))).await;
    let reports = attach(rig.plaintext().await, &web).await;
    tell(&reports, vec![edge(100, 0)]).await;
    let seen = ask_until(admin, "topology", |a| {
        a["data"]["edges"][0]["from"] == "default/web/v1"
    })
    .await;
    let (edge_seen, nodes) = (
        &seen["data"]["edges"][0],
        seen["data"]["nodes"].as_array().unwrap(),
    );
    assert_eq!(
        (&edge_seen["to"], &edge_seen["security"]),
        (&"default/shop/v1".into(), &"mtls".into())
    );
    assert_eq!(
        edge_seen["principal"],
        "spiffe://cluster.local/ns/default/sa/shop"
    );
    assert_eq!(
        nodes
            .iter()
            .map(|n| n["name"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["shop", "web"]
    );
    assert!(edge_seen["path"].as_str().unwrap().starts_with('M') && edge_seen["label"].is_object());

    // Half of what is asked next fails.
    tell(&reports, vec![edge(200, 50)]).await;
    let failing = ask_until(admin, "topology", |a| a["data"]["edges"][0]["status"] == "error").await;
    // A quarter of all of which the page knows.
    assert_eq!(failing["data"]["edges"][0]["success"], 0.75);
    assert_eq!(failing["data"]["nodes"][0]["status"], "error");
    // Nothing has moved.
    assert_eq!(failing["data"]["nodes"][0]["x"], seen["data"]["nodes"][0]["x"]);

    let list = ask(admin, "workloads").await;
    assert_eq!(list["data"][0]["name"], "shop");
    let page = ask(admin, "workload?namespace=default&name=shop").await;
    assert_eq!(page["data"]["callers"][0]["name"], "web");
    assert_eq!(page["data"]["instances_of"][0]["proxy"], "leno");
    assert_eq!(page["data"]["policies"][0]["what"], "mutual TLS");
    assert_eq!(
        ask(admin, "workload?namespace=default&name=nobody").await,
        Value::Null
    );
}

const ROUTE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - match: [{uri: {prefix: /api}}]
    route:
    - {destination: {host: shop}, weight: 100}
";

#[tokio::test]
async fn objects_have_their_text_their_place_and_what_is_said_of_them() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {selector: {app: shop}, ports: [{port: 80, name: http}]}\n";
    let rig = Rig::start(&[("shop.yaml", service), ("route.yaml", ROUTE)]).await;
    let admin = rig.control.admin;
    let all = ask(admin, "objects").await;
    let names: Vec<&str> = all["data"]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["kind"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Service", "VirtualService"]);
    let object = ask(admin, "object?kind=VirtualService&namespace=default&name=shop").await;
    let yaml = object["data"]["yaml"].as_str().unwrap();
    assert!(
        yaml.contains("prefix: /api") && yaml.contains("weight: 100"),
        "{yaml}"
    );
    assert!(
        object["data"]["place"]
            .as_str()
            .unwrap()
            .ends_with("route.yaml:2:1")
    );

    // The last good one stays in force, and says why.
    rig.write("route.yaml", &ROUTE.replace("hosts: [shop]", "hots: [shop]"));
    let refused = ask_until(
        admin,
        "object?kind=VirtualService&namespace=default&name=shop",
        |o| o["data"]["status"] == "error",
    )
    .await;
    assert!(refused["data"]["yaml"].as_str().unwrap().contains("hosts"));
    let said = &refused["data"]["said"][0];
    assert!(
        said["code"].as_str().unwrap().starts_with("LN")
            && said["place"].as_str().unwrap().contains("route.yaml:")
    );
    assert_eq!(
        ask(admin, "object?kind=Service&namespace=other&name=shop").await,
        Value::Null
    );
}

#[tokio::test]
async fn a_secrets_values_stay_where_they_are() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: door}\ntype: Opaque\n\
                  stringData: {tls.crt: the-certificate, tls.key: the-private-key}\n";
    let rig = Rig::start(&[("door.yaml", secret)]).await;
    let all = get(rig.control.admin, "/dashboard/api/objects").await.2;
    let one = get(
        rig.control.admin,
        "/dashboard/api/object?kind=Secret&namespace=default&name=door",
    )
    .await;
    assert!(one.2.contains("tls.key") && one.2.contains("(hidden)"), "{one:?}");
    for answer in [all, one.2] {
        assert!(
            !answer.contains("the-certificate") && !answer.contains("the-private-key"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn however_many_look_the_mesh_is_looked_at_once_a_second() {
    let rig = Rig::start(&[]).await;
    let admin = rig.control.admin;
    let begun = Instant::now();
    let mut looks = BTreeSet::new();
    for _ in 0..20 {
        let viewers = (0..10).map(|_| tokio::spawn(ask(admin, "topology")));
        for viewer in viewers.collect::<Vec<_>>() {
            looks.insert(viewer.await.unwrap()["overview"]["now"].as_u64().unwrap());
        }
    }
    // However long that took: one at its beginning, and one a second.
    let most = 2 + begun.elapsed().as_secs() as usize;
    assert!(
        looks.len() <= most,
        "{} looks within {:?}",
        looks.len(),
        begun.elapsed()
    );
}

#[tokio::test]
async fn what_the_documentation_names_is_there() {
    let rig = Rig::start(&[]).await;
    let documented = include_str!("../../../../docs/dashboard.md");
    let paths = documented
        .split('`')
        .filter(|code| code.starts_with("/dashboard/api/"));
    let mut answered = 0;
    for path in paths {
        let (status, _, body) = get(rig.control.admin, path).await;
        let is_one = path.contains("name=");
        assert_eq!(status, if is_one { 404 } else { 200 }, "{path}: {body}");
        answered += 1;
    }
    assert_eq!(answered, 5);
}
