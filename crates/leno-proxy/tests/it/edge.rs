//! What the connection manager does at its edge: lifetimes, what is no request, interim answers, who the client is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use leno_engine::compile::cluster::UpstreamProtocol;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::flags::Flag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Client, Harness, Text, cluster, http_chain, http1_server, listener, manager, ok, read_message, table,
    tcp_server,
};

fn edge(upstream: SocketAddr, edit: impl FnOnce(&mut HttpConnectionManager)) -> (Harness, SocketAddr) {
    let harness = Harness::start();
    let mut manager = manager("routes");
    edit(&mut manager);
    let address = harness.serve(listener("http", http_chain(manager)), &[upstream]);
    (harness, address)
}

async fn http2(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

#[tokio::test]
async fn a_connection_ends_at_its_longest_duration() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (_harness, address) = edge(upstream, |manager| {
        manager.timeouts.max_connection_duration = Some(Duration::from_millis(300));
    });
    let mut client = Client::connect(address).await;
    let first = client.get("/").await;
    assert_eq!((first.status(), first.header("connection")), (200, None));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_attempt_on_which_nothing_moves_is_repeated_elsewhere() {
    let upstream = tcp_server(|mut stream, number| async move {
        while read_message(&mut stream).await.is_some() {
            if number == 0 {
                return std::future::pending().await;
            }
            stream.write_all(&ok("moved")).await.unwrap();
        }
    })
    .await;
    let (harness, address) = edge(upstream, |_| {});
    let mut policy = crate::resilience::policy();
    policy.per_try_idle_timeout = Some(Duration::from_millis(100));
    policy.num_retries = 1;
    harness.update(|updater| {
        updater.upsert_route(table("routes", "c", |forward| {
            forward.retry = Some(std::sync::Arc::new(policy));
        }));
    });
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!((answer.status(), answer.body()), (200, "moved"));
    assert_eq!(harness.records.request(0).await.attempts, 2);
}

#[tokio::test]
async fn what_is_no_request_is_answered_and_recorded() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (harness, address) = edge(upstream, |manager| manager.limits.max_header_bytes = 4096);
    let long = "x".repeat(8192);
    let sent = [
        ("GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nlong: {long}\r\n\r\n"), 431),
    ];
    for (number, (request, status)) in sent.into_iter().enumerate() {
        let mut client = Client::connect(address).await;
        client.send(&request).await;
        assert_eq!(client.receive().await.status(), status);
        let record = harness.records.request(number).await;
        assert_eq!(record.status, Some(status));
        assert!(record.flags.contains(Flag::DownstreamProtocolError), "{record:?}");
    }
}

#[tokio::test]
async fn the_client_is_whom_trusted_proxies_tell() {
    let upstream = http1_server(|request, _| ok(request.header("x-forwarded-for").unwrap_or("none"))).await;
    let told = "x-forwarded-for: 203.0.113.9, 198.51.100.1";
    for (at_edge, hops, client, passed_on) in [
        (true, 0, "127.0.0.1", "203.0.113.9, 198.51.100.1,<own>"),
        (true, 1, "198.51.100.1", "203.0.113.9, 198.51.100.1,<own>"),
        (true, 2, "203.0.113.9", "203.0.113.9, 198.51.100.1,<own>"),
        (true, 3, "127.0.0.1", "203.0.113.9, 198.51.100.1,<own>"),
        (false, 0, "198.51.100.1", "203.0.113.9, 198.51.100.1"),
        (false, 1, "203.0.113.9", "203.0.113.9, 198.51.100.1"),
    ] {
        let (harness, address) = edge(upstream, |manager| {
            manager.use_remote_address = at_edge;
            manager.xff_trusted_hops = hops;
        });
        let mut connection = Client::connect(address).await;
        connection
            .send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{told}\r\n\r\n"))
            .await;
        let answer = connection.receive().await;
        // The machine's own address, in place of a loopback one.
        let got = match passed_on.strip_suffix("<own>") {
            Some(told) => answer
                .body()
                .strip_prefix(told)
                .filter(|own| own.parse::<std::net::Ipv4Addr>().is_ok())
                .map_or_else(|| answer.body().to_owned(), |_| passed_on.to_owned()),
            None => answer.body().to_owned(),
        };
        assert_eq!(got, passed_on);
        let seen = harness.records.request(0).await.remote.ip().to_string();
        assert_eq!(seen, client, "use_remote_address {at_edge}, {hops} trusted");
    }
}

/// As Envoy: `Expect` ends here, and the proxy itself tells the client to go on.
#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_from_the_proxy() {
    let upstream = http1_server(|request, _| {
        assert_eq!(request.header("expect"), None);
        ok(request.body())
    })
    .await;
    let (_harness, address) = edge(upstream, |_| {});
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    let mut interim = [0; 25];
    client.0.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(client.receive().await.body(), "body");
}

#[tokio::test]
async fn an_http2_client_that_expects_100_continue_is_not_kept_waiting() {
    let upstream = http1_server(|request, _| ok(request.body())).await;
    let (_harness, address) = edge(upstream, |_| {});
    let mut sender = http2(address).await;
    let request = Request::post("http://a/")
        .header("expect", "100-continue")
        .body(())
        .unwrap();
    let (mut response, mut body) = sender.send_request(request, false).unwrap();
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    let interim = tokio::time::timeout(Duration::from_secs(10), interim)
        .await
        .unwrap();
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
}

const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";

/// Envoy passes interim answers on only with `proxy_100_continue`, which is refused by name.
#[tokio::test]
async fn interim_answers_of_an_http1_upstream_stay_here() {
    let upstream = tcp_server(|mut stream, _| async move {
        while read_message(&mut stream).await.is_some() {
            let answer = [EARLY, &ok("final")].concat();
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await;
    let (_harness, address) = edge(upstream, |_| {});
    let mut client = Client::connect(address).await;
    for _ in 0..2 {
        let answer: Text = client.get("/").await;
        assert_eq!((answer.status(), answer.body()), (200, "final"));
    }
}

#[tokio::test]
async fn interim_answers_of_an_http2_upstream_stay_here() {
    let upstream = tcp_server(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let early = http::Response::builder().status(103).body(()).unwrap();
            respond.send_informational(early).unwrap();
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"final"), true).unwrap();
        }
    })
    .await;
    let (harness, address) = edge(upstream, |_| {});
    harness.update(|updater| {
        let mut cluster = cluster("c", &[upstream]);
        cluster.protocol = UpstreamProtocol::Http2;
        updater.upsert_cluster(cluster).unwrap();
    });
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!((answer.status(), answer.body()), (200, "final"));
}

#[tokio::test]
async fn answers_of_the_proxys_own_have_a_date() {
    let harness = Harness::start();
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[]);
    let mut sender = http2(address).await;
    let request = Request::get("http://a/").body(()).unwrap();
    let response = sender.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers()["date"].to_str().unwrap().ends_with(" GMT"));
    assert!(
        Client::connect(address)
            .await
            .get("/")
            .await
            .header("date")
            .is_some()
    );
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_take_is_given_up_in_time() {
    let upstream = http1_server(|_, _| ok("whole")).await;
    let (harness, address) = edge(upstream, |manager| {
        manager.timeouts.stream_idle = Some(Duration::from_secs(3600));
        manager.timeouts.stream_flush = Some(Duration::from_millis(1));
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (sender, connection): (h2::client::SendRequest<Bytes>, _) =
        builder.initial_window_size(1).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = Request::get("http://test/").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    // The window of one byte is not given back.
    assert_eq!(body.data().await.unwrap().unwrap(), "w");
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    let record = harness.records.request(0).await;
    assert_eq!(
        (record.flags.is_empty(), record.details.as_str()),
        (true, "via_upstream")
    );
}

#[tokio::test]
async fn a_client_that_does_not_close_is_left_in_time() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (_harness, address) = edge(upstream, |manager| {
        manager.timeouts.delayed_close = Some(Duration::from_millis(50));
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Nothing of this is a request, and the client never ends its side.
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    // The other side is closed too: what is sent now is refused.
    while stream.write_all(b"more").await.is_ok() {
        tokio::task::yield_now().await;
    }
}
