//! HTTP/1.1.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Told, raw, shown};
use crate::config::request::Request;
use crate::message::{Framing, Kind, Message, messages, quoted};

pub(super) async fn exchange<S>(request: &Request, mut stream: S) -> Told
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut received = Vec::new();
    // The proxy may have seen enough before all is written.
    let _ = stream.write_all(request.bytes().as_bytes()).await;
    let kind = Kind::Responses {
        head: request.send.starts_with("HEAD "),
    };
    let mut buffer = vec![0; 16 * 1024];
    // Envoy waits for its client before it closes: what is whole is enough.
    while !is_whole(&received, kind, !request.then.is_empty()) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
        }
    }
    let (found, rest) = messages(&received, kind);
    let mut lines: Vec<String> = found.iter().map(told).collect();
    if !rest.is_empty() {
        lines.push(quoted(rest));
    }
    if found
        .last()
        .is_some_and(|last| last.body.framing == Framing::Rest)
        && !request.then.is_empty()
    {
        lines.push(raw::talk(&mut stream, &request.then, false).await);
    }
    let last = found.last();
    Told {
        status: last.map_or(0, Message::status),
        backend: last.and_then(|last| last.header("x-backend")).map(str::to_owned),
        text: match lines.is_empty() {
            true => "closed".into(),
            false => lines.join("\n"),
        },
    }
}

fn is_whole(received: &[u8], kind: Kind, tunnel: bool) -> bool {
    let (found, _) = messages(received, kind);
    let ends = |message: &Message| message.complete && (tunnel || message.body.framing != Framing::Rest);
    // What is not final is followed by what is.
    let is_final = |message: &Message| !matches!(message.status(), 100 | 102..200);
    found.last().is_some_and(|last| ends(last) && is_final(last))
}

pub(super) fn told(message: &Message) -> String {
    let headers = message.head[1..].to_vec();
    let mut text = shown(
        message.first_line(),
        headers,
        &message.body.bytes,
        &message.body.trailers,
    );
    if !message.complete {
        text += "\n  (cut off)";
    }
    text
}
