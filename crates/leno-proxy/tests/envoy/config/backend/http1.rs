//! HTTP/1.1, one request after the other; an upgrade or CONNECT becomes an echo.

use std::fmt::Write;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::script::{Answer, What};
use super::{Told, echo, tunnel_name};
use crate::message::{Kind, Message, first, quoted};

pub(super) async fn serve(mut stream: TcpStream, name: &str, told: Arc<Told>) -> std::io::Result<()> {
    let mut pending = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&buffer[..read]);
        while let Some((message, rest)) = first(&pending, Kind::Requests, false) {
            if !message.complete {
                break;
            }
            let answer = Answer::of(&told, |name| message.header(name)).await;
            if is_tunnel(&message) && matches!(answer.what, What::Status(200)) {
                let accepted = accepted(&message, name);
                stream.write_all(accepted.as_bytes()).await?;
                let name = tunnel_name(name, &message.head, message.header("x-tell").is_some());
                return echo(stream, &name).await;
            }
            pending = rest.to_vec();
            if !give(&mut stream, &message, name, &answer).await? {
                return Ok(());
            }
        }
    }
}

fn is_tunnel(message: &Message) -> bool {
    message.header("upgrade").is_some() || message.first_line().starts_with("CONNECT ")
}

fn accepted(message: &Message, name: &str) -> String {
    let got = message.first_line();
    match message.header("upgrade") {
        Some(protocol) => format!(
            "HTTP/1.1 101 Switching Protocols\r\nx-backend: {name}\r\nx-got: {got}\r\n\
             connection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        ),
        None => format!("HTTP/1.1 200 OK\r\nx-backend: {name}\r\nx-got: {got}\r\n\r\n"),
    }
}

/// Whether the connection goes on.
async fn give(
    stream: &mut TcpStream,
    message: &Message,
    name: &str,
    answer: &Answer,
) -> std::io::Result<bool> {
    let status = match answer.what {
        What::Status(status) => status,
        What::Half => 200,
        What::Reset | What::Refuse => {
            socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO))?;
            return Ok(false);
        }
        What::Never => {
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).await? > 0 {}
            return Ok(false);
        }
    };
    let mut came = message.head.clone();
    if !message.body.bytes.is_empty() {
        came.push(format!("(body): {}", quoted(&message.body.bytes)));
    }
    came.extend(
        message
            .body
            .trailers
            .iter()
            .map(|trailer| format!("(trailer) {trailer}")),
    );
    let body = answer.body(name, &came);
    let mut text = format!("HTTP/1.1 {status} Said\r\nx-backend: {name}\r\nx-twice: 1\r\nx-twice: 2\r\n");
    for (name, value) in &answer.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if answer.trailers.is_empty() {
        let _ = write!(text, "content-length: {}\r\n\r\n", body.len());
        if !message.first_line().starts_with("HEAD ") {
            text += &body;
        }
    } else {
        let _ = write!(
            text,
            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n",
            body.len()
        );
        for (name, value) in &answer.trailers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text += "\r\n";
    }
    if answer.what == What::Half {
        text.truncate(text.len() - body.len() / 2);
        stream.write_all(text.as_bytes()).await?;
        return Ok(false);
    }
    stream.write_all(text.as_bytes()).await?;
    Ok(true)
}
