//! Copying between two connections, with half-closes as they come.
//!
//! A worker has one large scratch buffer: bulk transfers need large reads (64 KiB cost up to twice the CPU of
//! 256 KiB), idle connections need none. A connection keeps bytes of its own only while its receiver is slow.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::idle::Watch;
use crate::seldom::Seldom;

/// Bytes of one read.
const SCRATCH: usize = 256 * 1024;
/// Reads of one direction before the worker's other connections have their turn.
const READS: u32 = 4;

/// A worker's buffer, lent for the time of one poll.
#[derive(Clone)]
pub(crate) struct Scratch {
    buffer: Rc<RefCell<Box<[u8]>>>,
    /// Bytes of one read, which is also what is held for a slow receiver.
    most: usize,
}

/// How a pair of connections ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Bytes from downstream.
    pub(crate) received: u64,
    /// Bytes to downstream.
    pub(crate) sent: u64,
    pub(crate) why: Why,
}

#[derive(Debug)]
pub(crate) enum Why {
    /// Both directions came to their end. True: downstream ended first.
    Finished {
        downstream_first: bool,
    },
    Downstream(io::Error),
    Upstream(io::Error),
    Idle,
    /// By its proxy.
    Cut,
}

/// One direction.
#[derive(Default)]
struct Half {
    pending: Vec<u8>,
    written: usize,
    bytes: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Reading,
    Unflushed,
    Closing,
    Done,
}

/// Which end failed.
enum Failed {
    Read(io::Error),
    Write(io::Error),
}

/// Copies until both directions have ended, one end fails, `idle` expires, or `cut` comes.
pub(crate) async fn copy_both<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    idle: Option<&Watch>,
    scratch: &Scratch,
    cut: impl Future<Output = ()>,
) -> Ended
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Half::default();
    let mut response = Half::default();
    let mut downstream_first = false;
    let mut end = std::pin::pin!(async {
        let expired = std::future::poll_fn(|cx| match idle {
            Some(watch) => watch.poll_expired(cx),
            None => Poll::Pending,
        });
        tokio::select! {
            biased;
            () = cut => Why::Cut,
            _ = expired => Why::Idle,
        }
    });
    let mut end = Seldom::new(end.as_mut());
    let why = std::future::poll_fn(|cx| {
        if let Poll::Ready(why) = end.poll(cx) {
            return Poll::Ready(why);
        }
        let before = request.bytes + response.bytes;
        let there = request.poll(downstream, upstream, scratch, cx);
        if let Poll::Ready(Err(failed)) = there {
            return Poll::Ready(match failed {
                Failed::Read(e) => Why::Downstream(e),
                Failed::Write(e) => Why::Upstream(e),
            });
        }
        downstream_first |= request.phase >= Phase::Closing && response.phase < Phase::Closing;
        let back = response.poll(upstream, downstream, scratch, cx);
        if let Poll::Ready(Err(failed)) = back {
            return Poll::Ready(match failed {
                Failed::Read(e) => Why::Upstream(e),
                Failed::Write(e) => Why::Downstream(e),
            });
        }
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Why::Finished { downstream_first });
        }
        if let Some(watch) = idle
            && request.bytes + response.bytes != before
        {
            watch.moved();
        }
        Poll::Pending
    })
    .await;
    Ended {
        received: request.bytes,
        sent: response.bytes,
        why,
    }
}

// === impl Half ===

impl Half {
    fn poll<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut reads = 0;
        loop {
            ready!(self.write_pending(to, cx))?;
            match self.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                Phase::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Failed::Write)?;
                    self.phase = Phase::Done;
                }
                Phase::Reading | Phase::Unflushed if reads == READS => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Phase::Reading | Phase::Unflushed => match self.read(from, to, scratch, cx)? {
                    Poll::Ready(()) => reads += 1,
                    Poll::Pending => {
                        if self.phase == Phase::Unflushed {
                            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failed::Write)?;
                            self.phase = Phase::Reading;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// One read and, while the bytes are in the shared buffer, one write.
    fn read<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Failed>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = scratch.buffer.borrow_mut();
        let mut buf = ReadBuf::new(buffer.get_mut(..scratch.most).unwrap_or_default());
        match Pin::new(from).poll_read(cx, &mut buf) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(e)) => return Err(Failed::Read(e)),
            Poll::Ready(Ok(())) => {}
        }
        let read = buf.filled();
        if read.is_empty() {
            self.phase = Phase::Closing;
            return Ok(Poll::Ready(()));
        }
        self.bytes += read.len() as u64;
        self.phase = Phase::Unflushed;
        let written = match Pin::new(to).poll_write(cx, read) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(e)) => return Err(Failed::Write(e)),
            Poll::Pending => 0,
        };
        self.pending
            .extend_from_slice(read.get(written..).unwrap_or_default());
        Ok(Poll::Ready(()))
    }

    fn write_pending<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        while self.written < self.pending.len() {
            let rest = self.pending.get(self.written..).unwrap_or_default();
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(Failed::Write)?;
            if written == 0 {
                return Poll::Ready(Err(Failed::Write(io::ErrorKind::WriteZero.into())));
            }
            self.written += written;
        }
        if self.written > 0 {
            self.pending = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl PartialOrd for Phase {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

// === impl Scratch ===

impl Scratch {
    /// The same buffer, for a connection that may not hold more than this many bytes.
    pub(crate) fn at_most(&self, limit: Option<u32>) -> Self {
        let limit = limit.map_or(self.most, |limit| limit.max(1) as usize);
        Self {
            buffer: Rc::clone(&self.buffer),
            most: self.most.min(limit),
        }
    }

    /// Lends the buffer for the time of a call.
    pub(crate) fn lend<R>(&self, borrow: impl FnOnce(&mut [u8]) -> R) -> R {
        borrow(&mut self.buffer.borrow_mut())
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            buffer: Rc::new(RefCell::new(vec![0; SCRATCH].into_boxed_slice())),
            most: SCRATCH,
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::idle::{Limits, Streams};

    #[tokio::test]
    async fn a_half_close_lets_the_other_direction_go_on() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, mut server) = duplex(64);
        let scratch = Scratch::default();
        let copy = copy_both(
            &mut downstream,
            &mut upstream,
            None,
            &scratch,
            std::future::pending(),
        );
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = String::new();
            server.read_to_string(&mut asked).await.unwrap();
            assert_eq!(asked, "question");
            // More than the pipe holds: what does not fit waits without loss.
            let writer = async {
                server.write_all(&[7; 1000]).await.unwrap();
                server.shutdown().await.unwrap();
            };
            let mut answer = Vec::new();
            let (read, ()) = tokio::join!(client.read_to_end(&mut answer), writer);
            assert_eq!(read.unwrap(), 1000);
        };
        let (ended, ()) = tokio::join!(copy, talk);
        assert!(matches!(
            ended.why,
            Why::Finished {
                downstream_first: true
            }
        ));
        assert_eq!((ended.received, ended.sent), (8, 1000));
    }

    #[tokio::test]
    async fn nothing_moving_for_the_idle_time_ends_it() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, mut server) = duplex(64);
        let scratch = Scratch::default();
        let (begin, minute) = (Instant::now(), Duration::from_secs(60));
        let streams = Streams::default();
        let watch = Rc::new(Watch::new(
            begin,
            Limits {
                idle: Some(minute),
                ..Limits::default()
            },
        ));
        streams.add(&watch);
        let copy = copy_both(
            &mut downstream,
            &mut upstream,
            Some(&watch),
            &scratch,
            std::future::pending(),
        );
        let mut copy = std::pin::pin!(copy);
        let talk = async {
            client.write_all(b"!").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        };
        tokio::select! {
            ended = copy.as_mut() => panic!("{ended:?}"),
            () = talk => {}
        }
        streams.sweep(begin + minute);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(copy.as_mut().poll(&mut cx).is_pending(), "it has moved");
        streams.sweep(begin + minute * 2);
        assert!(matches!(copy.await.why, Why::Idle));
    }
}
