//! HTTP/2: prior knowledge, streams, trailers, and the way between the versions.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use leno_engine::compile::cluster::UpstreamProtocol;
use std::net::SocketAddr;
use tokio::net::TcpStream;

use crate::support::{Harness, cluster, http_chain, http1_server, listener, manager, ok, tcp_server};

type Sender = h2::client::SendRequest<Bytes>;

/// An HTTP/2 upstream that answers with the request's body, and gRPC's trailers.
async fn grpc_echo() -> SocketAddr {
    tcp_server(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                assert_eq!(request.headers().get("te").unwrap(), "trailers");
                let mut body = request.into_body();
                let head = Response::builder()
                    .header("content-type", "application/grpc")
                    .body(())
                    .unwrap();
                let mut stream = respond.send_response(head, false).unwrap();
                while let Some(Ok(data)) = body.data().await {
                    body.flow_control().release_capacity(data.len()).unwrap();
                    stream.send_data(data, false).unwrap();
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "5".parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            });
        }
    })
    .await
}

async fn client(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn proxy(endpoints: &[SocketAddr], protocol: UpstreamProtocol) -> (Harness, SocketAddr) {
    let harness = Harness::start();
    let address = harness.serve(listener("http", http_chain(manager("routes"))), endpoints);
    harness.update(|updater| {
        let mut cluster = cluster("c", endpoints);
        cluster.protocol = protocol;
        updater.upsert_cluster(cluster).unwrap();
    });
    (harness, address)
}

#[tokio::test]
async fn a_grpc_call_streams_both_ways_with_trailers() {
    let upstream = grpc_echo().await;
    let (harness, address) = proxy(&[upstream], UpstreamProtocol::Downstream);
    let mut sender = client(address).await;
    let request = Request::builder()
        .method("POST")
        .uri("http://echo/say")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    let mut body = response.await.unwrap().into_body();
    // A message comes back before the request has ended.
    for message in ["one", "two"] {
        stream.send_data(Bytes::from(message), false).unwrap();
        let data = body.data().await.unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        assert_eq!(data, message);
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "5");
    let record = harness.records.request(0).await;
    assert_eq!((record.received, record.sent), (6, 6));
    assert!(record.flags.is_empty(), "{record:?}");
}

#[tokio::test]
async fn streams_of_one_client_go_on_side_by_side_to_http1() {
    let upstream = http1_server(|request, _| ok(request.head.split(' ').nth(1).unwrap())).await;
    let (_harness, address) = proxy(&[upstream], UpstreamProtocol::Http1);
    let mut sender = client(address).await;
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let request = Request::builder().uri(format!("http://a/{n}")).body(()).unwrap();
            sender.send_request(request, true).unwrap().0
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        let response = call.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), format!("/{n}"));
    }
}

#[tokio::test]
async fn a_failure_is_a_grpc_status_to_a_grpc_call() {
    let (_harness, address) = proxy(&[], UpstreamProtocol::Downstream);
    let mut sender = client(address).await;
    let request = Request::builder()
        .method("POST")
        .uri("http://a/b")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let response = sender.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("grpc-status").unwrap(), "14");
    assert_eq!(
        response.headers().get("grpc-message").unwrap(),
        "no healthy upstream"
    );
}
