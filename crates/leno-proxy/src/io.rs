//! One connection's bytes, whatever carries them: one type, so that the layers above are compiled once.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::prefixed::Prefixed;
use crate::tls_stream::TlsStream;

#[derive(Debug)]
pub(crate) enum Io {
    Plain(Prefixed),
    Tls(Box<TlsStream<Io>>),
    /// A tunnel.
    Other(Box<dyn Carrier>),
}

/// What carries a connection's bytes, to whoever copies them.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Unpin + fmt::Debug {
    /// The socket itself, where bytes are as they are on the wire.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

// === impl Io ===

impl Carrier for Io {
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(io) => io.socket(),
            Self::Tls(_) => None,
            Self::Other(io) => io.socket(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
            Self::Other(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
            Self::Other(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
            Self::Other(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline(always)]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
            Self::Other(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
            Self::Other(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}

/// A connection of which some bytes have been read and are to be read again.
#[derive(Debug)]
pub(crate) struct Rewound {
    prefix: Bytes,
    io: Io,
    /// What is let go of with the connection.
    held: Option<Box<dyn std::fmt::Debug>>,
}

impl Rewound {
    pub(crate) fn new(prefix: Bytes, io: Io) -> Self {
        Self {
            prefix,
            io,
            held: None,
        }
    }

    /// Keeps something as long as the connection.
    pub(crate) fn holding(self, held: impl std::fmt::Debug + 'static) -> Self {
        Self {
            held: Some(Box::new(held)),
            ..self
        }
    }

    /// The connection, as little around it as may be.
    pub(crate) fn into_io(self) -> Io {
        match self.prefix.is_empty() && self.held.is_none() {
            true => self.io,
            false => Io::Other(Box::new(self)),
        }
    }

    /// Of one that holds nothing.
    pub(crate) fn into_parts(self) -> (Bytes, Io) {
        (self.prefix, self.io)
    }
}

impl Carrier for Rewound {
    fn socket(&self) -> Option<&TcpStream> {
        self.io.socket().filter(|_| self.prefix.is_empty())
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let taken = self.prefix.len().min(buf.remaining());
        let taken = self.prefix.split_to(taken);
        buf.put_slice(&taken);
        if self.prefix.is_empty() {
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
