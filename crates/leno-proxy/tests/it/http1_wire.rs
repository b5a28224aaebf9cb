//! HTTP/1 on connections that behave as connections do: in pieces, early, late, half closed, or not at all.

use std::time::Duration;

use leno_engine::flags::Flag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Client, Harness, http_chain, http1_server, listener, manager, ok, read_message, tcp_server,
};

#[tokio::test]
async fn a_message_may_come_byte_by_byte() {
    let upstream = tcp_server(|mut stream, _| async move {
        while let Some(request) = read_message(&mut stream).await {
            assert_eq!(request.body(), "abc");
            let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n";
            for byte in answer {
                stream.write_all(&[*byte]).await.unwrap();
            }
        }
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client.0.set_nodelay(true).unwrap();
    for _ in 0..2 {
        let request =
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n";
        for byte in request.as_bytes() {
            client.0.write_all(&[*byte]).await.unwrap();
        }
        assert_eq!(client.receive().await.body(), "xy");
    }
}

#[tokio::test]
async fn an_answer_before_the_request_has_ended_is_the_last() {
    let upstream = tcp_server(|mut stream, _| async move {
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        let answer = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n12345")
        .await;
    let answer = client.receive().await;
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (413, Some("close"))
    );
    assert!(client.is_closed().await);
}

/// A client that reads only when it has sent everything, and an upstream that answers as it reads: neither may wait
/// for the other's turn.
#[tokio::test]
async fn a_request_goes_on_while_nobody_reads_its_answer() {
    const TOTAL: usize = 48 * 1024 * 1024;
    let upstream = tcp_server(|mut stream, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let reading = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        assert_eq!(reading.unwrap(), TOTAL as u64);
        to.write_all(&vec![7; TOTAL]).await.unwrap();
    });
    let (_harness, address) = Harness::http(&[upstream.await]);
    let mut client = Client::connect(address).await;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {TOTAL}\r\n\r\n");
    client.send(&head).await;
    let body = vec![1; TOTAL];
    let sending = client.0.write_all(&body);
    tokio::time::timeout(Duration::from_secs(30), sending)
        .await
        .unwrap()
        .unwrap();
}

/// The end of the connection is there before the last of the body is read.
#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole() {
    let upstream = tcp_server(|mut stream, number| async move {
        read_message(&mut stream).await.unwrap();
        let body = vec![b'x'; 1 + number * 300_000];
        let answer = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &body].concat();
        stream.write_all(&answer).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    for number in 0..6 {
        assert_eq!(client.get("/").await.body.len(), 1 + number * 300_000);
    }
}

#[tokio::test]
async fn a_connection_with_bytes_behind_its_response_is_not_used_again() {
    let upstream = tcp_server(|mut stream, number| async move {
        while read_message(&mut stream).await.is_some() {
            let answer = [ok(&number.to_string()), b"HTTP/1.1 200 OK\r\n".to_vec()].concat();
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    for number in ["0", "1", "2"] {
        assert_eq!(client.get("/").await.body(), number);
    }
}

#[tokio::test]
async fn what_follows_a_request_and_is_none_is_answered_after_it() {
    let upstream = http1_server(|_, _| ok("first")).await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\nBAD\r\n\r\n").await;
    assert_eq!(client.receive().await.body(), "first");
    assert_eq!(client.receive().await.status(), 400);
    assert!(client.is_closed().await);
    assert_eq!(harness.records.request(1).await.details, "http1.codec_error");
}

/// Envoy: 400 to a body that breaks off in what is no chunk, if nothing has been answered yet.
#[tokio::test]
async fn a_malformed_body_is_answered_and_its_upstream_not_blamed() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.receive().await.status(), 400);
    let record = harness.records.request(0).await;
    assert_eq!(record.details, "http1.codec_error");
    assert!(record.flags.contains(Flag::DownstreamProtocolError), "{record:?}");
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_answered_with_408() {
    let upstream = http1_server(|_, _| ok("")).await;
    let harness = Harness::start();
    let mut manager = manager("routes");
    manager.timeouts.request_headers = Some(Duration::from_millis(50));
    let address = harness.serve(listener("http", http_chain(manager)), &[upstream]);
    let mut idle = Client::connect(address).await;
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost:").await;
    assert_eq!(client.receive().await.status(), 408);
    assert_eq!(harness.records.request(0).await.details, "request_header_timeout");
    // The time of a head begins with its first byte.
    assert_eq!(idle.get("/").await.status(), 200);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let upstream = tcp_server(|mut stream, _| async move {
        while let Some(request) = read_message(&mut stream).await {
            let answer: &[u8] = match request.head.split(' ').nth(1) {
                Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                Some("/head") => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let (_harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    for (request, status) in [("GET /204", "204"), ("GET /304", "304"), ("HEAD /head", "200")] {
        client
            .send(&format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
        assert_eq!(client.get("/").await.body(), "ok");
    }
}
