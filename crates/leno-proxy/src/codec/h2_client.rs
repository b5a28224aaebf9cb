//! HTTP/2 towards an upstream, by the h2 crate: one connection, many streams.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use leno_engine::compile::cluster::UpstreamHttp2;
use tokio::io::{AsyncRead, AsyncWrite};

use super::h2_server::{ReceivedBody, error, reason, send_body};
use super::{Answer, Body, Frame, H2_PENDING_RESETS, Request, Source, convert, h2_send_buffer};
use crate::outcome::StreamError;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    state: Rc<State>,
    max_streams: usize,
}

#[derive(Debug, Default)]
struct State {
    closed: Cell<bool>,
    active: Cell<usize>,
}

/// Counts a stream for as long as it lives.
#[derive(Debug)]
struct Stream(Rc<State>);

// === impl Client ===

impl Client {
    /// Starts the connection's own task, which ends with the connection.
    pub(crate) async fn start<IO>(
        io: IO,
        options: &UpstreamHttp2,
        buffer_limit: Option<u32>,
    ) -> Result<Self, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(buffer_limit.map_or(options.initial_stream_window, |limit| {
                options.initial_stream_window.min(limit)
            }))
            .initial_connection_window_size(options.initial_connection_window)
            .max_pending_accept_reset_streams(H2_PENDING_RESETS)
            .max_send_buffer_size(h2_send_buffer(buffer_limit))
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|e| error(&e))?;
        let state = Rc::new(State::default());
        let closed = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream HTTP/2 connection ended");
            }
            closed.closed.set(true);
        });
        Ok(Self {
            sender,
            state,
            max_streams: options.max_concurrent_streams as usize,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.closed.get()
    }

    /// Whether another stream fits within the peer's limit and ours.
    pub(crate) fn has_room(&self) -> bool {
        let peer = self.sender.current_max_send_streams();
        !self.is_closed() && self.state.active.get() < self.max_streams.min(peer)
    }

    pub(crate) fn active(&self) -> usize {
        self.state.active.get()
    }

    pub(crate) async fn send(&self, request: Request) -> Result<Answer, StreamError> {
        let Request { head, body } = request;
        let head = convert::to_h2_request(head)?;
        let end = body.is_end();
        let stream = Stream::open(&self.state);
        let mut sender = self.sender.clone().ready().await.map_err(|e| self.unsent(&e))?;
        let (response, sending) = sender.send_request(head, end).map_err(|e| self.unsent(&e))?;
        let response = if end {
            await_response(response, sending).await?
        } else {
            send_and_await(response, sending, body).await?
        };
        let (parts, body) = response.into_parts();
        let length = content_length(&parts.headers);
        let body = if body.is_end_stream() {
            drop(stream);
            Body::Empty
        } else {
            Body::stream(StreamBody {
                body: ReceivedBody::new(body).with_length(length),
                _stream: stream,
            })
        };
        Ok(Answer {
            head: convert::response_head(&parts),
            body,
            upgraded: None,
        })
    }

    /// Nothing of the request has left: it may go elsewhere.
    fn unsent(&self, cause: &h2::Error) -> StreamError {
        tracing::debug!(error = %cause, "HTTP/2 connection takes no more streams");
        self.state.closed.set(true);
        StreamError::Refused
    }
}

impl Stream {
    fn open(state: &Rc<State>) -> Self {
        state.active.set(state.active.get() + 1);
        Self(Rc::clone(state))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// Dropped before its end, a stream is reset: the upstream need not go on.
struct ResetOnDrop(Option<SendStream<Bytes>>);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            stream.send_reset(Reason::CANCEL);
        }
    }
}

async fn await_response(
    response: ResponseFuture,
    sending: SendStream<Bytes>,
) -> Result<http::Response<h2::RecvStream>, StreamError> {
    let mut guard = ResetOnDrop(Some(sending));
    let response = response.await.map_err(|e| error(&e));
    guard.0 = None;
    response
}

/// Sends the body while waiting. What is left of it when the response begins goes on in a task of its own: a client
/// may read the response only after it has sent everything, or the other way round.
async fn send_and_await(
    response: ResponseFuture,
    sending: SendStream<Bytes>,
    body: Body,
) -> Result<http::Response<h2::RecvStream>, StreamError> {
    let mut response = pin!(response);
    let mut pump: Pin<Box<dyn Future<Output = Result<(), StreamError>>>> = Box::pin(pump(body, sending));
    let mut pumping = true;
    let response = poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(response.map_err(|e| error(&e)));
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
    Ok(response)
}

async fn pump(body: Body, sending: SendStream<Bytes>) -> Result<(), StreamError> {
    let mut guard = ResetOnDrop(Some(sending));
    let Some(stream) = &mut guard.0 else { return Ok(()) };
    let sent = send_body(body, stream).await;
    if let Err(error) = &sent {
        stream.send_reset(reason(error));
    }
    guard.0 = None;
    sent
}

/// A response body; while it lives its stream counts.
#[derive(Debug)]
struct StreamBody {
    body: ReceivedBody,
    _stream: Stream,
}

impl Source for StreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.body.poll_frame(cx)
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
