//! Workloads come and go.

use std::time::{Duration, Instant};

use leno_proto::type_url::{CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use leno_xds::Client;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::certificates::identity;
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
    let _second = connect_at(&rig, "127.0.0.2", "web-2", port).await;
    caller.until("both", |p| p.endpoints(&cluster) == 2).await;
    let seen = caller.pushed.len();
    let _back = connect("web-1").await;
    let _third = connect_at(&rig, "127.0.0.3", "web-3", port).await;
    caller.until("three", |p| p.endpoints(&cluster) == 3).await;
    assert!(caller.pushed.len() <= seen + 2, "coming back is no change");
}

async fn connect_at(rig: &Rig, address: &str, name: &str, port: u16) -> Proxy {
    let mut node = node(name, "web", Some(port));
    node.id = node.id.replace("127.0.0.1", address);
    Proxy::connect(rig.plaintext().await, node, &[(LISTENER, "virtualInbound")]).await
}

/// Until the first answer, or the refusal.
async fn join(channel: Channel, name: &str, service: &str, port: Option<u16>) -> Result<Proxy, Status> {
    let mut client = Client::new(node(name, service, port));
    client.set_health(None);
    client.subscribe(LISTENER, "virtualInbound");
    let mut proxy = Proxy::open(channel, client).await?;
    proxy.next().await?;
    Ok(proxy)
}

#[tokio::test]
async fn nobody_without_a_certificate_takes_the_place_of_who_has_one() {
    let rig = Rig::start(&[]).await;
    let (_listener, port) = application().await;
    let web = identity(&rig, "spiffe://cluster.local/ns/default/sa/web").await;
    let first = join(rig.plaintext().await, "web-1", "bank", None).await.unwrap();
    // Without TLS anybody may say anything: a certificate counts for more.
    let second = join(rig.secure(Some(web)).await, "web-1", "web", Some(port))
        .await
        .unwrap();
    let cluster = cluster(port);
    let mut caller = Proxy::connect(
        rig.plaintext().await,
        node("client-1", "client", None),
        &[(CLUSTER_LOAD_ASSIGNMENT, &cluster)],
    )
    .await;
    caller.until("an endpoint", |p| p.endpoints(&cluster) == 1).await;
    let refused = async |rig: &Rig, service: &str| {
        let refused = join(rig.plaintext().await, "web-1", service, None).await;
        let Err(status) = refused else {
            panic!("not refused")
        };
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("registered over TLS"), "{status}");
    };
    refused(&rig, "web").await;
    drop(first);
    drop(second);
    // Its address answers: it is in the mesh, and after a restart as well.
    refused(&rig, "bank").await;
    let rig = rig.restart(|_| {}).await;
    refused(&rig, "web").await;
}

#[tokio::test]
async fn a_name_belongs_to_the_service_account_that_has_it() {
    let rig = Rig::start(&[]).await;
    let certificate =
        async |name: &str| identity(&rig, &format!("spiffe://cluster.local/ns/default/sa/{name}")).await;
    let web = certificate("web").await;
    let _web = join(rig.secure(Some(web.clone())).await, "web-1", "web", None)
        .await
        .unwrap();
    let bank = rig.secure(Some(certificate("bank").await)).await;
    let Err(refused) = join(bank, "web-1", "bank", None).await else {
        panic!("not refused")
    };
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("the service account web"), "{refused}");
    join(rig.secure(Some(web)).await, "web-1", "web", None)
        .await
        .unwrap();
}
