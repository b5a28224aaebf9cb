//! HTTP/1: framing, keep-alive, upgrades.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use leno_engine::decide::limits::{Priority, Resource};
use leno_engine::flags::Flag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use leno_proxy::Options;

use crate::support::{
    Client, Harness, cluster, http_chain, http1_server, listener, manager, ok, read_message, tcp_server,
};

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
    assert_eq!(
        (record.path.as_str(), record.status, record.sent),
        ("/e", Some(200), 17)
    );
    assert!(record.flags.is_empty());
    assert_eq!(record.details, "via_upstream");
}

#[tokio::test]
async fn nobody_listening_is_503_with_uf() {
    let (harness, address) = Harness::http(&[leno_testkit::free_address()]);
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.body().starts_with("upstream connect error"));
    let record = harness.records.request(0).await;
    assert!(
        record.flags.contains(Flag::UpstreamConnectionFailure),
        "{record:?}"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = http1_server(|request, _| ok(request.head.split(' ').nth(1).unwrap())).await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.receive().await.body(), path);
    }
}

#[tokio::test]
async fn chunked_bodies_pass_both_ways() {
    let upstream = http1_server(|request, _| {
        assert_eq!(request.header("transfer-encoding"), Some("chunked"));
        let body = request.body();
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n1\r\n!\r\n0\r\n\r\n",
            body.len()
        )
        .into_bytes()
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    for _ in 0..2 {
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.receive().await.body(), "abcdefg!");
    }
    let record = harness.records.request(1).await;
    assert_eq!((record.received, record.sent), (7, 8));
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_that_ends_with_the_connection() {
    let upstream = http1_server(|_, _| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("chunked"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
}

#[tokio::test]
async fn a_websocket_becomes_a_tunnel() {
    let upstream = tcp_server(|mut stream, _| async move {
        let request = read_message(&mut stream).await.unwrap();
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(
            request
                .header("connection")
                .map(str::to_ascii_lowercase)
                .as_deref(),
            Some("upgrade")
        );
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        stream.write_all(&echo).await.unwrap();
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nping")
        .await;
    assert_eq!(client.receive().await.status(), 101);
    let mut rest = String::new();
    client.0.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "helloping");
    drop(client);
    let record = harness.records.request(0).await;
    assert_eq!((record.status, record.received, record.sent), (Some(101), 4, 9));
}

#[tokio::test]
async fn a_tunnel_keeps_the_place_of_its_connection() {
    let upstream = tcp_server(|mut stream, _| async move {
        read_message(&mut stream).await.unwrap();
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0; 8]).await;
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let limits = Arc::clone(&harness.proxy.updater().config().cluster("c").unwrap().limits);
    let used = || limits.used(Resource::Connection, Priority::Default);
    let mut client = Client::connect(address).await;
    client
        .send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.receive().await.status(), 101);
    assert_eq!(used(), 1);
    drop(client);
    harness.records.request(0).await;
    while used() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn connect_and_unknown_upgrades_are_refused() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n")
        .await;
    assert_eq!(client.receive().await.status(), 403);
    let mut client = Client::connect(address).await;
    client.send("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n").await;
    assert_eq!(client.receive().await.status(), 404);
}

/// A client that does not read holds the upstream back: what lies between them is bounded.
#[tokio::test]
async fn a_slow_reader_does_not_fill_the_proxy() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let upstream = tcp_server(move |mut stream, _| {
        let counter = Arc::clone(&counter);
        async move {
            read_message(&mut stream).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = vec![7; 64 * 1024];
            while counter.load(Relaxed) < TOTAL {
                stream.write_all(&chunk).await.unwrap();
                counter.fetch_add(chunk.len(), Relaxed);
            }
        }
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Wait until it stands still.
    let mut before = usize::MAX;
    while written.load(Relaxed) != before || before == 0 {
        before = written.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Socket buffers on both sides (the kernel's limits are 6 MiB and 4 MiB each) and the proxy's own.
    assert!(
        before < 40 * 1024 * 1024,
        "{before} bytes were taken from the upstream"
    );
    let answer = client.receive().await;
    assert_eq!(answer.body.len(), TOTAL);
    assert_eq!(harness.records.request(0).await.sent, TOTAL as u64);
}

#[tokio::test]
async fn a_client_that_goes_away_is_recorded_as_such() {
    let upstream = tcp_server(|mut stream, _| async move {
        read_message(&mut stream).await;
        let _held_open = stream.read_u8().await;
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab")
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    let record = harness.records.request(0).await;
    assert!(
        record.flags.contains(Flag::DownstreamConnectionTermination),
        "{record:?}"
    );
}

#[tokio::test]
async fn an_upstream_that_dies_in_the_body_is_recorded_as_such() {
    let upstream = tcp_server(|mut stream, _| async move {
        read_message(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            .await
            .unwrap();
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(read_message(&mut client.0).await.is_none());
    let record = harness.records.request(0).await;
    assert!(record.flags.contains(Flag::UpstreamProtocolError), "{record:?}");
    assert_eq!(record.status, Some(200));
}

/// What nobody waits for any more is given up: the upstream sees its connection close.
#[tokio::test]
async fn a_request_is_given_up_when_its_client_goes() {
    let (gave_up, mut given_up) = tokio::sync::mpsc::unbounded_channel();
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tcp_server(move |mut stream, _| {
        let (gave_up, arrived) = (gave_up.clone(), arrived.clone());
        async move {
            read_message(&mut stream).await;
            arrived.send(()).unwrap();
            let _ = gave_up.send(stream.read_u8().await.is_err());
        }
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    arrivals.recv().await.unwrap();
    drop(client);
    assert_eq!(given_up.recv().await, Some(true));
    let record = harness.records.request(0).await;
    assert!(
        record.flags.contains(Flag::DownstreamConnectionTermination),
        "{record:?}"
    );
    assert_eq!(record.details, "downstream_remote_disconnect");
}

#[tokio::test]
async fn connections_spread_over_workers_and_limits_hold_for_all_of_them() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = tcp_server(move |mut stream, _| {
        let mut released = released.clone();
        async move {
            read_message(&mut stream).await;
            released.wait_for(|r| *r).await.unwrap();
            stream.write_all(&ok("late")).await.unwrap();
        }
    })
    .await;
    let harness = Harness::with(Options {
        concurrency: 2,
        ..Options::default()
    });
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[upstream]);
    harness.update(|updater| {
        let mut cluster = cluster("c", &[upstream]);
        cluster.limits.default.max_requests = 1;
        updater.upsert_cluster(cluster).unwrap();
    });
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(address).await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    // Seven are turned away, whichever worker they are on; one waits.
    for n in 0..7 {
        assert!(
            harness
                .records
                .request(n)
                .await
                .flags
                .contains(Flag::UpstreamOverflow)
        );
    }
    release.send(true).unwrap();
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.receive().await.status());
    }
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        1,
        "{answers:?}"
    );
}
