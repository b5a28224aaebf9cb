//! One case against one proxy.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::case::{Case, End, MARK, SENTINEL};
use super::outcome::{Ended, outcome};
use super::upstream::Upstream;

/// Nothing takes that long; what does is shown as stuck.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn exchange(case: &Case, upstream: &Upstream, proxy: SocketAddr) -> String {
    let stream = TcpStream::connect(proxy).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let (begun, answered) = watch::channel(false);
    let write = async {
        // A proxy that has seen enough may be gone before all is written.
        let _ = writing.write_all(&case.request).await;
        match case.end {
            End::Sentinel => {
                let _ = writing.write_all(SENTINEL.as_bytes()).await;
                // The writing half is kept: to close it would say more than the bytes do.
                return Some(writing);
            }
            End::Close => {}
            End::CloseOnceForwarded => upstream.has_head().await,
            End::CloseOnceAnswered => {
                let _ = answered.clone().wait_for(|answered| *answered).await;
            }
        }
        let _ = writing.shutdown().await;
        Some(writing)
    };
    let mut received = Vec::new();
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reading.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ended::Closed,
                Ok(read) => received.extend_from_slice(&buffer[..read]),
            }
            let _ = begun.send(true);
            if received.ends_with(MARK.as_bytes()) {
                return Ended::Open;
            }
        }
    };
    let both = async {
        tokio::pin!(write, read);
        tokio::select! {
            ended = &mut read => ended,
            _kept = &mut write => read.await,
        }
    };
    let ended = tokio::time::timeout(PATIENCE, both).await.unwrap_or(Ended::Stuck);
    outcome(case, &received, ended, &upstream.received())
}
