//! A connection of which an inspector has read the first bytes.
//!
//! Every read and write of plaintext comes through here: inlined, three types cost what one does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::stream::Stream;

/// Its bytes from the first on.
#[derive(Debug)]
pub(crate) struct Prefixed {
    /// Boxed: few connections have one, and each would have room for it.
    prefix: Option<Box<Bytes>>,
    stream: Stream,
}

// === impl Prefixed ===

impl Prefixed {
    pub(crate) fn new(prefix: Bytes, stream: impl Into<Stream>) -> Self {
        Self {
            prefix: (!prefix.is_empty()).then(|| Box::new(prefix)),
            stream: stream.into(),
        }
    }

    /// The socket, where nothing of it has been read ahead.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        self.stream.tcp().filter(|_| self.prefix.is_none())
    }

    /// Nothing has come that has not been read, nor the end: of what the runtime knows without asking the kernel.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.prefix.is_none() && self.stream.is_quiet()
    }

    #[cold]
    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let Some(prefix) = &mut self.prefix else {
            return;
        };
        let taken = prefix.len().min(buf.remaining());
        buf.put_slice(&prefix[..taken]);
        prefix.advance(taken);
        if prefix.is_empty() {
            self.prefix = None;
        }
    }
}

impl AsyncRead for Prefixed {
    #[inline(always)]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_none() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        self.take(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    #[inline(always)]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    #[inline(always)]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
