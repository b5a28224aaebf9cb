//! The backends `a`, `b` and `c`: each answers with what it got and who it is.

use std::net::SocketAddr;

use leno_proto_text::Schema;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::message::{Kind, Message, first};

use super::case::socket;

const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) struct Backends {
    addresses: Vec<(&'static str, SocketAddr)>,
    /// Dear to load.
    pub(crate) schema: Schema,
}

impl Backends {
    pub(crate) async fn start() -> Self {
        let mut all = Vec::new();
        for name in NAMES {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            all.push((name, listener.local_addr().unwrap()));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, name));
                }
            });
        }
        Self {
            addresses: all,
            schema: Schema::load(),
        }
    }

    pub(crate) fn clusters(&self) -> Vec<Value> {
        let cluster = |(name, address): &(&str, SocketAddr)| {
            let endpoint =
                json!({"address": socket(*address), "hostname": format!("{name}.backend.example")});
            json!({
                "name": name, "connect_timeout": "5s",
                "load_assignment": {
                    "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                },
            })
        };
        self.addresses.iter().map(cluster).collect()
    }
}

/// The status that `x-answer` asks for, else 200; one request after the other.
async fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
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
            let answer = answer(&message, name);
            pending = rest.to_vec();
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

fn answer(message: &Message, name: &str) -> String {
    let body = format!("{name} gets {}", message.head.join(" | "));
    let status = message.header("x-answer").unwrap_or("200");
    format!(
        "HTTP/1.1 {status} Said\r\nx-backend: {name}\r\nx-twice: 1\r\nx-twice: 2\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
