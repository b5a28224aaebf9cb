//! What is kept for one stream between the connection's task and the stream's own.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use leno_engine::message::{Headers, ResponseHead};
use leno_telemetry::record::WireBytes;

use crate::codec::Counter;
use crate::outcome::StreamError;

/// A chunk of a body up to this size joins the one before it: the fewer pieces, the fewer allocations and polls.
const JOINED: usize = 1024;
/// What joined chunks may come to.
const CHUNK: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// A response's, and the length that it gives its body.
    pub(super) head: Option<(ResponseHead, Option<u64>)>,
    pub(super) body: Chunks,
    pub(super) trailers: Option<Headers>,
    /// Everything has been received.
    pub(super) ended: bool,
    /// It is over before its end.
    pub(super) error: Option<StreamError>,
    /// Nobody wants more of its body.
    pub(super) unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Those who still have to let go of it.
    pub(super) holders: u8,
    pub(super) counter: Counter,
    /// What it has been told.
    pub(super) counted: WireBytes,
}

/// Bytes that wait for their reader.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    whole: VecDeque<Bytes>,
    last: BytesMut,
    length: usize,
}

// === impl Stream ===

impl Stream {
    pub(super) fn wait_to_read(&mut self, cx: &Context<'_>) {
        wait(&mut self.reader, cx);
    }

    pub(super) fn wait_to_write(&mut self, cx: &Context<'_>) {
        wait(&mut self.writer, cx);
    }

    pub(super) fn reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    pub(super) fn writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }
}

fn wait(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *waker = Some(cx.waker().clone()),
    }
}

// === impl Chunks ===

impl Chunks {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn pieces(&self) -> usize {
        self.whole.len() + usize::from(!self.last.is_empty())
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        self.length += data.len();
        if data.len() <= JOINED && self.last.len() + data.len() <= CHUNK {
            self.last.extend_from_slice(data);
            return;
        }
        self.seal();
        self.whole.push_back(Bytes::copy_from_slice(data));
    }

    fn seal(&mut self) {
        if !self.last.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.last).freeze());
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let chunk = match self.whole.pop_front() {
            Some(chunk) => chunk,
            None if self.last.is_empty() => return None,
            None => std::mem::take(&mut self.last).freeze(),
        };
        self.length -= chunk.len();
        Some(chunk)
    }

    /// Drops everything; how many bytes that was.
    pub(super) fn discard(&mut self) -> usize {
        std::mem::take(self).length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_out_in_order_and_small_ones_together() {
        let mut chunks = Chunks::default();
        let large = vec![1; JOINED + 1];
        for data in [&b"a"[..], b"b", &large, b"c", b"d"] {
            chunks.push(data);
        }
        assert_eq!(chunks.length, 4 + large.len());
        assert_eq!(chunks.pop().unwrap(), "ab");
        assert_eq!(chunks.pop().unwrap(), large);
        assert_eq!(chunks.pop().unwrap(), "cd");
        assert!(chunks.pop().is_none() && chunks.is_empty());
    }
}
