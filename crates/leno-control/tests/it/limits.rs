//! What peers may take of the control plane, and that others are served all the same.

use std::time::Duration;

use leno_control::Limits;
use leno_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use leno_proto::type_url;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::certificates::identity;
use crate::rig::{PATIENCE, Proxy, Rig, node};

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";
const BANK: &str = "spiffe://cluster.local/ns/default/sa/bank";
const LISTENER: (&str, &str) = (type_url::LISTENER, "virtualInbound");

/// Fails if it is not served.
async fn served(rig: &Rig, account: &str, name: &str, certificate: leno_tls::Identity) -> Proxy {
    let node = node(name, account, Some(80));
    let mut proxy = Proxy::connect(rig.secure(Some(certificate)).await, node, &[LISTENER]).await;
    proxy
        .until("it has its listener", |proxy| proxy.has(LISTENER.0, LISTENER.1))
        .await;
    proxy
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut page = TcpStream::connect(rig.control.admin).await.unwrap();
    let ask = format!(
        "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        rig.control.admin
    );
    page.write_all(ask.as_bytes()).await.unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_connections_without_certificates_leaves_the_others_served() {
    let limits = Limits {
        strangers: 256,
        grace: Duration::from_secs(1),
        ..Limits::default()
    };
    let rig = Rig::with(&[], |options| options.limits = limits).await;
    let certificate = identity(&rig, WEB).await;
    let mut before = served(&rig, "web", "web-1", certificate.clone()).await;
    let address = rig.control.secure;
    // Again and again, and none of them says a word.
    let flood = tokio::spawn(async move {
        let mut held = std::collections::VecDeque::new();
        loop {
            if let Ok(silent) = TcpStream::connect(address).await {
                held.push_back(silent);
            }
            if held.len() > 1024 {
                held.pop_front();
            }
        }
    });
    let pushed_out = async {
        while metric(&rig, "leno_control_connections_unproven_ended_total").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, pushed_out).await.unwrap();
    // One that was there before is told what is new.
    before.subscribe(type_url::LISTENER, "virtualOutbound").await;
    before
        .until("it is answered", |proxy| {
            proxy.has(type_url::LISTENER, "virtualOutbound")
        })
        .await;
    // And one that comes now comes in.
    served(&rig, "web", "web-2", certificate).await;
    let strangers = metric(&rig, "leno_control_connections_unproven").await;
    assert!(strangers <= 256, "{strangers}");
    flood.abort();
}

/// A stream that has been answered, or why not.
async fn stream(
    channel: Channel,
    account: &str,
    names: Vec<String>,
) -> Result<
    (
        mpsc::Sender<DeltaDiscoveryRequest>,
        tonic::Streaming<leno_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse>,
    ),
    Status,
> {
    let (requests, outgoing) = mpsc::channel(64);
    let first = DeltaDiscoveryRequest {
        node: Some(node(&format!("{account}-1"), account, Some(80))),
        type_url: type_url::CLUSTER.into(),
        resource_names_subscribe: names,
        ..Default::default()
    };
    requests.send(first).await.unwrap();
    let mut responses = AggregatedDiscoveryServiceClient::new(channel)
        .delta_aggregated_resources(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    responses.message().await?;
    Ok((requests, responses))
}

#[tokio::test]
async fn a_peer_with_too_many_streams_is_refused_and_others_are_served() {
    let limits = Limits {
        of_connection: 2,
        streams: 3,
        ..Limits::default()
    };
    let rig = Rig::with(&[], |options| options.limits = limits).await;
    let greedy = identity(&rig, WEB).await;
    let [first, second] = [
        rig.secure(Some(greedy.clone())).await,
        rig.secure(Some(greedy)).await,
    ];
    let name = || vec!["nothing".to_owned()];
    let mut open = Vec::new();
    for channel in [&first, &first, &second] {
        open.push(stream(channel.clone(), "web", name()).await.unwrap());
    }
    for (channel, words) in [(&first, "its connection"), (&second, "its identity")] {
        let refused = stream(channel.clone(), "web", name()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains(words), "{refused}");
    }
    let bank = identity(&rig, BANK).await;
    served(&rig, "bank", "bank-1", bank).await;
    assert_eq!(metric(&rig, "leno_control_streams_refused_total").await, 2);
    // Who ends one may have another.
    open.clear();
    let again = async { while stream(second.clone(), "web", name()).await.is_err() {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn an_identity_has_so_many_connections_and_others_have_theirs() {
    let limits = Limits {
        of_identity: 1,
        ..Limits::default()
    };
    let rig = Rig::with(&[], |options| options.limits = limits).await;
    let web = identity(&rig, WEB).await;
    let _first = served(&rig, "web", "web-1", web.clone()).await;
    let second = rig.secure(Some(web)).await;
    assert!(stream(second, "web", vec!["nothing".into()]).await.is_err());
    assert!(metric(&rig, "leno_control_connections_refused_total").await > 0);
    let bank = identity(&rig, BANK).await;
    served(&rig, "bank", "bank-1", bank).await;
}

#[tokio::test]
async fn a_stream_that_asks_for_a_million_names_is_ended_and_it_is_said_why() {
    let rig = Rig::start(&[]).await;
    let web = identity(&rig, WEB).await;
    let names = |from: usize| (from..from + 50_000).map(|i| format!("cluster-{i}")).collect();
    let channel = rig.secure(Some(web.clone())).await;
    let (requests, mut responses) = stream(channel, "web", names(0)).await.unwrap();
    let asking = async {
        for from in 1..20 {
            let more = DeltaDiscoveryRequest {
                type_url: type_url::CLUSTER.into(),
                resource_names_subscribe: names(from * 50_000),
                ..Default::default()
            };
            if requests.send(more).await.is_err() {
                return;
            }
        }
    };
    let ended = async {
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a word"),
                Err(status) => return status,
            }
        }
    };
    let (_, status) = tokio::time::timeout(PATIENCE, async { tokio::join!(asking, ended) })
        .await
        .unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("names on one stream"), "{status}");
    assert_eq!(metric(&rig, "leno_control_subscriptions_refused_total").await, 1);

    let long = vec!["x".repeat(10_000)];
    let channel = rig.secure(Some(web.clone())).await;
    let refused = stream(channel, "web", long).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    served(&rig, "web", "web-2", web).await;
}
