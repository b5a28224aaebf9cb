//! HTTP/1: framing, keep-alive, upgrades.

use leno_engine::flags::Flag;

use crate::support::{Client, Harness, http1_server, ok};

#[tokio::test]
async fn requests_share_a_connection_on_both_sides() {
    let upstream = http1_server(|request, connection| {
        ok(&format!("{connection} {}", request.head.lines().next().unwrap()))
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    for path in ["/a", "/b?c=d", "/e"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body(), format!("0 GET {path} HTTP/1.1"));
        assert_eq!(answer.header("server"), Some("leno"));
        assert!(answer.header("x-envoy-upstream-service-time").is_some());
    }
    let record = harness.records.request(2).await;
    assert_eq!((record.path.as_str(), record.status, record.sent), ("/e", Some(200), 17));
    assert!(record.flags.is_empty());
    assert_eq!(record.details, "via_upstream");
}

#[tokio::test]
async fn nobody_listening_is_503_with_uf() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (harness, address) = Harness::http(&[gone]);
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.body().starts_with("upstream connect error"));
    let record = harness.records.request(0).await;
    assert!(record.flags.contains(Flag::UpstreamConnectionFailure), "{record:?}");
}
