//! The server's side of a connection: its requests one after the other, each with its response.

mod closing;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Buf;
use leno_engine::compile::http::Http1Options;
use leno_engine::message::{RequestHead, Version};
use leno_http1::{
    Decoded, Decoder, Error, Framing, HeadScanner, Limits, ResponseTo, Settings, encode_response,
    leading_empty_lines, may_begin_request, parse_request,
};
use leno_telemetry::stats::Meter;
use tokio::time::{Sleep, sleep};

use super::Workspace;
use super::patience::Patience;
use super::sending::{SendError, Sending};
use super::spelling;
use super::wire::Wire;
use crate::codec::{Body, Counter, Frame, Refusal, Request, Response, ServerLimits, Service, Source, Tunnel};
use crate::ending::Ending;
use crate::io::Rewound;
use crate::outcome::StreamError;
use crate::tcp;

/// Kept of requests that come before the response to the one before them.
const PIPELINED: usize = 64 * 1024;

const TOO_LATE: Refusal = Refusal {
    status: 408,
    details: "request_header_timeout",
    body: "request header timeout",
    malformed: false,
};

const NO_HOST: Refusal = Refusal {
    status: 400,
    details: "missing_host_header",
    body: "",
    malformed: false,
};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection, which the body of the request in hand shares.
#[derive(Debug)]
struct Connection {
    wire: RefCell<Wire>,
    body: RefCell<Decoder>,
    /// Somebody may still read the body.
    reading: Cell<bool>,
    /// The client has gone in the middle of it.
    truncated: Cell<bool>,
    secure: bool,
    header_timeout: Option<Duration>,
    delayed_close: Option<Duration>,
    counts_wire: bool,
    settings: Settings,
    options: Http1Options,
}

/// What stands at the beginning of a connection, or after a response.
enum Next {
    Request(leno_http1::Request),
    Refused(Refusal),
    Closed,
}

/// What follows a response.
enum After {
    Next,
    /// It has ended already.
    Ended,
    Close,
    /// The client may still be sending.
    Linger,
    Tunnel(Box<Tunnel>),
}

/// What of a request its response depends on.
struct Asked {
    version: Version,
    head: bool,
    connect: bool,
    upgrade: bool,
    persistent: bool,
}

/// Serves a connection until it ends. `secure`: it came by TLS.
pub(crate) fn serve<S: Service>(
    io: Rewound,
    secure: bool,
    limits: &ServerLimits,
    workspace: &Rc<Workspace>,
    service: Rc<S>,
    (ending, meter): (Rc<Ending>, Meter),
) -> impl Future<Output = ()> + use<S> {
    let settings = Settings {
        limits: Limits {
            head_bytes: limits.max_header_bytes,
            fields: limits.max_headers,
        },
        http10: !limits.http1.refuses_http10,
        // What becomes of them is seen when they are read.
        hostless_http10: true,
        any_method: limits.any_method,
        chunked_length: limits.chunked_length,
    };
    let connection = Rc::new(Connection {
        wire: RefCell::new(Wire::new(io, workspace, limits.buffer_limit, meter)),
        body: RefCell::new(Decoder::new(Framing::None, &settings.limits)),
        reading: Cell::new(false),
        truncated: Cell::new(false),
        secure,
        header_timeout: limits.header_timeout,
        delayed_close: limits.delayed_close,
        counts_wire: limits.counts_wire,
        settings,
        options: limits.http1.clone(),
    });
    async move {
        let ended = loop {
            match connection.turn(&ending, &*service).await.await {
                Ok(After::Next) => {}
                Ok(After::Ended) => break Ok(()),
                Ok(After::Close) => break Box::pin(connection.close(false, &*service)).await,
                Ok(After::Linger) => break Box::pin(connection.close(true, &*service)).await,
                Ok(After::Tunnel(tunnel)) => break Box::pin(run_tunnel(connection, *tunnel)).await,
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = ended {
            service.failed(&error);
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Waits for what is to be done next. What a request needs, an idle connection does not have.
    async fn turn<'c, S: Service>(
        self: &'c Rc<Self>,
        ending: &'c Ending,
        service: &'c S,
    ) -> Pin<Box<dyn Future<Output = Result<After, StreamError>> + 'c>> {
        let mut next = self.next(ending).await;
        if let Next::Request(request) = &mut next
            && !self.name_host(&mut request.head)
        {
            return Box::pin(self.refuse(NO_HOST, Version::Http10, service));
        }
        match next {
            Next::Request(request) if request.expects_continue => Box::pin(async move {
                self.go_on().await?;
                self.exchange(request, ending, service).await
            }),
            Next::Request(request) => Box::pin(self.exchange(request, ending, service)),
            Next::Refused(refusal) => Box::pin(self.refuse(refusal, Version::Http11, service)),
            Next::Closed => Box::pin(std::future::ready(Ok(After::Ended))),
        }
    }

    async fn next(&self, ending: &Ending) -> Next {
        let mut scanner = HeadScanner::default();
        let mut late: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            if let Poll::Ready(next) = self.poll_next(&mut scanner, ending, cx) {
                return Poll::Ready(next);
            }
            // A timer only for heads that come in pieces.
            match self
                .header_timeout
                .filter(|_| !self.wire.borrow().input.is_empty())
            {
                None => Poll::Pending,
                Some(limit) => {
                    let late = late.get_or_insert_with(|| Box::pin(sleep(limit)));
                    ready!(late.as_mut().poll(cx));
                    Poll::Ready(Next::Refused(TOO_LATE))
                }
            }
        })
        .await
    }

    fn poll_next(&self, scanner: &mut HeadScanner, ending: &Ending, cx: &mut Context<'_>) -> Poll<Next> {
        let mut wire = self.wire.borrow_mut();
        // What is left of an answer before this, which may have been taken only in part.
        if matches!(wire.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Next::Closed);
        }
        loop {
            let empty = leading_empty_lines(&wire.input);
            if empty > 0 {
                wire.input.advance(empty);
                *scanner = HeadScanner::default();
            }
            if let Some(end) = scanner.find(&wire.input) {
                let head = wire.input.split_to(end);
                wire.release_input();
                self.count(&mut wire, &head);
                return Poll::Ready(match parse_request(&head, self.secure, &self.settings) {
                    Ok(mut request) => {
                        spelling::note(self.options.header_case, &head, &mut request.head.headers);
                        Next::Request(request)
                    }
                    Err(error) => Next::refused(error),
                });
            }
            if wire.input.len() > self.settings.limits.head_bytes {
                self.count(&mut wire, &[]);
                return Poll::Ready(Next::refused(Error::TooLarge));
            }
            // Before the other side waits for a line that it has ended in its own protocol's way.
            if wire
                .input
                .first()
                .is_some_and(|byte| !may_begin_request(*byte, &self.settings))
            {
                self.count(&mut wire, &[]);
                return Poll::Ready(Next::refused(Error::Syntax("no request")));
            }
            match wire.poll_read(cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Next::Closed),
                Poll::Pending => break,
            }
        }
        wire.own_input();
        ending.wake(cx);
        if ending.is_to_close_idle() || ending.is_to_close_now() {
            return Poll::Ready(Next::Closed);
        }
        Poll::Pending
    }

    /// Another stream begins with this head.
    fn count(&self, wire: &mut Wire, head: &[u8]) {
        if self.counts_wire {
            wire.counter = Counter::new(true);
            wire.counter.received_head(head);
        }
    }

    /// False: a request of HTTP/1.0 that names none, and there is none for such.
    fn name_host(&self, head: &mut RequestHead) -> bool {
        if head.authority.is_empty() && head.version == Version::Http10 {
            match &self.options.default_host {
                Some(host) => head.authority = host.clone(),
                None => return false,
            }
        }
        true
    }

    /// The client may send the body.
    async fn go_on(&self) -> Result<(), StreamError> {
        let interim = poll_fn(|cx| Poll::Ready(self.wire.borrow_mut().write(&[CONTINUE], cx)));
        interim.await.map_err(|_| StreamError::Closed)
    }

    /// One request and its response. An error ends the connection without more. Inlined, so that it is made where it
    /// is to be: a copy of it is three kilobytes.
    #[inline(always)]
    fn exchange<'c, S: Service>(
        self: &'c Rc<Self>,
        request: leno_http1::Request,
        ending: &'c Ending,
        service: &'c S,
    ) -> impl Future<Output = Result<After, StreamError>> + use<'c, S> {
        let leno_http1::Request {
            head,
            framing,
            persistent,
            expects_continue: _,
        } = request;
        let asked = Asked {
            version: head.version,
            head: head.method.as_ref() == b"HEAD",
            connect: head.method.as_ref() == b"CONNECT",
            upgrade: head.upgrade.is_some(),
            persistent,
        };
        let body = self.receive(framing);
        let counter = {
            let wire = self.wire.borrow();
            wire.meter.set_busy(true);
            wire.counter.clone()
        };
        async move {
            let response = {
                let mut call = pin!(service.call(Request { head, body, counter }));
                poll_fn(|cx| match call.as_mut().poll(cx) {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    Poll::Pending => self.poll_gone(ending, cx).map(|()| None),
                })
                .await
            };
            // A client that has gone in the middle of its request waits for nothing.
            let Some(response) = response.filter(|_| !self.truncated.get()) else {
                return Err(StreamError::Closed);
            };
            let draining = service.draining() || ending.is_to_close_idle();
            let after = self.respond(response, asked, draining, (ending, service)).await;
            let meter = &self.wire.borrow().meter;
            // An answer that breaks off is over before its connection is.
            if after.is_ok() || !meter.is_ended_by_peer() && !ending.is_to_close_now() {
                meter.set_busy(false);
            }
            after
        }
    }

    /// Sends a response.
    async fn respond<S: Service>(
        &self,
        response: Response,
        asked: Asked,
        draining: bool,
        (ending, service): (&Ending, &S),
    ) -> Result<After, StreamError> {
        let Response {
            mut head,
            body,
            tunnel,
        } = response;
        // A service says `Connection: close` of itself; of an upstream's connection nothing comes here.
        let asked_to_close = tunnel.is_none() && head.headers.remove("connection").is_some();
        let all = self.skim();
        let now =
            (!head.headers.contains("date")).then(|| self.wire.borrow().workspace().date(SystemTime::now()));
        let to = ResponseTo {
            version: asked.version,
            head: asked.head,
            tunnel: tunnel.is_some(),
            // As Envoy: a client that has more to send than is wanted is told to go elsewhere with it, and what
            // follows a refused upgrade or tunnel may be of another protocol.
            close: asked_to_close || !asked.persistent || draining || !all || asked.upgrade || asked.connect,
            date: now.as_ref().map_or(&[], |now| now),
        };
        let close = self.send(head, body, &to, (ending, service)).await?;
        if let Some(tunnel) = tunnel {
            return Ok(After::Tunnel(tunnel));
        }
        Ok(match (close, self.skim()) {
            (true, true) if !draining => After::Close,
            (true, _) | (_, false) => After::Linger,
            (false, true) => After::Next,
        })
    }

    /// The result: whether the connection ends with it.
    async fn send<S: Service>(
        &self,
        head: leno_engine::message::ResponseHead,
        body: Body,
        to: &ResponseTo<'_>,
        (ending, service): (&Ending, &S),
    ) -> Result<bool, StreamError> {
        let mut close = to.close;
        let mut first = Some((head, body));
        let mut sending: Option<Sending> = None;
        let mut patience = Patience::new(self.delayed_close);
        poll_fn(|cx| {
            if let Some((head, body)) = first.take() {
                let workspace = Rc::clone(self.wire.borrow().workspace());
                let mut out = workspace.head();
                let encoded = encode_response(&head, body.length(), to, &mut out).map_err(SendError::from);
                let begun = encoded.and_then(|encoded| {
                    close = encoded.close;
                    spelling::write(self.options.header_case, &head.headers, &mut out);
                    self.wire.borrow().counter.sent_head(&out);
                    Sending::begin(body, encoded.body, &mut out, &self.wire, cx)
                });
                workspace.keep(out);
                sending = Some(begun.map_err(unsent)?);
            }
            let Some(sending) = &mut sending else {
                return Poll::Ready(Ok(close));
            };
            match sending.poll(&self.wire, cx) {
                Poll::Ready(sent) => Poll::Ready(sent.map(|()| close).map_err(unsent)),
                // The client has not taken the end of its last answer for as long as it may.
                Poll::Pending
                    if close
                        && sending.has_ended()
                        && patience.is_over(self.wire.borrow().unwritten(), cx) =>
                {
                    service.ended_late();
                    Poll::Ready(Err(StreamError::TimedOut))
                }
                Poll::Pending
                    if sending.has_ended() && ending.is_to_close_idle() && !ending.is_draining() =>
                {
                    Poll::Ready(Err(StreamError::TimedOut))
                }
                Poll::Pending => self.poll_gone(ending, cx).map(|()| Err(StreamError::Closed)),
            }
        })
        .await
    }

    /// Answers what is no request.
    async fn refuse<S: Service>(
        &self,
        refusal: Refusal,
        version: Version,
        service: &S,
    ) -> Result<After, StreamError> {
        let counter = self.wire.borrow().counter.clone();
        let Response { head, body, .. } = service.refuse(&refusal, counter);
        let to = ResponseTo {
            version,
            head: false,
            tunnel: false,
            close: true,
            date: &self.wire.borrow().workspace().date(SystemTime::now()),
        };
        let mut out = Vec::new();
        let encoded = encode_response(&head, body.length(), &to, &mut out).map_err(|e| unsent(e.into()))?;
        spelling::write(self.options.header_case, &head.headers, &mut out);
        self.wire.borrow().counter.sent_head(&out);
        let mut body = Some(body);
        let mut sending = None;
        let mut patience = Patience::new(self.delayed_close);
        poll_fn(|cx| {
            if let Some(body) = body.take() {
                sending = Some(Sending::begin(body, encoded.body, &mut out, &self.wire, cx)?);
            }
            let sent = match &mut sending {
                Some(sending) => sending.poll(&self.wire, cx),
                None => Poll::Ready(Ok(())),
            };
            if sent.is_pending() && patience.is_over(self.wire.borrow().unwritten(), cx) {
                service.ended_late();
                return Poll::Ready(Err(SendError::Connection));
            }
            sent
        })
        .await
        .map_err(unsent)?;
        Ok(After::Linger)
    }

    fn receive(self: &Rc<Self>, framing: Framing) -> Body {
        *self.body.borrow_mut() = Decoder::new(framing, &self.settings.limits);
        if framing == Framing::None {
            return Body::Empty;
        }
        self.reading.set(true);
        Body::stream(RequestBody(Rc::clone(self)))
    }

    /// Reads over what has come of a body that nobody wants. True: the request has been received to its end.
    fn skim(&self) -> bool {
        let mut body = self.body.borrow_mut();
        if body.is_end() || self.reading.get() {
            return body.is_end();
        }
        let mut wire = self.wire.borrow_mut();
        loop {
            match body.decode(&mut wire.input) {
                Ok(Decoded::Data(_) | Decoded::Trailers(_)) => {}
                Ok(Decoded::End) => break true,
                Ok(Decoded::More) | Err(_) => break false,
            }
        }
    }

    /// Ready when nobody waits for the response any more, or nobody may. As Envoy: a client that ends its side has
    /// gone, and what it asked for is given up.
    fn poll_gone(&self, ending: &Ending, cx: &mut Context<'_>) -> Poll<()> {
        ending.wake(cx);
        if ending.is_to_close_now() {
            return Poll::Ready(());
        }
        let mut wire = self.wire.borrow_mut();
        if !self.body.borrow().is_end() {
            // Whoever reads the body learns it.
            return Poll::Pending;
        }
        while wire.input.len() < PIPELINED {
            match wire.poll_read(cx) {
                Poll::Ready(Ok(read)) if read > 0 => wire.own_input(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        wire.own_input();
        Poll::Pending
    }
}

async fn run_tunnel(connection: Rc<Connection>, tunnel: Tunnel) -> Result<(), StreamError> {
    let Ok(connection) = Rc::try_unwrap(connection) else {
        // Let go of, it tells that it was cut off.
        return Err(StreamError::Aborted);
    };
    let (mut downstream, meter) = connection.wire.into_inner().into_upgraded();
    let mut upstream = *tunnel.upstream;
    let ending = &tunnel.ending;
    let ended = tcp::copy_both(&mut downstream, &mut upstream, None, &tunnel.scratch, ending).await;
    meter.received(ended.received);
    meter.sent(ended.sent);
    meter.ended(ended.is_by_downstream());
    tunnel.finish.ended(&ended);
    Ok(())
}

fn unsent(error: SendError) -> StreamError {
    match error {
        SendError::Connection => StreamError::Closed,
        SendError::Body(error) => error,
    }
}

// === impl Next ===

impl Next {
    fn refused(error: Error) -> Self {
        tracing::debug!(%error, "not a request");
        Self::Refused(Refusal {
            status: error.status(),
            details: error.details(),
            body: match error {
                Error::NoHost => "",
                error => leno_http1::reason(error.status()),
            },
            malformed: error != Error::NoHost,
        })
    }
}

/// The body of the request in hand.
#[derive(Debug)]
struct RequestBody(Rc<Connection>);

impl Source for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let mut wire = self.0.wire.borrow_mut();
        let mut body = self.0.body.borrow_mut();
        loop {
            let before = wire.input.len();
            let decoded = body.decode(&mut wire.input);
            wire.counter.received((before - wire.input.len()) as u64);
            wire.release_input();
            return Poll::Ready(match decoded {
                Ok(Decoded::Data(data)) => Some(Ok(Frame::Data(data))),
                Ok(Decoded::Trailers(trailers)) => Some(Ok(Frame::Trailers(trailers))),
                Ok(Decoded::End) => None,
                Err(error) => Some(Err(StreamError::Malformed {
                    status: error.status(),
                    details: error.details(),
                })),
                Ok(Decoded::More) => match ready!(wire.poll_read(cx)) {
                    Ok(read) if read > 0 => continue,
                    _ => {
                        self.0.truncated.set(true);
                        Some(Err(StreamError::Truncated))
                    }
                },
            });
        }
    }

    fn is_end(&self) -> bool {
        self.0.body.borrow().is_end()
    }

    fn length(&self) -> Option<u64> {
        self.0.body.borrow().length()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.0.reading.set(false);
    }
}
