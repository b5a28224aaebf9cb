//! Protocols without being told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_engine::compile::listener::{ChainMatch, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Client, Harness, http_chain, http1_server, listener, manager, ok, tcp_chain, tcp_server,
};

/// HTTP where HTTP is seen, TCP for everything else.
fn detecting() -> Listener {
    let mut http = http_chain(manager("routes"));
    http.matches = ChainMatch {
        application_protocols: vec!["http/1.0".to_owned(), "http/1.1".to_owned(), "h2c".to_owned()],
        ..ChainMatch::default()
    };
    let mut listener = listener("detect", http);
    listener.chains.push(Arc::new(tcp_chain("c")));
    listener.filters.http_inspector = true;
    listener.filters.tls_inspector = true;
    listener
}

#[tokio::test]
async fn a_server_that_speaks_first_is_not_kept_waiting() {
    let upstream = tcp_server(|mut stream, _| async move {
        stream.write_all(b"5.7.0 ready\n").await.unwrap();
        let mut login = [0; 5];
        stream.read_exact(&mut login).await.unwrap();
        stream.write_all(b"welcome").await.unwrap();
    })
    .await;
    let harness = Harness::start();
    let address = harness.serve(detecting(), &[upstream]);
    let begin = Instant::now();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 12];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"5.7.0 ready\n");
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    client.write_all(b"login").await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "welcome");
    drop(client);
    assert_eq!(harness.records.connection(0).await.sent, 19);
}

#[tokio::test]
async fn http_is_seen_as_such_even_when_it_comes_late() {
    let upstream = http1_server(|_, _| ok("http")).await;
    let harness = Harness::start();
    let address = harness.serve(detecting(), &[upstream]);
    let mut client = Client::connect(address).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = client.get("/").await;
    assert_eq!(answer.body(), "http");
    assert_eq!(answer.header("server"), Some("leno"));
}

/// Also when it takes its time: then the connection that was made for the race is its connection.
#[tokio::test]
async fn a_client_that_speaks_first_but_not_http_is_tcp() {
    for pause in [0, 100] {
        client_first(Duration::from_millis(pause)).await;
    }
}

async fn client_first(pause: Duration) {
    let upstream = tcp_server(|mut stream, connection| async move {
        assert_eq!(connection, 0);
        let mut ping = [0; 6];
        stream.read_exact(&mut ping).await.unwrap();
        stream.write_all(b"+PONG\r\n").await.unwrap();
    })
    .await;
    let harness = Harness::start();
    let address = harness.serve(detecting(), &[upstream]);
    let mut client = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(pause).await;
    client.write_all(b"PING\r\n").await.unwrap();
    let mut pong = String::new();
    client.read_to_string(&mut pong).await.unwrap();
    assert_eq!(pong, "+PONG\r\n");
}

/// Where nobody else may speak first, and where it has begun to speak.
#[tokio::test]
async fn a_client_that_does_not_say_what_it_speaks_is_closed() {
    let upstream = tcp_server(|mut stream, _| async move {
        stream.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let mut http = listener("http", http_chain(manager("routes")));
    http.filters.tls_inspector = true;
    for (mut listener, said) in [(http, ""), (detecting(), "GET /")] {
        listener.filters.timeout = Duration::from_millis(50);
        let harness = Harness::start();
        let address = harness.serve(listener, &[upstream]);
        let mut client = Client::connect(address).await;
        client.send(said).await;
        assert!(client.is_closed().await, "after {said:?}");
        let record = harness.records.connection(0).await;
        assert_eq!(record.details, "inspection_timed_out");
    }
}

#[tokio::test]
async fn a_client_may_wait_for_a_server_longer_than_inspection_takes() {
    let upstream = tcp_server(|mut stream, _| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.write_all(b"ready").await.unwrap();
    })
    .await;
    let mut listener = detecting();
    listener.filters.timeout = Duration::from_millis(50);
    let harness = Harness::start();
    let address = harness.serve(listener, &[upstream]);
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).await.unwrap();
    assert_eq!(greeting, "ready");
}
