//! Tunnels to upstreams: a stream of HTTP (CONNECT, or a POST in its place) that carries a connection, as HBONE does.
//!
//! Over HTTP/2 it is one stream of a pooled connection; over HTTP/1.1 the connection itself, once the CONNECT is
//! answered. Either way it is an [`Io`] to whoever copies.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use leno_engine::compile::listener::{Direction, HEADERS, NAMESPACE, TRAILERS, Tunnel};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::metadata::{Fields, Value};
use leno_engine::decide::balance::Host;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::limits::Priority;
use leno_engine::decide::notes::{Notes, Object, Shared, Shown};
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, Version};
use leno_telemetry::access_log::connection_values;
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord};
use leno_telemetry::stats::ClusterStat;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::alpn;
use crate::codec::{Answer, Body, Counter, Frame, Source};
use crate::connect::UpstreamConnection;
use crate::destination::{Behalf, Purpose};
use crate::io::{Carrier, Io};
use crate::outcome::{Failure, StreamError};
use crate::upstream::{Checkout, Upstream};
use crate::worker::Worker;

/// Bytes that wait to be sent before their writer waits.
const ROOM: usize = 64 * 1024;

/// Asks an endpoint for a tunnel. What it answers instead is as good as no connection, to Envoy as well.
pub(crate) async fn open(
    worker: &Worker,
    upstream: &Upstream,
    host: &Host,
    tunnel: &Tunnel,
    client: &DownstreamRecord,
    behalf: Behalf<'_>,
) -> Result<(Io, Rc<UpstreamConnection>), Failure> {
    let notes = client.notes.as_ref();
    let id = tunnel.request_id.as_ref().map(|id| {
        let value = worker.random.uuid();
        if let Some(notes) = notes {
            let text = String::from_utf8_lossy(&value).into_owned();
            notes.set_metadata(NAMESPACE, Fields::from([(id.key.clone(), Value::Text(text))]));
        }
        (id.header.as_str(), value)
    });
    let mut head = head(tunnel, client);
    if let Some((name, value)) = id {
        head.headers.set(name, Bytes::copy_from_slice(&value));
    }
    let notes = notes.filter(|_| tunnel.notes_headers || tunnel.notes_trailers);
    let keeps = notes.map(|notes| Keeps {
        notes: Rc::clone(notes),
        headers: tunnel.notes_headers,
        trailers: tunnel.notes_trailers,
    });
    let (http2, offer) = alpn::for_request(upstream.protocol(), &head);
    let pool = upstream.pool_for(
        host,
        &Purpose {
            authority: Some(&head.authority),
            offer,
            inbound: client.direction == Direction::Inbound,
            behalf: Some(behalf),
        },
    )?;
    let mut fresh = false;
    loop {
        let checkout = pool
            .checkout(worker.connector(), upstream, Priority::Default, http2, fresh)
            .await?;
        upstream.counts.inc(ClusterStat::RqTotal);
        head.version = match checkout.is_http2() {
            true => Version::Http2,
            false => Version::Http11,
        };
        let (info, reused) = (Rc::clone(&checkout.info), checkout.reused);
        match ask(checkout, head.clone(), keeps.clone()).await {
            Ok(Asked::Open(io)) => return Ok((io, info)),
            Ok(Asked::Refused(status)) => {
                // In Envoy's words.
                return Err(Failure::Connect(format!("tunnel_response:{status}").into()));
            }
            // The connection had ended before it was asked for anything.
            Err(StreamError::Closed | StreamError::Refused) if reused && !fresh => fresh = true,
            Err(error) => {
                tracing::debug!(%error, "no tunnel");
                return Err(Failure::Connect("".into()));
            }
        }
    }
}

fn head(tunnel: &Tunnel, client: &DownstreamRecord) -> RequestHead {
    let peer = PeerMetadata::default();
    let record = ConnectionRecord {
        start: SystemTime::now(),
        duration: Duration::ZERO,
        flags: Flags::default(),
        bytes_received: 0,
        bytes_sent: 0,
        upstream: None,
        downstream: client,
        peer: &peer,
        details: "",
        termination: "",
        reset: false,
        log_type: LogType::NotSet,
        attempts: 0,
    };
    let values = connection_values(&record);
    let mut authority = Vec::new();
    tunnel
        .authority
        .write(Default::default(), &values, &mut authority);
    let mut head = RequestHead {
        version: Version::Http2,
        method: Bytes::from_static(match tunnel.post {
            Some(_) => b"POST",
            None => b"CONNECT",
        }),
        scheme: Bytes::from_static(b"http"),
        authority: authority.into(),
        path: tunnel.post.clone().unwrap_or_default().into(),
        headers: Headers::default(),
        upgrade: None,
    };
    tunnel.headers.edit_request(&mut head, &values);
    head
}

/// What of an answer is noted of the client's connection.
#[derive(Clone, Debug)]
struct Keeps {
    notes: Rc<Notes>,
    headers: bool,
    trailers: bool,
}

impl Keeps {
    fn keep(&self, key: &str, status: Option<u16>, headers: &Headers) {
        let status = status.map(|status| (":status", status.to_string()));
        let status = status
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = status.chain(headers.iter()).map(|(name, value)| {
            let field = [("key", name), ("value", value)];
            let text = |bytes: &[u8]| Value::Text(String::from_utf8_lossy(bytes).into_owned());
            Value::Fields(field.map(|(name, value)| (name.to_owned(), text(value))).into())
        });
        let mut json = Vec::new();
        Value::Fields([("headers".to_owned(), Value::List(fields.collect()))].into()).write_json(&mut json);
        let object = Object {
            value: String::from_utf8_lossy(&json).into_owned(),
            read_only: true,
            hashable: false,
            shown: Shown::Json,
            shared: Shared::No,
        };
        self.notes.set_state(&Rc::from(key), object);
    }
}

enum Asked {
    Open(Io),
    /// With this status.
    Refused(u16),
}

async fn ask(checkout: Checkout, head: RequestHead, keeps: Option<Keeps>) -> Result<Asked, StreamError> {
    let http2 = checkout.is_http2();
    let connects = head.method.as_ref() == b"CONNECT";
    let through = Through::default();
    let body = match connects && !http2 {
        // All that follows the head of a CONNECT is the tunnel's.
        true => Body::Empty,
        false => through.body(),
    };
    let Answer { head, body, upgraded } = checkout.send(&head, body, Counter::default()).await?;
    if let Some(keeps) = keeps.as_ref().filter(|keeps| keeps.headers) {
        keeps.keep(HEADERS, Some(head.status), &head.headers);
    }
    let keeps = keeps.filter(|keeps| keeps.trailers);
    // As in Envoy, whose HTTP/1.1 takes every success for a tunnel's.
    let is_open = match connects && http2 {
        true => head.status == 200,
        false => (200..300).contains(&head.status),
    };
    Ok(match upgraded {
        Some(upgraded) if is_open => Asked::Open(upgraded.into_io()),
        None if is_open && !body.is_end() => Asked::Open(through.open_keeping(body, keeps)),
        _ => Asked::Refused(head.status),
    })
}

/// The client's side of a tunnel through a stream of a request's body and its answer's.
#[derive(Debug, Default)]
pub(crate) struct Through(Rc<RefCell<Outgoing>>);

impl Through {
    /// The body of the request.
    pub(crate) fn body(&self) -> Body {
        Body::Stream(Box::new(Said(Rc::clone(&self.0))))
    }

    /// With the body of the answer, a connection.
    pub(crate) fn open(self, from: Body) -> Io {
        self.open_keeping(from, None)
    }

    fn open_keeping(self, from: Body, keeps: Option<Keeps>) -> Io {
        Io::Other(Box::new(Stream {
            from,
            keeps: keeps.map(Box::new),
            chunk: Bytes::new(),
            to: self.0,
        }))
    }

    /// There is no tunnel: the request has ended.
    pub(crate) fn close(self) {
        let mut outgoing = self.0.borrow_mut();
        outgoing.ended = true;
        Outgoing::wake(&mut outgoing.sender);
    }
}

/// The two bodies of a request, as a connection.
#[derive(Debug)]
struct Stream {
    from: Body,
    /// Of its trailers.
    keeps: Option<Box<Keeps>>,
    /// Received and not yet read.
    chunk: Bytes,
    to: Rc<RefCell<Outgoing>>,
}

/// What has been written and not yet been sent.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: BytesMut,
    /// Nothing follows.
    ended: bool,
    /// Nobody writes any more, or nobody sends.
    gone: bool,
    sender: Option<Waker>,
    writer: Option<Waker>,
}

/// The body that is made of it.
#[derive(Debug)]
struct Said(Rc<RefCell<Outgoing>>);

// === impl Outgoing ===

impl Outgoing {
    fn wake(waker: &mut Option<Waker>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

// === impl Said ===

impl Source for Said {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let mut outgoing = self.0.borrow_mut();
        if !outgoing.bytes.is_empty() {
            let bytes = outgoing.bytes.split().freeze();
            Outgoing::wake(&mut outgoing.writer);
            return Poll::Ready(Some(Ok(Frame::Data(bytes))));
        }
        if outgoing.ended {
            return Poll::Ready(None);
        }
        if outgoing.gone {
            return Poll::Ready(Some(Err(StreamError::Aborted)));
        }
        outgoing.sender = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let mut outgoing = self.0.borrow_mut();
        outgoing.gone = true;
        Outgoing::wake(&mut outgoing.writer);
    }
}

// === impl Stream ===

impl Carrier for Stream {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.from.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => self.chunk = data,
                Some(Ok(Frame::Trailers(trailers))) => {
                    if let Some(keeps) = &self.keeps {
                        keeps.keep(TRAILERS, None, &trailers);
                    }
                }
                Some(Err(error)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, error)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk[..taken]);
        self.chunk.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut outgoing = self.to.borrow_mut();
        if outgoing.gone || outgoing.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = ROOM.saturating_sub(outgoing.bytes.len());
        if room == 0 {
            outgoing.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = buf.len().min(room);
        outgoing.bytes.extend_from_slice(&buf[..taken]);
        Outgoing::wake(&mut outgoing.sender);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.to.borrow_mut();
        outgoing.ended = true;
        Outgoing::wake(&mut outgoing.sender);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut outgoing = self.to.borrow_mut();
        outgoing.gone = true;
        Outgoing::wake(&mut outgoing.sender);
    }
}
