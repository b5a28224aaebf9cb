//! Workloads come and go.

use std::time::{Duration, Instant};

use leno_proto::type_url::{CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use tokio::net::TcpListener;

use crate::rig::{Proxy, Rig, node};

async fn application() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn cluster(port: u16) -> String {
    format!("outbound|{port}||web.default.svc.cluster.local")
}

#[tokio::test]
async fn a_workload_is_an_endpoint_from_when_it_is_healthy_until_it_refuses() {
    let rig = Rig::start(&[]).await;
    let (listener, port) = application().await;
    let cluster = cluster(port);
    let mut caller = Proxy::connect(
        rig.plaintext().await,
        node("client-1", "client", None),
        &[(CLUSTER_LOAD_ASSIGNMENT, &cluster)],
    )
    .await;

    let web = Proxy::connect(
        rig.plaintext().await,
        node("web-1", "web", Some(port)),
        &[(LISTENER, "virtualInbound")],
    )
    .await;
    caller.until("an endpoint", |p| p.endpoints(&cluster) == 1).await;

    drop(listener);
    drop(web);
    let died = Instant::now();
    caller.until("no endpoint", |p| p.endpoints(&cluster) == 0).await;
    assert!(died.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_broken_stream_takes_nobody_out_while_the_address_answers() {
    let rig = Rig::start(&[]).await;
    let (_listener, port) = application().await;
    let cluster = cluster(port);
    let mut caller = Proxy::connect(
        rig.plaintext().await,
        node("client-1", "client", None),
        &[(CLUSTER_LOAD_ASSIGNMENT, &cluster)],
    )
    .await;
    let connect = async |name: &str| {
        let node = node(name, "web", Some(port));
        Proxy::connect(rig.plaintext().await, node, &[(LISTENER, "virtualInbound")]).await
    };
    let web = connect("web-1").await;
    caller.until("an endpoint", |p| p.endpoints(&cluster) == 1).await;
    drop(web);
    // Long enough for several looks at its address; a second instance shows that pushes go on.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let _second = connect("web-2").await;
    caller.until("both", |p| p.endpoints(&cluster) == 2).await;
    let seen = caller.pushed.len();
    let _back = connect("web-1").await;
    let _third = connect("web-3").await;
    caller.until("three", |p| p.endpoints(&cluster) == 3).await;
    assert!(caller.pushed.len() <= seen + 2, "coming back is no change");
}
