//! A connection as its task and its streams share it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use leno_http2::{Carried, Connection, ConnectionError, Event, Key, Reset};
use leno_telemetry::record::{OneWay, WireBytes};
use leno_telemetry::stats::Meter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::Received;
use super::stream::Stream;
use crate::codec::Counter;
use crate::outcome::StreamError;
use crate::tcp::Scratch;

pub(super) type Machine = Connection<Box<Received>, Stream>;

/// Slices of one write.
const SLICES: usize = 64;

pub(super) struct Link {
    machine: RefCell<Machine>,
    /// The connection's task, unless it is at work: it looks at everything before it sleeps.
    driver: RefCell<Option<Waker>>,
    asleep: Cell<bool>,
    /// Streams that wait for room in the output or for the connection's window, longest first.
    blocked: RefCell<Vec<Key>>,
    /// Bytes of bodies that may wait to be written.
    room: usize,
    closed: Cell<bool>,
    /// Some stream's bytes are counted.
    counts: Cell<bool>,
}

/// The socket's side of a connection.
pub(super) struct Wire<IO> {
    io: IO,
    scratch: Scratch,
    /// The beginning of a frame of which the rest has not come.
    partial: Vec<u8>,
    unflushed: bool,
    eof: bool,
    meter: Meter,
}

/// What to do with an event that only a server or only a client understands.
pub(super) trait Heads {
    fn head(&mut self, link: &Rc<Link>, key: Key, head: Box<Received>, end: bool);
    fn too_large(&mut self, link: &Rc<Link>, key: Key);
    /// The stream is over before its end, which its holders have been told.
    fn reset(&mut self, key: Key);
}

// === impl Link ===

impl Link {
    pub(super) fn new(machine: Machine, room: usize) -> Rc<Self> {
        Rc::new(Self {
            machine: RefCell::new(machine),
            driver: RefCell::default(),
            asleep: Cell::new(false),
            blocked: RefCell::default(),
            room,
            closed: Cell::new(false),
            counts: Cell::new(false),
        })
    }

    /// A stream's bytes are counted from now on.
    pub(super) fn count_in(&self, key: Key, counter: &Counter) {
        if !counter.counts() {
            return;
        }
        self.counts.set(true);
        if let Some(stream) = self.machine.borrow_mut().stream(key) {
            stream.counter = counter.clone();
        }
        self.count(key);
    }

    /// Takes what a stream has come to on the wire to who counts it.
    pub(super) fn count(&self, key: Key) {
        if !self.counts.get() {
            return;
        }
        let mut machine = self.machine.borrow_mut();
        let carried = machine.carried(key);
        if let (Some(carried), Some(stream)) = (carried, machine.stream(key)) {
            let now = wire_bytes(carried);
            let before = std::mem::replace(&mut stream.counted, now);
            stream.counter.went_on(&before, &now);
        }
    }

    /// The protocol's state; what is said to it is written when the connection's task has its turn.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Machine) -> R) -> R {
        let mut machine = self.machine.borrow_mut();
        let before = machine.unwritten();
        let result = act(&mut machine);
        if machine.unwritten() > before {
            drop(machine);
            self.wake();
        }
        result
    }

    pub(super) fn wake(&self) {
        if self.asleep.replace(false)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// The connection's task is at work.
    pub(super) fn awake(&self, cx: &Context<'_>) {
        self.asleep.set(false);
        let mut driver = self.driver.borrow_mut();
        if driver.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    pub(super) fn sleep(&self) {
        self.asleep.set(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Bytes of a body that the output still takes.
    pub(super) fn room(&self) -> usize {
        self.room.saturating_sub(self.machine.borrow().unwritten())
    }

    /// Is woken when there is more room for all streams.
    pub(super) fn block(&self, key: Key) {
        let mut blocked = self.blocked.borrow_mut();
        if !blocked.contains(&key) {
            blocked.push(key);
        }
    }

    fn unblock(&self) {
        let blocked = std::mem::take(&mut *self.blocked.borrow_mut());
        let mut machine = self.machine.borrow_mut();
        let wakers: Vec<Waker> = blocked
            .into_iter()
            .filter_map(|key| machine.stream(key)?.writer())
            .collect();
        drop(machine);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// No more frames come or go: every stream that has not ended never will.
    pub(super) fn close(&self, error: &StreamError) {
        if self.closed.replace(true) {
            return;
        }
        let mut machine = self.machine.borrow_mut();
        let keys: Vec<Key> = machine.keys().collect();
        let mut wakers = Vec::new();
        for key in keys {
            if let Some(stream) = machine.stream(key) {
                if stream.error.is_none() {
                    stream.error = Some(error.clone());
                }
                wakers.extend(stream.reader());
                wakers.extend(stream.writer());
            }
        }
        drop(machine);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Somebody lets go of a stream; when nobody holds it any more, it is over.
    pub(super) fn release(&self, key: Key) {
        self.with(|machine| {
            let Some(stream) = machine.stream(key) else { return };
            stream.holders = stream.holders.saturating_sub(1);
            if stream.holders == 0
                && let Some(mut stream) = machine.close(key)
            {
                machine.give_back(stream.body.discard() as u32);
            }
        });
        // A connection that has said all it had to say can be closed.
        if self.machine.borrow().is_over() {
            self.wake();
        }
    }

    /// Takes one event to its stream.
    fn event(self: &Rc<Self>, event: Event<'_, Box<Received>>, heads: &mut impl Heads) {
        match event {
            Event::Head { key, head, end } => heads.head(self, key, head, end),
            Event::TooLarge { key } => heads.too_large(self, key),
            Event::Data { key, data, end } => {
                let mut machine = self.machine.borrow_mut();
                let Some(stream) = machine.stream(key) else { return };
                stream.ended |= end;
                if stream.unread {
                    return machine.give_back(data.len() as u32);
                }
                stream.body.push(data);
                let reader = stream.reader();
                drop(machine);
                wake(reader);
            }
            Event::Trailers { key, head } => {
                let reader = self.machine.borrow_mut().stream(key).and_then(|stream| {
                    stream.ended = true;
                    stream.trailers = Some(head.trailers());
                    stream.reader()
                });
                wake(reader);
            }
            Event::Reset { key, why } => {
                self.reset(key, why);
                heads.reset(key);
            }
            Event::Writable(None) => self.unblock(),
            Event::Writable(Some(key)) => {
                let writer = self.machine.borrow_mut().stream(key).and_then(Stream::writer);
                wake(writer);
            }
            Event::GoAway { code } => tracing::debug!(%code, "HTTP/2 peer goes away"),
        }
    }

    fn reset(&self, key: Key, why: Reset) {
        let mut machine = self.machine.borrow_mut();
        let Some(stream) = machine.stream(key) else { return };
        stream.error = Some(super::reset(why));
        let wakers = (stream.reader(), stream.writer());
        drop(machine);
        wake(wakers.0);
        wake(wakers.1);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

fn wire_bytes(carried: Carried) -> WireBytes {
    let one_way = |leno_http2::OneWay {
                       all,
                       heads,
                       plain_heads,
                   }| OneWay {
        all,
        heads,
        plain_heads,
    };
    WireBytes {
        sent: one_way(carried.sent),
        received: one_way(carried.received),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

// === impl Wire ===

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) fn new(io: IO, scratch: Scratch, meter: Meter) -> Self {
        Self {
            io,
            scratch,
            partial: Vec::new(),
            unflushed: false,
            eof: false,
            meter,
        }
    }

    /// Reads once and takes what has come to its streams. True: something has. An error ends the connection; what it
    /// still has to say is in its output. `now`: seconds.
    pub(super) fn read(
        &mut self,
        link: &Rc<Link>,
        heads: &mut impl Heads,
        now: u64,
        cx: &mut Context<'_>,
    ) -> Result<bool, StreamError> {
        if self.eof {
            return Ok(false);
        }
        let scratch = self.scratch.clone();
        scratch.lend(|buffer| {
            let before = self.partial.len();
            let Some((head, rest)) = buffer.split_at_mut_checked(before) else {
                return Err(StreamError::TooLarge(before));
            };
            let mut unread = ReadBuf::new(rest);
            match Pin::new(&mut self.io).poll_read(cx, &mut unread) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => {
                    self.meter.ended(true);
                    return Err(lost(&error));
                }
                Poll::Ready(Ok(())) => {}
            }
            let read = unread.filled().len();
            if read == 0 {
                self.eof = true;
                self.meter.ended(true);
                return Err(StreamError::Closed);
            }
            self.meter.received(read as u64);
            head.copy_from_slice(&self.partial);
            let input = buffer.get(..before + read).unwrap_or_default();
            self.take(link, heads, input, now)?;
            Ok(true)
        })
    }

    fn take(
        &mut self,
        link: &Rc<Link>,
        heads: &mut impl Heads,
        mut input: &[u8],
        now: u64,
    ) -> Result<(), StreamError> {
        loop {
            let event = link.machine.borrow_mut().receive(&mut input, now);
            match event {
                Ok(Some(event)) => link.event(event, heads),
                Ok(None) => break,
                Err(error) => return Err(fail(link, error)),
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(input);
        if input.is_empty() {
            self.partial.shrink_to(0);
        }
        Ok(())
    }

    /// Writes what there is. True: some of it went out.
    pub(super) fn write(&mut self, link: &Link, cx: &mut Context<'_>) -> Result<bool, StreamError> {
        let mut any = false;
        loop {
            let mut machine = link.machine.borrow_mut();
            let output = machine.output();
            if output.is_empty() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = output.slices(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = match slices {
                [one] => Pin::new(&mut self.io).poll_write(cx, one),
                many => Pin::new(&mut self.io).poll_write_vectored(cx, many),
            };
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(StreamError::Closed),
                Poll::Ready(Ok(written)) => {
                    self.meter.sent(written as u64);
                    output.advance(written);
                }
                Poll::Ready(Err(error)) => {
                    self.meter.ended(true);
                    return Err(lost(&error));
                }
            }
            any = true;
            self.unflushed = true;
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx)
        {
            flushed.map_err(|error| lost(&error))?;
            self.unflushed = false;
        }
        if any {
            let mut machine = link.machine.borrow_mut();
            if machine.active() == 0 {
                machine.output().shrink();
            }
            drop(machine);
            link.unblock();
        }
        Ok(any)
    }

    /// Whether streams are cut off by the end, while that is still known.
    pub(super) fn note_end(&self, link: &Link) {
        self.meter.ended(false);
        self.meter.set_busy(link.machine.borrow().active() > 0);
    }

    /// Writes what is left, and closes.
    pub(super) async fn finish(&mut self, link: &Link) {
        std::future::poll_fn(|cx| match self.write(link, cx) {
            Ok(_) if link.machine.borrow().unwritten() > 0 || self.unflushed => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
        // Whatever comes of it: nothing depends on it any more.
        let _ = std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
    }
}

fn fail(link: &Link, error: ConnectionError) -> StreamError {
    link.machine.borrow_mut().fail(error);
    StreamError::Protocol(error.reason.into())
}

fn lost(error: &io::Error) -> StreamError {
    tracing::debug!(%error, "HTTP/2 connection lost");
    StreamError::Closed
}
