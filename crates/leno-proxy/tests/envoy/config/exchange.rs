//! The requests of one case against one proxy, each on a connection of its own.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::case::{Case, Request};
use crate::message::{Framing, Kind, Message, messages, quoted};

/// Nothing takes that long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Differ from run to run.
const VARIABLE: [&str; 3] = ["date", "x-envoy-upstream-service-time", "content-length"];

pub(crate) async fn all(case: &Case, proxy: SocketAddr) -> String {
    let mut text = String::new();
    for request in case.requests() {
        let answer = tokio::time::timeout(PATIENCE, one(request, proxy)).await;
        let answer = answer.unwrap_or_else(|_| "STUCK".into());
        let _ = writeln!(text, "> {}\n{answer}", request.shown());
    }
    text
}

async fn one(request: &Request, proxy: SocketAddr) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let mut received = Vec::new();
    let head = request.shown().starts_with("HEAD ");
    // The proxy may have seen enough before all is written.
    let _ = stream.write_all(request.bytes().as_bytes()).await;
    let kind = Kind::Responses { head };
    let mut buffer = vec![0; 16 * 1024];
    // Envoy waits for its client before it closes: what is whole is enough.
    while !is_whole(&received, kind) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
        }
    }
    let (found, rest) = messages(&received, kind);
    let mut lines: Vec<String> = found.iter().map(shown).collect();
    if !rest.is_empty() {
        lines.push(quoted(rest));
    }
    lines.join("\n")
}

fn is_whole(received: &[u8], kind: Kind) -> bool {
    let (found, _) = messages(received, kind);
    let ends = |message: &Message| message.complete && message.body.framing != Framing::Rest;
    found.last().is_some_and(ends)
}

/// Headers in the order of their names: theirs among each other is kept.
fn shown(message: &Message) -> String {
    let is_variable = |line: &&String| {
        let name = line.split(':').next().unwrap_or_default();
        VARIABLE
            .iter()
            .any(|variable| variable.eq_ignore_ascii_case(name))
    };
    let mut headers: Vec<&String> = message
        .head
        .iter()
        .skip(1)
        .filter(|line| !is_variable(line))
        .collect();
    headers.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_ascii_lowercase());
    let mut text = message.first_line().to_owned();
    for header in headers {
        let _ = write!(text, " | {header}");
    }
    if !message.body.bytes.is_empty() {
        let _ = write!(text, "\n  {}", body(message));
    }
    text
}

/// What a backend got is told without what differs from run to run; its headers in the order of their names too.
fn body(message: &Message) -> String {
    let text = String::from_utf8_lossy(&message.body.bytes).into_owned();
    let mut parts = text.split(" | ");
    let first = parts.next().unwrap_or_default().to_owned();
    if !first.contains(" gets ") {
        return quoted(&message.body.bytes);
    }
    let mut headers: Vec<&str> = parts.collect();
    headers.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_ascii_lowercase());
    [first.as_str()]
        .into_iter()
        .chain(headers)
        .collect::<Vec<_>>()
        .join(" | ")
}
