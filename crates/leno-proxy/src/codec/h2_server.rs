//! HTTP/2 from the client, by the h2 crate.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite};

use super::date::Date;
use super::{
    Body, Frame, H2_PENDING_RESETS, Request, Response, ServerLimits, Service, Source, convert, h2_send_buffer,
};
use crate::drain::ConnectionDrain;
use crate::outcome::StreamError;

/// Serves a connection until it ends. `secure`: it came by TLS.
pub(crate) async fn serve<IO, S>(
    io: IO,
    secure: bool,
    limits: &ServerLimits,
    service: Rc<S>,
    mut drain: ConnectionDrain,
) -> Result<(), StreamError>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.max_streams)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_send_buffer_size(h2_send_buffer(limits.buffer_limit));
    let mut connection = builder.handshake::<_, Bytes>(io).await.map_err(|e| error(&e))?;
    let date = Rc::new(Date::default());
    let mut closing = false;
    loop {
        let accepted = if closing {
            tokio::select! {
                accepted = connection.accept() => accepted,
                () = drain.close_now() => {
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    return Ok(());
                }
            }
        } else {
            tokio::select! {
                accepted = connection.accept() => accepted,
                () = drain.started_or_idle() => {
                    closing = true;
                    connection.graceful_shutdown();
                    continue;
                }
            }
        };
        match accepted {
            None => return Ok(()),
            Some(Err(e)) => return Err(error(&e)),
            Some(Ok((request, respond))) => {
                let service = Rc::clone(&service);
                tokio::task::spawn_local(serve_stream(request, respond, secure, service, Rc::clone(&date)));
            }
        }
    }
}

async fn serve_stream<S: Service>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    secure: bool,
    service: Rc<S>,
    date: Rc<Date>,
) {
    let (parts, body) = request.into_parts();
    if expects_continue(&parts.headers)
        && let Err(error) = respond.send_informational(interim())
    {
        tracing::debug!(%error, "100 Continue not sent");
    }
    let head = convert::request_head(&parts, secure);
    let body = Body::stream(ReceivedBody::new(body));
    let mut call = pin!(service.call(Request { head, body }));
    // A reset by the client drops the call, which records it.
    let response = poll_fn(|cx| match respond.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => call.as_mut().poll(cx).map(Some),
    })
    .await;
    let Some(response) = response else { return };
    if let Err(error) = send_response(response, &mut respond, &date).await {
        respond.send_reset(reason(&error));
    }
}

/// RFC 9110 §10.1.1. As Envoy, the proxy answers it by itself; what it forwards expects nothing.
fn expects_continue(headers: &http::HeaderMap) -> bool {
    let expect = headers.get(http::header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn interim() -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::CONTINUE;
    response
}

async fn send_response(
    response: Response,
    respond: &mut SendResponse<Bytes>,
    date: &Date,
) -> Result<(), StreamError> {
    let Response {
        head,
        mut body,
        tunnel: _,
    } = response;
    let end = body.is_end();
    let mut head = convert::to_response(head, ())?;
    date.add(head.headers_mut());
    let mut stream = respond.send_response(head, end).map_err(|e| error(&e))?;
    if end {
        // The end is known without polling; whoever counts frames still has to see it.
        let _ = body.frame().await;
        return Ok(());
    }
    match send_body(body, &mut stream).await {
        Ok(()) => Ok(()),
        Err(error) => {
            stream.send_reset(reason(&error));
            Err(error)
        }
    }
}

/// Sends as the peer's window allows; a reset by the peer ends it.
pub(super) async fn send_body(mut body: Body, stream: &mut SendStream<Bytes>) -> Result<(), StreamError> {
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => Poll::Ready(Some(Err(reset(reason)))),
            Poll::Ready(Err(e)) => Poll::Ready(Some(Err(error(&e)))),
            Poll::Pending => body.poll_frame(cx),
        })
        .await;
        match frame {
            None => return stream.send_data(Bytes::new(), true).map_err(|e| error(&e)),
            Some(Err(error)) => return Err(error),
            Some(Ok(Frame::Trailers(trailers))) => {
                let trailers = convert::trailers_to(trailers)?;
                stream.send_trailers(trailers).map_err(|e| error(&e))?;
                // As above: the end after the trailers is to be seen.
                let _ = body.frame().await;
                return Ok(());
            }
            Some(Ok(Frame::Data(data))) => {
                let end = body.is_end();
                send_data(data, end, stream).await?;
                if end {
                    let _ = body.frame().await;
                    return Ok(());
                }
            }
        }
    }
}

async fn send_data(mut data: Bytes, end: bool, stream: &mut SendStream<Bytes>) -> Result<(), StreamError> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = match stream.capacity() {
            0 => {
                poll_fn(|cx| match stream.poll_reset(cx) {
                    Poll::Ready(Ok(reason)) => Poll::Ready(Err(reset(reason))),
                    Poll::Ready(Err(e)) => Poll::Ready(Err(error(&e))),
                    Poll::Pending => match ready!(stream.poll_capacity(cx)) {
                        None => Poll::Ready(Err(StreamError::Closed)),
                        Some(granted) => Poll::Ready(granted.map_err(|e| error(&e))),
                    },
                })
                .await?
            }
            granted => granted,
        };
        let chunk = data.split_to(granted.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(chunk, last).map_err(|e| error(&e))?;
    }
    if end && data.is_empty() {
        return Ok(());
    }
    Ok(())
}

/// A body that h2 received. The window opens again when a frame has been taken.
#[derive(Debug)]
pub(super) struct ReceivedBody {
    stream: RecvStream,
    length: Option<u64>,
    data_done: bool,
}

impl ReceivedBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            length: None,
            data_done: false,
        }
    }

    pub(super) fn with_length(mut self, length: Option<u64>) -> Self {
        self.length = length;
        self
    }
}

impl Source for ReceivedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        while !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                None => self.data_done = true,
                Some(Err(e)) => return Poll::Ready(Some(Err(error(&e)))),
                Some(Ok(data)) => {
                    let taken = self.stream.flow_control().release_capacity(data.len());
                    if data.is_empty() {
                        continue;
                    }
                    self.length = self.length.map(|l| l.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(taken.map(|()| Frame::Data(data)).map_err(|e| error(&e))));
                }
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(None) => Poll::Ready(None),
            Ok(Some(map)) => Poll::Ready(Some(Ok(Frame::Trailers(convert::trailers_from(&map))))),
            Err(e) => Poll::Ready(Some(Err(error(&e)))),
        }
    }

    fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// h2's error as data.
pub(super) fn error(error: &h2::Error) -> StreamError {
    if error.is_io() {
        return StreamError::Closed;
    }
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => StreamError::Refused,
        Some(Reason::NO_ERROR) if error.is_go_away() => StreamError::Refused,
        Some(code) if error.is_remote() => reset(code),
        Some(code) if error.is_library() => StreamError::Protocol(code.description().into()),
        _ => StreamError::Closed,
    }
}

fn reset(reason: Reason) -> StreamError {
    match reason {
        Reason::REFUSED_STREAM => StreamError::Refused,
        other => StreamError::Reset(other.into()),
    }
}

pub(super) fn reason(error: &StreamError) -> Reason {
    match error {
        StreamError::Refused => Reason::REFUSED_STREAM,
        StreamError::Reset(code) => Reason::from(*code),
        StreamError::Aborted => Reason::CANCEL,
        StreamError::Protocol(_) | StreamError::Invalid(_) => Reason::PROTOCOL_ERROR,
        _ => Reason::INTERNAL_ERROR,
    }
}
