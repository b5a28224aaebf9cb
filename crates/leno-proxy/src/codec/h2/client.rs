//! HTTP/2 towards an upstream: one connection, many streams.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use leno_engine::compile::cluster::UpstreamHttp2;
use leno_engine::compile::http::Keepalive;
use leno_engine::message::{RequestHead, ResponseHead};
use leno_http2::{Connection, Key};
use leno_telemetry::record::TlsFacts as _;
use leno_telemetry::stats::Meter;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Receiving, Sending};
use super::head::{self, Received};
use super::keepalive::watch;
use super::link::{Heads, Link, Wire};
use super::{MAX_RESPONSE_HEADER_BYTES, MAX_RESPONSE_HEADERS, options, unsent, unwritten};
use crate::codec::{Answer, Body, Counter};
use crate::handshake::Handshake;
use crate::outcome::StreamError;
use crate::tcp::Scratch;

/// Turns of one poll, before other connections have theirs.
const TURNS: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    link: Rc<Link>,
    max_streams: usize,
    _open: Rc<Open>,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Asking {
    receiving: Receiving,
    /// What is still to be sent.
    rest: Option<(Sending, Body)>,
}

/// When the last client is gone, the connection ends with its last stream.
#[derive(Debug)]
struct Open(Rc<Link>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.with(Connection::shut_down);
        self.0.wake();
    }
}

// === impl Client ===

impl Client {
    /// Starts the connection's own task, which ends with the connection. `shown`: the server's certificates, once they are
    /// taken back it is over.
    pub(crate) fn start<IO>(
        io: IO,
        shown: Option<&Arc<Handshake>>,
        configured: &UpstreamHttp2,
        buffer_limit: Option<u32>,
        scratch: Scratch,
        meter: Meter,
    ) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let window = configured.initial_stream_window;
        let options = options(
            0,
            (
                // What a stream may send ahead is what is held for it.
                buffer_limit.map_or(window, |limit| window.min(limit)),
                configured.initial_connection_window,
            ),
            MAX_RESPONSE_HEADER_BYTES,
            MAX_RESPONSE_HEADERS,
        );
        let link = Link::new(Connection::client(options), unwritten(buffer_limit));
        let client = Self {
            _open: Rc::new(Open(Rc::clone(&link))),
            link: Rc::clone(&link),
            max_streams: configured.max_concurrent_streams as usize,
        };
        let wire = Wire::new(io, scratch, meter);
        tokio::task::spawn_local(drive(wire, link, shown.cloned(), configured.keepalive));
        client
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.link.is_closed() || !self.link.with(|machine| machine.takes_streams())
    }

    /// Has the connection's task look whether it may go on.
    pub(crate) fn look(&self) {
        self.link.wake();
    }

    /// Whether another stream fits within the peer's limit and ours.
    pub(crate) fn has_room(&self) -> bool {
        !self.link.is_closed()
            && self
                .link
                .with(|machine| machine.has_room() && machine.active() < self.max_streams)
    }

    pub(crate) fn active(&self) -> usize {
        self.link.with(|machine| machine.active())
    }

    /// Sends the request's head; [`answer`] goes on, and does not hold it any more.
    pub(crate) fn ask(
        &self,
        head: &RequestHead,
        body: Body,
        counter: &Counter,
    ) -> Result<Asking, StreamError> {
        if self.link.is_closed() {
            return Err(StreamError::Refused);
        }
        let end = body.is_end();
        let opened = self
            .link
            .with(|machine| machine.open(end, 0, |fields| head::write_request(head, fields)));
        let key = opened.map_err(unsent)?;
        self.link.count_in(key, counter);
        let receiving = Receiving::response(Rc::clone(&self.link), key);
        let rest = (!end).then(|| (Sending::new(Rc::clone(&self.link), key), body));
        Ok(Asking { receiving, rest })
    }
}

/// Sends what is left of a request and waits for its answer, holding on to `held`.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` would hold what it is given twice"
)]
pub(crate) fn answer<T>(
    asking: Result<Asking, StreamError>,
    held: T,
) -> impl Future<Output = Result<Answer, StreamError>> {
    async move {
        let Asking { mut receiving, rest } = asking?;
        let (head, length) = match rest {
            None => poll_fn(|cx| receiving.poll_head(cx)).await?,
            Some((sending, body)) => send_and_await(&mut receiving, sending, body).await?,
        };
        drop(held);
        Ok(Answer {
            body: receiving.into_body(length),
            head,
            upgraded: None,
        })
    }
}

/// Sends the body while waiting. What is left of it when the response begins goes on in a task of its own: a client
/// may read the response only after it has sent everything, or the other way round.
async fn send_and_await(
    receiving: &mut Receiving,
    sending: Sending,
    body: Body,
) -> Result<(ResponseHead, Option<u64>), StreamError> {
    let mut pump: Pin<Box<dyn Future<Output = Result<(), StreamError>>>> = Box::pin(sending.send(body));
    let mut pumping = true;
    let head = poll_fn(|cx| {
        if let Poll::Ready(head) = receiving.poll_head(cx) {
            return Poll::Ready(head);
        }
        if pumping && let Poll::Ready(sent) = pump.as_mut().poll(cx) {
            pumping = false;
            if let Err(error @ (StreamError::TooLarge(_) | StreamError::Aborted)) = sent {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Pending
    })
    .await?;
    if pumping {
        tokio::task::spawn_local(async move {
            if let Err(error) = pump.await {
                tracing::debug!(%error, "request body not sent to its end");
            }
        });
    }
    Ok(head)
}

/// Moves the connection's bytes until it ends.
async fn drive<IO: AsyncRead + AsyncWrite + Unpin>(
    wire: Wire<IO>,
    link: Rc<Link>,
    shown: Option<Arc<Handshake>>,
    keepalive: Option<Keepalive>,
) {
    let mut wire = pin!(wire);
    let mut watching = keepalive.map(|keepalive| Box::pin(watch(Rc::clone(&link), keepalive)));
    let ended = poll_fn(|cx| {
        if let Some(watching) = &mut watching
            && watching.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if shown.as_ref().is_some_and(|shown| shown.is_revoked()) {
            return Poll::Ready(Err(StreamError::Revoked));
        }
        poll(&mut wire, &link, cx)
    });
    let ended = ended.await;
    let error = match ended {
        Ok(()) => StreamError::Closed,
        Err(error) => {
            tracing::debug!(%error, "upstream HTTP/2 connection ended");
            error
        }
    };
    wire.note_end(&link);
    link.close(&error);
    wire.finish(&link).await;
}

fn poll<IO: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<IO>,
    link: &Rc<Link>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), StreamError>> {
    link.awake(cx);
    for _ in 0..TURNS {
        let read = wire.read(link, &mut Responses, 0, cx)?;
        let wrote = wire.write(link, cx)?;
        if link.with(|machine| machine.is_over() && machine.unwritten() == 0) {
            return Poll::Ready(Ok(()));
        }
        if !read && !wrote {
            link.sleep();
            return Poll::Pending;
        }
    }
    link.sleep();
    cx.waker().wake_by_ref();
    Poll::Pending
}

struct Responses;

impl Heads for Responses {
    fn head(&mut self, link: &Rc<Link>, key: Key, head: Box<Received>, end: bool) {
        let reader = link.with(|machine| {
            let stream = machine.stream(key)?;
            stream.head = Some(head.response());
            stream.ended = end;
            stream.reader()
        });
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// A response's head that is too large is a fault of its stream.
    fn too_large(&mut self, _link: &Rc<Link>, _key: Key) {}

    fn reset(&mut self, _key: Key) {}
}
