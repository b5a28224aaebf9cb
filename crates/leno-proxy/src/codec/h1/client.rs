//! The client's side of a connection: one request, one response, and again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use leno_engine::compile::cluster::UpstreamHttp1;
use leno_engine::compile::http::HeaderCase;
use leno_engine::message::{RequestHead, ResponseHead};
use leno_http1::{
    Asked, BodyWriter, Decoded, Decoder, EncodeError, Error, Framing, HeadScanner, encode_request,
    parse_response,
};
use leno_telemetry::stats::Meter;
use tokio::task::AbortHandle;

use super::sending::{SendError, Sending};
use super::spelling;
use super::wire::Wire;
use super::{RESPONSE_LIMITS, Workspace, protocol};
use crate::codec::{Body, Counter, Frame};
use crate::io::{Io, Rewound};
use crate::outcome::StreamError;

#[derive(Debug)]
pub(crate) struct Client {
    wire: Rc<RefCell<Wire>>,
    decoder: Decoder,
    /// The response has not forbidden another request.
    persistent: bool,
    options: UpstreamHttp1,
    /// Goes on with a request whose response has begun before its end.
    rest: Option<Rest>,
}

/// Sends what is left of a request, in a task of its own: the client may read the response only after it has sent
/// everything, or the other way round.
#[derive(Debug)]
struct Rest {
    task: AbortHandle,
    sent: Rc<Cell<bool>>,
}

/// A request on its way, and its response's head when that comes.
#[derive(Debug)]
pub(crate) struct Asking {
    /// Until it is sent.
    written: Option<Written>,
    sending: Option<Sending>,
    asked: Asked,
    scanner: HeadScanner,
    received: bool,
    /// Bytes of interim responses, of which there is no end otherwise.
    interim: usize,
}

/// A request's head as it goes out, and what follows it.
#[derive(Debug)]
struct Written {
    head: Vec<u8>,
    writer: Result<BodyWriter, EncodeError>,
    body: Body,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(io: Io, workspace: &Rc<Workspace>, buffer_limit: Option<u32>, meter: Meter) -> Self {
        let io = Rewound::new(bytes::Bytes::new(), io);
        Self {
            wire: Rc::new(RefCell::new(Wire::new(io, workspace, buffer_limit, meter))),
            decoder: Decoder::new(Framing::None, &RESPONSE_LIMITS),
            persistent: true,
            options: UpstreamHttp1::default(),
            rest: None,
        }
    }

    /// With the options of a cluster.
    pub(crate) fn speaking(self, options: UpstreamHttp1) -> Self {
        Self { options, ..self }
    }

    /// The messages before are over in both directions, and another may follow.
    pub(crate) fn is_free(&self) -> bool {
        let sent = self.rest.as_ref().is_none_or(|rest| rest.sent.get());
        self.persistent && sent && self.decoder.is_end() && self.wire.borrow().is_empty()
    }

    /// A free connection that the upstream has neither closed nor written to.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().is_quiet()
    }

    /// Begins with a request; [`Self::poll_answer`] goes on.
    pub(crate) fn ask(&mut self, head: &RequestHead, body: Body, counter: Counter) -> Asking {
        self.persistent = false;
        {
            let mut wire = self.wire.borrow_mut();
            wire.meter.set_busy(true);
            wire.counter = counter;
        }
        let mut out = self.wire.borrow().workspace().head();
        let whole;
        let to_write = match self.options.whole_url {
            true => {
                whole = with_whole_url(head);
                &whole
            }
            false => head,
        };
        let writer = encode_request(to_write, body.length(), &mut out);
        if writer.is_ok() {
            spelling::write(self.options.header_case, &head.headers, &mut out);
            self.wire.borrow().counter.sent_head(&out);
        }
        let written = Written {
            writer,
            head: out,
            body,
        };
        let asked = match (&head.upgrade, head.method.as_ref()) {
            (Some(_), _) => Asked::Upgrade,
            (None, b"HEAD") => Asked::Head,
            (None, b"CONNECT") => Asked::Connect,
            (None, _) => Asked::Other,
        };
        Asking {
            written: Some(written),
            sending: None,
            asked,
            scanner: HeadScanner::default(),
            received: false,
            interim: 0,
        }
    }

    /// Sends the request and waits for the head of its response; [`Self::poll_frame`] gives the body. No future of its
    /// own, which would be another copy of the request in those around it.
    pub(crate) fn poll_answer(
        &mut self,
        asking: &mut Asking,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, StreamError>> {
        if let Some(written) = asking.written.take() {
            asking.begin(written, &self.wire, cx)?;
        }
        let response = ready!(asking.poll(&self.wire, self.options.header_case, cx))?;
        let unsent = asking.sending.take();
        if let Some(sending) = unsent.filter(|_| response.head.status != 101) {
            self.rest = Some(Rest::start(sending, &self.wire));
        }
        self.persistent = response.persistent;
        self.decoder = Decoder::new(response.framing, &RESPONSE_LIMITS);
        self.wire.borrow().meter.set_busy(!self.decoder.is_end());
        Poll::Ready(Ok(response.head))
    }

    /// The connection, which has left HTTP. None: part of a message is still on its way.
    pub(crate) fn into_upgraded(self) -> Option<(Rewound, Meter)> {
        let wire = Rc::try_unwrap(self.wire).ok()?;
        Some(wire.into_inner().into_upgraded())
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let mut wire = self.wire.borrow_mut();
        loop {
            let before = wire.input.len();
            let decoded = self.decoder.decode(&mut wire.input);
            wire.counter.received((before - wire.input.len()) as u64);
            wire.release_input();
            return Poll::Ready(match decoded {
                Ok(Decoded::Data(data)) => {
                    wire.meter.set_busy(!self.decoder.is_end());
                    Some(Ok(Frame::Data(data)))
                }
                Ok(Decoded::Trailers(trailers)) => Some(Ok(Frame::Trailers(trailers))),
                Ok(Decoded::End) => {
                    wire.meter.set_busy(false);
                    None
                }
                Err(error) => Some(Err(protocol(error))),
                Ok(Decoded::More) => match ready!(wire.poll_read(cx)) {
                    Ok(0) => match self.decoder.end() {
                        Ok(()) => {
                            wire.meter.set_busy(false);
                            None
                        }
                        Err(error) => Some(Err(protocol(error))),
                    },
                    Ok(_) => continue,
                    Err(_) => Some(Err(StreamError::Truncated)),
                },
            });
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        self.decoder.is_end()
    }

    /// Bytes of the body still to come, when known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.decoder.length()
    }
}

// === impl Asking ===

impl Asking {
    fn begin(
        &mut self,
        written: Written,
        wire: &RefCell<Wire>,
        cx: &mut Context<'_>,
    ) -> Result<(), StreamError> {
        let Written {
            mut head,
            writer,
            body,
        } = written;
        let begun = writer
            .map_err(SendError::from)
            .and_then(|writer| Sending::begin(body, writer, &mut head, wire, cx));
        wire.borrow().workspace().keep(head);
        match begun {
            Ok(sending) => self.sending = Some(sending),
            Err(SendError::Body(error)) => return Err(error),
            // Perhaps it has answered before it closed.
            Err(SendError::Connection) => {}
        }
        Ok(())
    }

    fn poll(
        &mut self,
        wire: &RefCell<Wire>,
        case: HeaderCase,
        cx: &mut Context<'_>,
    ) -> Poll<Result<leno_http1::Response, StreamError>> {
        if let Some(sending) = &mut self.sending {
            match sending.poll(wire, cx) {
                Poll::Pending => {}
                Poll::Ready(Err(SendError::Body(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(()) | Err(SendError::Connection)) => self.sending = None,
            }
        }
        let mut wire = wire.borrow_mut();
        loop {
            if let Some(end) = self.scanner.find(&wire.input) {
                self.scanner = HeadScanner::default();
                let head = wire.input.split_to(end);
                wire.release_input();
                wire.counter.received_head(&head);
                let mut response = parse_response(&head, self.asked, &RESPONSE_LIMITS).map_err(protocol)?;
                // Interim responses end here: Envoy passes them on only with `proxy_100_continue`.
                if response.head.status < 200 && response.head.status != 101 {
                    self.interim += head.len();
                    if self.interim > RESPONSE_LIMITS.head_bytes {
                        return Poll::Ready(Err(protocol(Error::TooLarge)));
                    }
                    continue;
                }
                spelling::note(case, &head, &mut response.head.headers);
                return Poll::Ready(Ok(response));
            }
            if wire.input.len() > RESPONSE_LIMITS.head_bytes {
                return Poll::Ready(Err(protocol(Error::TooLarge)));
            }
            if wire.input.first().is_some_and(|byte| *byte != b'H') {
                return Poll::Ready(Err(protocol(Error::Syntax("no response"))));
            }
            match wire.poll_read(cx) {
                Poll::Pending => {
                    wire.own_input();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(read)) if read > 0 => self.received = true,
                // What is cut off may be anything.
                Poll::Ready(_) if !wire.input.is_empty() => {
                    return Poll::Ready(Err(protocol(Error::Truncated)));
                }
                Poll::Ready(_) if self.received => return Poll::Ready(Err(StreamError::Truncated)),
                Poll::Ready(_) => return Poll::Ready(Err(StreamError::Closed)),
            }
        }
    }
}

/// As to a proxy (RFC 9112 §3.2.2). A CONNECT has no URL.
fn with_whole_url(head: &RequestHead) -> RequestHead {
    let mut head = head.clone();
    if head.method.as_ref() != b"CONNECT" {
        head.path = [&head.scheme[..], b"://", &head.authority, &head.path]
            .concat()
            .into();
    }
    head
}

// === impl Rest ===

impl Rest {
    fn start(mut sending: Sending, wire: &Rc<RefCell<Wire>>) -> Self {
        let sent = Rc::new(Cell::new(false));
        let (done, wire) = (Rc::clone(&sent), Rc::clone(wire));
        let task = tokio::task::spawn_local(async move {
            let result = poll_fn(|cx| sending.poll(&wire, cx)).await;
            match result {
                Ok(()) => done.set(true),
                Err(error) => tracing::debug!(?error, "request body not sent to its end"),
            }
        });
        Self {
            task: task.abort_handle(),
            sent,
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.task.abort();
    }
}
