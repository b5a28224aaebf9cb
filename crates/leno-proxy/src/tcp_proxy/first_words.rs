//! What a client says before its upstream is connected (`ON_DOWNSTREAM_DATA`).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};
use leno_engine::compile::listener::TcpProxy;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Outcome, judge};
use crate::connection::Connection;
use crate::drain::CutBy;
use crate::ending::Lifetime;
use crate::io::Io;
use crate::tcp::Why;
use crate::worker::Worker;

/// Waits until the client has spoken; what it said.
pub(super) async fn first_words(
    worker: &Worker,
    downstream: &Connection,
    tcp: &TcpProxy,
    io: &mut Io,
    most: usize,
) -> Result<Bytes, Outcome> {
    let lifetime = Lifetime {
        idle: None,
        most: None,
        patient: true,
        upstream: None,
        guard: None,
        shown: None,
        upstream_shown: None,
    };
    let ending = worker.ending(&downstream.drain, lifetime);
    let mut words = BytesMut::new();
    let reading = poll_fn(|cx| match ending.poll_close_now(cx) {
        Poll::Ready(()) => Poll::Ready(Err(Why::Cut)),
        Poll::Pending => {
            let mut space = [0; 4096];
            let room = most.min(space.len());
            let mut buf = ReadBuf::new(&mut space[..room]);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)).map_err(Why::Downstream)?;
            words.extend_from_slice(buf.filled());
            Poll::Ready(Ok(()))
        }
    });
    let read = match tcp.idle_timeout {
        None => reading.await,
        Some(idle) => tokio::time::timeout(idle, reading)
            .await
            .unwrap_or(Err(Why::Idle)),
    };
    let why = match read {
        Ok(()) if !words.is_empty() => return Ok(words.freeze()),
        Ok(()) => Why::Finished {
            downstream_first: true,
        },
        Err(why) => why,
    };
    let (flags, details) = judge(&why, ending.cut_by().map(CutBy::details));
    Err(Outcome {
        flags,
        details,
        ..Outcome::default()
    })
}
