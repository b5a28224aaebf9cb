//! Bytes, without HTTP.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http1;
use crate::config::request::Bytes;
use crate::message::{Kind, messages, quoted};

pub(super) async fn bytes(bytes: &Bytes, proxy: SocketAddr) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    talk(&mut stream, &bytes.bytes, bytes.close).await
}

/// What comes back for each text; `close`: then to the end.
pub(super) async fn talk(stream: &mut TcpStream, texts: &[String], close: bool) -> String {
    let mut lines = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    for text in texts {
        if stream.write_all(text.as_bytes()).await.is_err() {
            lines.push("  (closed)".into());
            break;
        }
        match stream.read(&mut buffer).await {
            Ok(0) => {
                lines.push("  (end)".to_owned());
                break;
            }
            Ok(read) => lines.push(format!("  {}", told(&buffer[..read]))),
            Err(_) => {
                lines.push("  (reset)".into());
                break;
            }
        }
    }
    if close {
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest).await;
        if !rest.is_empty() {
            lines.push(format!("  {}", told(&rest)));
        }
        lines.push(if ended.is_ok() { "  (end)" } else { "  (reset)" }.to_owned());
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
