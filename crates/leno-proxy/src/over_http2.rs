//! Tunnels of clients that speak HTTP/2: what goes through one is the body of the request and the body of its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use crate::codec::{Body, Frame, Source, Upgraded};
use crate::outcome::StreamError;

/// Bytes of one read.
const CHUNK: usize = 16 * 1024;

/// What the upstream says; `client` says the rest to it, in a task of its own.
pub(crate) fn through(upgraded: Upgraded, client: Body) -> Body {
    let (from, to) = tokio::io::split(upgraded);
    tokio::task::spawn_local(send(client, to));
    Body::stream(Said(from))
}

async fn send(mut body: Body, mut to: WriteHalf<Upgraded>) {
    loop {
        let sent = match body.frame().await {
            Some(Ok(Frame::Data(data))) => to.write_all(&data).await,
            Some(Ok(Frame::Trailers(_))) => Ok(()),
            // A client that has gone takes its answer with it, and that the connection.
            Some(Err(_)) => return,
            None => {
                let _ = to.shutdown().await;
                return;
            }
        };
        if let Err(error) = sent {
            return tracing::debug!(%error, "tunnel");
        }
    }
}

#[derive(Debug)]
struct Said(ReadHalf<Upgraded>);

impl Source for Said {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut buffer = ReadBuf::uninit(chunk.spare_capacity_mut());
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer));
        let read = read.map(|()| Bytes::copy_from_slice(buffer.filled()));
        Poll::Ready(match read {
            Ok(data) if data.is_empty() => None,
            Ok(data) => Some(Ok(Frame::Data(data))),
            Err(_) => Some(Err(StreamError::Closed)),
        })
    }
}
