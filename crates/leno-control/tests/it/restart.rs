//! A control plane comes back.

use leno_proto::type_url::{CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use tokio::net::TcpListener;

use crate::rig::{Proxy, Rig, node};

#[tokio::test]
async fn endpoints_do_not_shrink_when_it_comes_back_with_its_state() {
    let rig = Rig::start(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cluster = format!("outbound|{port}||web.default.svc.cluster.local");
    let web = node("web-1", "web", Some(port));
    let _web = Proxy::connect(rig.plaintext().await, web, &[(LISTENER, "virtualInbound")]).await;
    let mut caller = Proxy::connect(
        rig.plaintext().await,
        node("client-1", "client", None),
        &[(CLUSTER_LOAD_ASSIGNMENT, &cluster)],
    )
    .await;
    caller.until("an endpoint", |p| p.endpoints(&cluster) == 1).await;

    // The workload's proxy does not come back, its address answers.
    let rig = rig.restart(|_| {}).await;
    let Proxy { mut client, .. } = caller;
    client.on_disconnected(0);
    let mut caller = Proxy::open(rig.plaintext().await, client).await.unwrap();
    caller.until("an answer", |p| !p.pushed.is_empty()).await;
    assert_eq!(caller.endpoints(&cluster), 1);

    drop(listener);
    caller.until("no endpoint", |p| p.endpoints(&cluster) == 0).await;
}

#[tokio::test]
async fn with_only_its_key_those_who_come_with_state_wait_for_each_other() {
    let rig = Rig::start(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cluster = format!("outbound|{port}||web.default.svc.cluster.local");
    let web = node("web-1", "web", Some(port));
    let first = Proxy::connect(
        rig.plaintext().await,
        web.clone(),
        &[(LISTENER, "virtualInbound")],
    )
    .await;
    let mut caller = Proxy::connect(
        rig.plaintext().await,
        node("client-1", "client", None),
        &[(CLUSTER_LOAD_ASSIGNMENT, &cluster)],
    )
    .await;
    caller.until("an endpoint", |p| p.endpoints(&cluster) == 1).await;
    drop(first);

    let rig = rig
        .restart(|state| {
            for entry in std::fs::read_dir(state).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && !path.ends_with("ca-key.pem") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        })
        .await;
    let Proxy { mut client, .. } = caller;
    client.on_disconnected(0);
    let mut caller = Proxy::open(rig.plaintext().await, client).await.unwrap();
    // Somebody else being there does not mean that all are.
    let other = node("other-1", "other", None);
    let mut other = Proxy::connect(rig.plaintext().await, other, &[(LISTENER, "virtualInbound")]).await;
    other.until("an answer", |p| !p.pushed.is_empty()).await;
    let _web = Proxy::connect(rig.plaintext().await, web, &[(LISTENER, "virtualInbound")]).await;
    caller.until("an answer", |p| !p.pushed.is_empty()).await;
    assert_eq!(
        caller.endpoints(&cluster),
        1,
        "the first answer already knows who came back"
    );
}

#[tokio::test]
async fn the_rendezvous_file_is_there_while_it_runs() {
    let rig = Rig::start(&[]).await;
    let found = leno_control::rendezvous::read(&rig.rendezvous()).unwrap();
    assert_eq!(found.address, rig.control.secure.to_string());
    assert_eq!(found.token, rig.control.token);
    let path = rig.rendezvous();
    rig.control.shutdown().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn another_control_plane_that_lives_is_named() {
    let rig = Rig::start(&[]).await;
    let other = leno_control::rendezvous::Rendezvous {
        pid: 1,
        ..leno_control::rendezvous::read(&rig.rendezvous()).unwrap()
    };
    std::fs::write(rig.rendezvous(), serde_json::to_vec(&other).unwrap()).unwrap();
    let error = leno_control::run(rig.options()).await.unwrap_err();
    assert!(error.to_string().contains("pid 1"), "{error}");
}
