//! Heads, extensions and trailers without an end are refused at their limits: a status where there can be one, a
//! close, and no more bytes taken than that needs.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Harness, http1_server, ok, tcp_server};

const MIB: usize = 1024 * 1024;
/// The limits are 60 KiB; 4 MiB more are read and forgotten, so that a client that still writes sees its answer; the
/// rest is what sockets hold, which the kernel lets grow for a reader that was quick until then.
const BOUND: usize = 12 * MIB;
const SMALL: usize = 64 * 1024;
const PLENTY: usize = 64 * MIB;

/// Writes `start` and then `part` again and again; what was taken of it before the proxy had enough, and its answer.
async fn flood(address: SocketAddr, start: &str, part: &str) -> (usize, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    SockRef::from(&stream).set_send_buffer_size(SMALL).unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let parts = part.repeat(SMALL / part.len());
    let write = async {
        let mut taken = 0;
        let mut next = start.as_bytes();
        while taken < PLENTY {
            match writing.write(next).await {
                Ok(written) if written > 0 => taken += written,
                _ => break,
            }
            next = parts.as_bytes();
        }
        (taken, writing)
    };
    let read = async move {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = reading.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let both = async { tokio::join!(write, read) };
    let ((taken, _open), answer) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap_or_else(|_| panic!("neither an answer nor a close to {start:?} {part:?}"));
    (taken, answer)
}

#[tokio::test]
async fn requests_without_an_end() {
    let upstream = http1_server(|_, _| ok("")).await;
    let (_harness, address) = Harness::http(&[upstream]);
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, start, part) in [
        ("path", "GET /".to_owned(), "a"),
        ("method", "A".to_owned(), "A"),
        ("header name", "GET / HTTP/1.1\r\n".to_owned(), "a"),
        ("header value", "GET / HTTP/1.1\r\nhost: a\r\nx: ".to_owned(), "a"),
        ("headers", "GET / HTTP/1.1\r\nhost: a\r\n".to_owned(), "x: 1\r\n"),
        (
            "folded header",
            "GET / HTTP/1.1\r\nhost: a\r\nx: 1".to_owned(),
            "\r\n a",
        ),
        ("trailers", format!("{chunked}0\r\n"), "x: 1\r\n"),
        ("trailer", format!("{chunked}0\r\nx: "), "a"),
        ("zeros of a chunk size", chunked.to_owned(), "0"),
        ("chunk extension", format!("{chunked}1;"), "a"),
    ] {
        let (taken, answer) = flood(address, &start, part).await;
        assert!(
            answer.starts_with("HTTP/1.1 431 "),
            "{what}: {taken} bytes, {answer:?}"
        );
        assert!(taken < BOUND, "{what}: {taken} bytes were taken");
    }
}

#[tokio::test]
async fn responses_without_an_end() {
    for (what, start, part) in [
        ("reason", "HTTP/1.1 200 ", "a"),
        ("header value", "HTTP/1.1 200 OK\r\nx: ", "a"),
        ("headers", "HTTP/1.1 200 OK\r\n", "x: 1\r\n"),
        ("interim responses", "", "HTTP/1.1 102 Processing\r\n\r\n"),
    ] {
        let (taken, mut told) = tokio::sync::mpsc::unbounded_channel();
        let upstream = tcp_server(move |mut stream, _| {
            let taken = taken.clone();
            async move {
                SockRef::from(&stream).set_send_buffer_size(SMALL).unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let parts = part.repeat(SMALL / part.len());
                let mut written = start.len();
                let mut open = stream.write_all(start.as_bytes()).await.is_ok();
                while open && written < PLENTY {
                    open = stream.write_all(parts.as_bytes()).await.is_ok();
                    written += parts.len();
                }
                let _ = taken.send(written);
            }
        })
        .await;
        let (_harness, address) = Harness::http(&[upstream]);
        let mut client = crate::support::Client::connect(address).await;
        let answer = client.get("/").await;
        assert_eq!(answer.status(), 502, "{what}");
        let taken = told.recv().await.unwrap();
        assert!(taken < BOUND, "{what}: {taken} bytes were taken");
    }
}
