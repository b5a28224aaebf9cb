//! TLS over a socket, with the worker's buffers instead of its own.
//!
//! rustls is driven without buffers (`rustls::unbuffered`): records are read from the socket into the worker's record
//! buffer, many at a time, and decrypted there; what is sent is sealed into the same buffer and written with one call.
//! A connection keeps bytes only while a record is incomplete or its receiver is slow, so an idle one keeps none. With
//! rustls's own buffers a read is 4 KiB and a write 64 KiB at most, and every connection holds a page.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::client::UnbufferedClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic,
};
use tokio_rustls::rustls::{self, ClientConfig, CommonState, ServerConfig};

/// Plaintext bytes that are sealed at once.
const MOST_SEALED: usize = 256 * 1024;
/// Plaintext bytes of one record (RFC 8446 §5.1), and what a record adds to them at most: header, content type and
/// tag, or TLS 1.2's explicit nonce.
const RECORD: usize = 16 * 1024;
const RECORD_OVERHEAD: usize = 5 + 8 + 16;
/// Room for sealed plaintext, and for what rustls itself has to say beside it (an alert, a key update).
const RECORDS: usize = MOST_SEALED + MOST_SEALED / RECORD * RECORD_OVERHEAD + 4096;
/// Small pieces are sealed together up to this.
const MOST_GATHERED: usize = 64 * 1024;
/// A read is at least this, however small the reader's buffer is.
const LEAST_READ: usize = 4096;

/// A worker's buffers, lent for the time of one poll.
#[derive(Clone)]
pub(crate) struct Records(Rc<RefCell<Buffers>>);

struct Buffers {
    /// As on the wire.
    sealed: Box<[u8]>,
    /// Pieces of plaintext, for as long as they are put together.
    gathered: Vec<u8>,
}

/// A TLS connection, either side, over whatever carries bytes.
pub(crate) struct TlsStream<S> {
    socket: S,
    session: Session,
    records: Records,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// Plaintext that the reader had no room for.
    unread: Vec<u8>,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    sent: usize,
    /// The peer has said that it sends nothing more.
    read_closed: bool,
    write_closed: bool,
    failure: Option<io::Error>,
}

enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What rustls wants after it has seen some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// To be asked again.
    Turn,
    /// More from the peer, or nothing.
    Wait,
    /// The peer sends nothing more; to be asked again.
    PeerClosed,
}

/// Where what comes out of rustls goes.
struct Output<'o, 'b> {
    reader: &'o mut ReadBuf<'b>,
    unread: &'o mut Vec<u8>,
    unsent: &'o mut Vec<u8>,
}

/// What is to be sealed, once.
struct Outgoing<'m> {
    message: Message<'m>,
    into: &'m mut [u8],
    sealed: Option<usize>,
}

#[derive(Clone, Copy)]
enum Message<'m> {
    Data(&'m [u8]),
    CloseNotify,
}

// === impl TlsStream ===

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Shakes hands as the client.
    pub(crate) async fn connect(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        socket: S,
        records: &Records,
    ) -> io::Result<Box<Self>> {
        let session = UnbufferedClientConnection::new(Arc::clone(config), name).map_err(invalid)?;
        Self::establish(Session::Client(session), socket, records).await
    }

    /// Shakes hands as the server.
    pub(crate) async fn accept(
        config: &Arc<ServerConfig>,
        socket: S,
        records: &Records,
    ) -> io::Result<Box<Self>> {
        let session = UnbufferedServerConnection::new(Arc::clone(config)).map_err(invalid)?;
        Self::establish(Session::Server(session), socket, records).await
    }

    async fn establish(session: Session, socket: S, records: &Records) -> io::Result<Box<Self>> {
        let mut stream = Box::new(Self {
            socket,
            session,
            records: records.clone(),
            partial: Vec::new(),
            unread: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            read_closed: false,
            write_closed: false,
            failure: None,
        });
        // A client speaks first.
        stream.turn_kept(None)?;
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// What the handshake has agreed on.
    pub(crate) fn state(&self) -> &CommonState {
        self.session.state()
    }

    /// A TLS 1.3 server may send before it has seen the client's certificate: that rustls would take plaintext does
    /// not say that the handshake is over.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_unsent(cx))?;
            if !self.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_records(cx, &mut ReadBuf::new(&mut [])))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// One read of the socket, and what it holds decrypted. The number of bytes read.
    fn poll_records(&mut self, cx: &mut Context<'_>, reader: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let records = self.records.clone();
        let sealed = &mut records.0.borrow_mut().sealed;
        let kept = self.partial.len();
        let most = (kept + reader.remaining().max(LEAST_READ)).min(sealed.len());
        let mut space = ReadBuf::new(sealed.get_mut(kept..most).unwrap_or_default());
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        let received = sealed.get_mut(..kept + read).unwrap_or_default();
        if let Some(beginning) = received.get_mut(..kept) {
            beginning.copy_from_slice(&self.partial);
        }
        let mut output = Output {
            reader,
            unread: &mut self.unread,
            unsent: &mut self.unsent,
        };
        match self.session.turn(received, &mut output, None) {
            Ok((taken, closed)) => {
                self.read_closed |= closed;
                keep(&mut self.partial, received.get(taken..).unwrap_or_default());
                Poll::Ready(Ok(read))
            }
            Err(error) => Poll::Ready(Err(self.failed(cx, error))),
        }
    }

    /// A turn of rustls without new bytes from the peer.
    fn turn_kept(&mut self, outgoing: Option<&mut Outgoing<'_>>) -> io::Result<()> {
        let mut output = Output {
            reader: &mut ReadBuf::new(&mut []),
            unread: &mut self.unread,
            unsent: &mut self.unsent,
        };
        let (taken, closed) = self.session.turn(&mut self.partial, &mut output, outgoing)?;
        self.read_closed |= closed;
        self.partial.drain(..taken);
        Ok(())
    }

    /// The peer is told why, as far as its socket takes it at once; what is told here is the first error.
    fn failed(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        if let Poll::Ready(Err(error)) = self.poll_unsent(cx) {
            tracing::debug!(%error, "TLS alert not sent");
        }
        self.partial = Vec::new();
        self.read_closed = true;
        self.write_closed = true;
        error
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.unsent.get(self.sent..) {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        if self.sent > 0 {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Seals and sends. What the socket does not take is kept, and nothing more is sealed before that is gone: so a
    /// slow receiver holds one write of its sender at most.
    fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        message: Message<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        if self.write_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut outgoing = Outgoing {
            message,
            into,
            sealed: None,
        };
        self.turn_kept(Some(&mut outgoing))?;
        let Some(sealed) = outgoing.sealed else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let sealed = into.get(..sealed).unwrap_or_default();
        let written = match self.unsent.is_empty() {
            true => match Pin::new(&mut self.socket).poll_write(cx, sealed) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            },
            // rustls itself had something to say first.
            false => 0,
        };
        self.unsent
            .extend_from_slice(sealed.get(written..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        loop {
            if !this.unread.is_empty() {
                let taken = this.unread.len().min(buf.remaining());
                buf.put_slice(this.unread.get(..taken).unwrap_or_default());
                this.unread.drain(..taken);
                if this.unread.is_empty() {
                    this.unread = Vec::new();
                }
            }
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.failure.take() {
                return Poll::Ready(Err(error));
            }
            if this.read_closed {
                return Poll::Ready(Ok(()));
            }
            let unsent = this.unsent.len();
            match ready!(this.poll_records(cx, buf)) {
                // Without close_notify the peer may have had more to say (RFC 8446 §6.1).
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                // Told after what came before it.
                Err(error) => this.failure = Some(error),
            }
            // A key update is answered, for one.
            if this.unsent.len() > unsent
                && let Poll::Ready(Err(error)) = this.poll_unsent(cx)
            {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let records = self.records.clone();
        let into = &mut records.0.borrow_mut().sealed;
        let plain = buf.get(..MOST_SEALED).unwrap_or(buf);
        ready!(self.poll_seal(cx, Message::Data(plain), into))?;
        Poll::Ready(Ok(plain.len()))
    }

    /// The pieces go into common records: a frame's header and what follows it are one record, not two.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = bufs.iter().filter(|piece| !piece.is_empty());
        let (Some(first), second) = (pieces.next(), pieces.next()) else {
            return Poll::Ready(Ok(0));
        };
        if second.is_none() || first.len() >= MOST_GATHERED {
            return self.poll_write(cx, first);
        }
        let records = self.records.clone();
        let Buffers { sealed, gathered } = &mut *records.0.borrow_mut();
        gathered.clear();
        for piece in bufs {
            let room = MOST_GATHERED - gathered.len();
            gathered.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        ready!(self.poll_seal(cx, Message::Data(gathered), sealed))?;
        Poll::Ready(Ok(gathered.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.write_closed {
            let records = this.records.clone();
            let into = &mut records.0.borrow_mut().sealed;
            ready!(this.poll_seal(cx, Message::CloseNotify, into))?;
            this.write_closed = true;
        }
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

// === impl Session ===

impl Session {
    fn state(&self) -> &CommonState {
        match self {
            Self::Client(session) => session,
            Self::Server(session) => session,
        }
    }

    /// Lets rustls take what it can of `received`: how many bytes, and whether the peer has closed its side. After an
    /// error it is asked once more, with what it has not taken: it has an alert to send.
    fn turn(
        &mut self,
        received: &mut [u8],
        output: &mut Output<'_, '_>,
        mut outgoing: Option<&mut Outgoing<'_>>,
    ) -> io::Result<(usize, bool)> {
        let (mut taken, mut closed, mut failed) = (0, false, None);
        loop {
            let rest = received.get_mut(taken..).unwrap_or_default();
            let outgoing = outgoing.as_deref_mut();
            let (discard, next) = match self {
                Self::Client(session) => step(session.process_tls_records(rest), output, outgoing),
                Self::Server(session) => step(session.process_tls_records(rest), output, outgoing),
            };
            taken += discard;
            if let Some(failed) = failed {
                return Err(failed);
            }
            match next {
                Ok(Next::Turn) => {}
                Ok(Next::PeerClosed) => closed = true,
                Ok(Next::Wait) => return Ok((taken, closed)),
                Err(error) if self.state().wants_write() => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What rustls has come to. What it has taken is to be removed whether that is an error or not.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    output: &mut Output<'_, '_>,
    outgoing: Option<&mut Outgoing<'_>>,
) -> (usize, io::Result<Next>) {
    let UnbufferedStatus { mut discard, state } = status;
    let next = match state.map_err(invalid) {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    output.read(record.payload);
                }
                Some(Err(error)) => break Err(invalid(error)),
                None => break Ok(Next::Turn),
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, output.unsent).map(|()| Next::Turn),
        // Nothing is sent before what has been encoded.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Next::Turn)
        }
        Ok(ConnectionState::WriteTraffic(traffic)) => match outgoing {
            Some(outgoing) => outgoing.seal(traffic).map(|()| Next::Wait),
            None => Ok(Next::Wait),
        },
        Ok(ConnectionState::PeerClosed) => Ok(Next::PeerClosed),
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Next::Wait),
        // Early data is not offered, and a later rustls may know more states.
        Ok(_) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(error),
    };
    (discard, next)
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, unsent: &mut Vec<u8>) -> io::Result<()> {
    let begin = unsent.len();
    loop {
        match data.encode(unsent.get_mut(begin..).unwrap_or_default()) {
            Ok(written) => {
                unsent.truncate(begin + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => unsent.resize(begin + size.required_size, 0),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// A record's beginning is short of a record; memory is given back when there is none.
fn keep(partial: &mut Vec<u8>, rest: &[u8]) {
    if rest.is_empty() {
        *partial = Vec::new();
    } else {
        partial.clear();
        partial.extend_from_slice(rest);
    }
}

/// As [`leno_tls::HandshakeFailure::from_io`] expects it.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

// === impl Output ===

impl Output<'_, '_> {
    fn read(&mut self, plain: &[u8]) {
        let room = match self.unread.is_empty() {
            true => self.reader.remaining().min(plain.len()),
            false => 0,
        };
        let (now, later) = plain.split_at(room);
        self.reader.put_slice(now);
        self.unread.extend_from_slice(later);
    }
}

// === impl Outgoing ===

impl Outgoing<'_> {
    fn seal<D>(&mut self, mut traffic: WriteTraffic<'_, D>) -> io::Result<()> {
        let sealed = match self.message {
            Message::Data(plain) => traffic.encrypt(plain, self.into),
            Message::CloseNotify => traffic.queue_close_notify(self.into),
        };
        self.sealed = Some(sealed.map_err(io::Error::other)?);
        Ok(())
    }
}

// === impl Records ===

impl Default for Records {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Buffers {
            sealed: vec![0; RECORDS].into_boxed_slice(),
            gathered: Vec::new(),
        })))
    }
}

#[cfg(test)]
mod tests;
