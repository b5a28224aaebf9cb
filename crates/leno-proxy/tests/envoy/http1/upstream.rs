//! The upstream of one case: records every byte, answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::case::{Answer, MARK};
use crate::message::{Kind, first};

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Received>>>,
    heads: watch::Receiver<usize>,
}

/// What came on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (seen, heads) = watch::channel(0);
        let all = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Received::default());
                    all.len() - 1
                };
                let all = Arc::clone(&all);
                let record = move |bytes: &[u8]| all.lock().unwrap()[number].bytes.extend_from_slice(bytes);
                tokio::spawn(serve(stream, answer.clone(), record, seen.clone()));
            }
        });
        Self {
            address,
            connections,
            heads,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.connections.lock().unwrap().clone()
    }

    /// Waits until a request's head has come.
    pub(crate) async fn has_head(&self) {
        self.heads.clone().wait_for(|heads| *heads > 0).await.unwrap();
    }
}

/// The connection's end, however it comes, is the end of this.
async fn serve(
    mut stream: TcpStream,
    answer: Answer,
    record: impl Fn(&[u8]),
    heads: watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut pending = Vec::new();
    let mut answered_early = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        record(&buffer[..read]);
        pending.extend_from_slice(&buffer[..read]);
        while let Some((message, rest)) = first(&pending, Kind::Requests, false) {
            heads.send_modify(|heads| *heads += 1);
            let sentinel = message.first_line().contains(" /sentinel ");
            if answer.early && !sentinel && !answered_early {
                answered_early = true;
                stream.write_all(&answer.bytes).await?;
                if answer.close {
                    return Ok(());
                }
            }
            if !message.complete {
                break;
            }
            pending = rest.to_vec();
            if sentinel {
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{MARK}", MARK.len());
                stream.write_all(text.as_bytes()).await?;
            } else if !std::mem::take(&mut answered_early) {
                stream.write_all(&answer.bytes).await?;
                if answer.close {
                    return Ok(());
                }
            }
        }
    }
}
