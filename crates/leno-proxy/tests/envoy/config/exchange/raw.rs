//! Bytes, without HTTP.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http1;
use crate::config::request::Bytes;
use crate::message::{Kind, messages, quoted};

pub(super) async fn bytes(bytes: &Bytes, proxy: SocketAddr) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    talk(&mut stream, &bytes.bytes, bytes.close).await
}

/// What comes back for each text; `close`: then to the end. How a connection ends that never said anything depends on
/// who was faster.
pub(super) async fn talk<S>(stream: &mut S, texts: &[String], close: bool) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut lines = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut ended = None;
    for text in texts {
        if stream.write_all(text.as_bytes()).await.is_err() {
            ended = Some("(reset)");
            break;
        }
        match stream.read(&mut buffer).await {
            Ok(0) => ended = Some("(end)"),
            Ok(read) => lines.push(format!("  {}", told(&buffer[..read]))),
            Err(_) => ended = Some("(reset)"),
        }
        if ended.is_some() {
            break;
        }
    }
    if close && ended.is_none() {
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).await;
        if !rest.is_empty() {
            lines.push(format!("  {}", told(&rest)));
        }
        ended = Some(if end.is_ok() { "(end)" } else { "(reset)" });
    }
    match ended {
        Some(_) if lines.is_empty() => return "  (closed)".into(),
        Some(how) => lines.push(format!("  {how}")),
        None => {}
    }
    lines.join("\n")
}

/// An answer of HTTP is told as one.
fn told(bytes: &[u8]) -> String {
    let (found, rest) = messages(bytes, Kind::Responses { head: false });
    match found.is_empty() || !bytes.starts_with(b"HTTP/1.") || !rest.is_empty() {
        true => quoted(bytes),
        false => found.iter().map(http1::told).collect::<Vec<_>>().join("\n"),
    }
}
