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

use tokio::io::ReadBuf;

use crate::ending::Ending;
use crate::idle::Watch;
use crate::io::Carrier;
use crate::splice::{Pipe, Pipes};

/// Bytes of one read.
const SCRATCH: usize = 256 * 1024;
/// Reads of one direction before the worker's other connections have their turn.
const READS: u32 = 4;

/// So many reads in a row of at least so many bytes are bulk; it is over when nothing more comes after a piece of less
/// than [`SMALL`].
const BULK: usize = 64 * 1024;
const BULKS: u8 = 4;
const SMALL: usize = 16 * 1024;

/// A worker's buffer, lent for the time of one poll, and its pipes.
#[derive(Clone)]
pub(crate) struct Scratch {
    shared: Rc<Shared>,
    /// Bytes of one read, which is also what is held for a slow receiver.
    most: usize,
}

struct Shared {
    buffer: RefCell<Box<[u8]>>,
    pipes: Pipes,
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

impl Ended {
    /// The end of the client's connection was the client's doing: it was the last to end its side, or failed.
    pub(crate) fn is_by_downstream(&self) -> bool {
        matches!(
            self.why,
            Why::Downstream(_)
                | Why::Finished {
                    downstream_first: false
                }
        )
    }

    /// The same of the upstream's.
    pub(crate) fn is_by_upstream(&self) -> bool {
        matches!(
            self.why,
            Why::Upstream(_)
                | Why::Finished {
                    downstream_first: true
                }
        )
    }
}

/// One direction.
#[derive(Default)]
struct Half {
    /// While the receiver is slow.
    pending: Option<Box<Pending>>,
    bytes: u64,
    phase: Phase,
    /// Reads of bulk in a row.
    bulks: u8,
    /// For bulk from socket to socket.
    pipe: Option<Box<Splice>>,
}

struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

struct Splice {
    pipe: Pipe,
    last: usize,
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

/// Copies until both directions have ended, one end fails, `idle` expires, or `ending` cuts it off.
pub(crate) fn copy_both<'c, D, U>(
    downstream: &'c mut D,
    upstream: &'c mut U,
    idle: Option<&'c Watch>,
    scratch: &'c Scratch,
    ending: &'c Ending,
) -> Copy<'c, D, U>
where
    D: Carrier,
    U: Carrier,
{
    Copy {
        downstream,
        upstream,
        idle,
        scratch,
        ending,
        request: Half::default(),
        response: Half::default(),
        downstream_first: false,
    }
}

/// By hand, not an `async fn`: that would keep what it is given twice, and most of what an idle connection holds is this.
pub(crate) struct Copy<'c, D, U> {
    downstream: &'c mut D,
    upstream: &'c mut U,
    idle: Option<&'c Watch>,
    scratch: &'c Scratch,
    ending: &'c Ending,
    request: Half,
    response: Half,
    downstream_first: bool,
}

// === impl Copy ===

impl<D: Carrier, U: Carrier> Copy<'_, D, U> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        if self.ending.poll_close_now(cx).is_ready() {
            return Poll::Ready(Why::Cut);
        }
        if self.idle.is_some_and(|watch| watch.poll_expired(cx).is_ready()) {
            return Poll::Ready(Why::Idle);
        }
        let (request, response) = (&mut self.request, &mut self.response);
        let (downstream, upstream) = (&mut *self.downstream, &mut *self.upstream);
        let before = request.bytes + response.bytes;
        let there = request.poll(downstream, upstream, self.scratch, response.is_done(), cx);
        if let Poll::Ready(Err(failed)) = there {
            return Poll::Ready(match failed {
                Failed::Read(e) => Why::Downstream(e),
                Failed::Write(e) => Why::Upstream(e),
            });
        }
        self.downstream_first |= request.phase >= Phase::Closing && response.phase < Phase::Closing;
        let back = response.poll(upstream, downstream, self.scratch, request.is_done(), cx);
        if let Poll::Ready(Err(failed)) = back {
            return Poll::Ready(match failed {
                Failed::Read(e) => Why::Upstream(e),
                Failed::Write(e) => Why::Downstream(e),
            });
        }
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Why::Finished {
                downstream_first: self.downstream_first,
            });
        }
        if let Some(watch) = self.idle
            && request.bytes + response.bytes != before
        {
            watch.pass(request.bytes, response.bytes);
        }
        Poll::Pending
    }
}

impl<D: Carrier, U: Carrier> Future for Copy<'_, D, U> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let why = ready!(self.poll_end(cx));
        Poll::Ready(Ended {
            received: self.request.bytes,
            sent: self.response.bytes,
            why,
        })
    }
}

// === impl Half ===

impl Half {
    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// `last`: the other one is done.
    fn poll<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        scratch: &Scratch,
        last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>>
    where
        R: Carrier,
        W: Carrier,
    {
        let mut reads = 0;
        loop {
            ready!(self.write_pending(to, cx))?;
            match self.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                // A socket is closed now, which tells its peer as much: no system call for that alone.
                Phase::Closing if last && to.socket().is_some() => self.phase = Phase::Done,
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
        R: Carrier,
        W: Carrier,
    {
        if self.pipe.is_some() {
            return self.splice(from, to, cx);
        }
        let mut buffer = scratch.shared.buffer.borrow_mut();
        let mut buf = ReadBuf::new(buffer.get_mut(..scratch.most).unwrap_or_default());
        match Pin::new(&mut *from).poll_read(cx, &mut buf) {
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
        let written = match Pin::new(&mut *to).poll_write(cx, read) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(e)) => return Err(Failed::Write(e)),
            Poll::Pending => 0,
        };
        // Nothing is pending: that is written before the next read.
        if let Some(bytes) = read.get(written..).filter(|rest| !rest.is_empty()) {
            let bytes = bytes.to_vec();
            self.pending = Some(Box::new(Pending { bytes, written: 0 }));
        }
        self.bulks = match read.len() {
            BULK.. => self.bulks + 1,
            _ => 0,
        };
        if self.bulks == BULKS {
            self.bulks = 0;
            let may_splice = scratch.most == SCRATCH && from.socket().is_some() && to.socket().is_some();
            let pipe = may_splice.then(|| scratch.shared.pipes.lend()).flatten();
            self.pipe = pipe.map(|pipe| Box::new(Splice { pipe, last: BULK }));
        }
        Ok(Poll::Ready(()))
    }

    /// One turn of the pipe, which is empty.
    fn splice<R, W>(&mut self, from: &R, to: &W, cx: &mut Context<'_>) -> Result<Poll<()>, Failed>
    where
        R: Carrier,
        W: Carrier,
    {
        let (Some(splice), Some(source), Some(sink)) = (&mut self.pipe, from.socket(), to.socket()) else {
            self.pipe = None;
            return Ok(Poll::Ready(()));
        };
        match splice.pipe.poll_fill(source, cx) {
            Poll::Pending if splice.last < SMALL => {
                self.pipe = None;
                Ok(Poll::Pending)
            }
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(e)) => Err(Failed::Read(e)),
            Poll::Ready(Ok(0)) => {
                self.pipe = None;
                self.phase = Phase::Closing;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Ok(taken)) => {
                self.bytes += taken as u64;
                splice.last = taken;
                // What it does not take now is waited for before the next turn.
                match splice.pipe.poll_drain(sink, cx) {
                    Poll::Ready(Err(e)) => Err(Failed::Write(e)),
                    _ => Ok(Poll::Ready(())),
                }
            }
        }
    }

    fn write_pending<W: Carrier>(&mut self, to: &mut W, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if let Some(splice) = &mut self.pipe
            && !splice.pipe.is_empty()
            && let Some(sink) = to.socket()
        {
            ready!(splice.pipe.poll_drain(sink, cx)).map_err(Failed::Write)?;
        }
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(Ok(()));
        };
        while pending.written < pending.bytes.len() {
            let rest = pending.bytes.get(pending.written..).unwrap_or_default();
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(Failed::Write)?;
            if written == 0 {
                return Poll::Ready(Err(Failed::Write(io::ErrorKind::WriteZero.into())));
            }
            pending.written += written;
        }
        self.pending = None;
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
            shared: Rc::clone(&self.shared),
            most: self.most.min(limit),
        }
    }

    /// Lends the buffer for the time of a call.
    pub(crate) fn lend<R>(&self, borrow: impl FnOnce(&mut [u8]) -> R) -> R {
        borrow(&mut self.shared.buffer.borrow_mut())
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            shared: Rc::new(Shared {
                buffer: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
                pipes: Pipes::default(),
            }),
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
mod tests;
