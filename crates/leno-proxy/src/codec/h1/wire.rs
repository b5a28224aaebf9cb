//! One connection's bytes: what has been read and is not used yet, and what could not be written yet.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use leno_telemetry::stats::Meter;
use tokio::io::AsyncWrite;

use super::Workspace;
use crate::codec::Counter;
use crate::io::{Io, Rewound};

#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    workspace: Rc<Workspace>,
    /// Bytes of one read.
    most: usize,
    pub(super) input: BytesMut,
    /// The input is a slice of the worker's block.
    borrowed: bool,
    /// The peer has ended its side.
    pub(super) ended: bool,
    output: BytesMut,
    /// The carrier may hold back what it has taken (TLS).
    unflushed: bool,
    pub(super) meter: Meter,
    /// Of the stream in hand.
    pub(super) counter: Counter,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(io: Rewound, workspace: &Rc<Workspace>, limit: Option<u32>, meter: Meter) -> Self {
        let (prefix, io) = io.into_parts();
        meter.received(prefix.len() as u64);
        Self {
            io,
            workspace: Rc::clone(workspace),
            most: limit.map_or(usize::MAX, |limit| limit.max(1) as usize),
            borrowed: !prefix.is_empty(),
            input: prefix
                .try_into_mut()
                .unwrap_or_else(|prefix| BytesMut::from(prefix.as_ref())),
            ended: false,
            output: BytesMut::new(),
            unflushed: false,
            meter,
            counter: Counter::default(),
        }
    }

    /// Nothing stands between this and the socket that would have a last word.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.io, Io::Plain(_))
    }

    pub(super) fn workspace(&self) -> &Rc<Workspace> {
        &self.workspace
    }

    /// Reads once. 0: the peer has ended its side.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(
            self.workspace
                .poll_read(&mut self.io, self.most, &mut self.input, cx)
        );
        let (read, shared) = read.inspect_err(|_| self.meter.ended(true))?;
        self.borrowed = shared;
        self.ended = read == 0;
        match read {
            0 => self.meter.ended(true),
            read => self.meter.received(read as u64),
        }
        Poll::Ready(Ok(read))
    }

    /// To be called before waiting for anything: the worker's block is not waited with.
    pub(super) fn own_input(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        } else if self.borrowed {
            self.input = BytesMut::from(self.input.as_ref());
        }
        self.borrowed = false;
    }

    /// Nothing is held that has been used.
    pub(super) fn release_input(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Nothing has come, and the peer is there: as far as is known without asking the kernel.
    pub(super) fn is_quiet(&mut self) -> bool {
        if matches!(self.io, Io::Plain(_)) && !self.is_empty() {
            return false;
        }
        if let Io::Plain(io) = &mut self.io {
            let quiet = io.is_quiet();
            // It has closed its side, or says what nobody has asked for.
            if !quiet {
                self.meter.ended(true);
            }
            return quiet;
        }
        let mut cx = Context::from_waker(Waker::noop());
        self.is_empty() && self.poll_read(&mut cx).is_pending()
    }

    /// Bytes that wait to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Nothing is on its way in or out.
    pub(super) fn is_empty(&self) -> bool {
        !self.ended && self.input.is_empty() && self.output.is_empty()
    }

    /// Writes all parts at once, or keeps what the kernel does not take.
    pub(super) fn write(&mut self, parts: &[&[u8]], cx: &mut Context<'_>) -> io::Result<()> {
        if self.counter.counts() {
            self.counter
                .sent(parts.iter().map(|part| part.len() as u64).sum());
        }
        let mut written = 0;
        if self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = parts.iter().filter(|part| !part.is_empty());
            let mut count = 0;
            for (slice, part) in slices.iter_mut().zip(filled) {
                *slice = IoSlice::new(part);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            self.unflushed |= !matches!(self.io, Io::Plain(_));
            let io = Pin::new(&mut self.io);
            let taken = match slices {
                [one] => io.poll_write(cx, one),
                several => io.poll_write_vectored(cx, several),
            };
            written = match taken {
                Poll::Ready(written) => written.inspect_err(|_| self.meter.ended(true))?,
                Poll::Pending => 0,
            };
            self.meter.sent(written as u64);
        }
        for part in parts {
            let passed = written.min(part.len());
            written -= passed;
            self.output
                .extend_from_slice(part.get(passed..).unwrap_or_default());
        }
        Ok(())
    }

    /// Ready when nothing waits to be written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output));
            let written = written.inspect_err(|_| self.meter.ended(true))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.meter.sent(written as u64);
            self.output.advance(written);
            if self.output.is_empty() {
                self.output = BytesMut::new();
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// The connection, which has left HTTP.
    pub(super) fn into_upgraded(self) -> (Rewound, Meter) {
        (Rewound::new(self.input.freeze(), self.io), self.meter)
    }
}
