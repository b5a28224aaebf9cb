//! HTTP/1.0 and 1.1, by hyper: the server's and the client's side of a connection.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use leno_engine::message::Headers;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, Body, Frame, Request, Response, ServerLimits, Service, Source, Tunnel};
use super::{convert, h1_buffer};
use crate::drain::ConnectionDrain;
use crate::outcome::StreamError;
use crate::tcp;

/// Serves a connection until it ends. `secure`: it came by TLS.
pub(crate) async fn serve<IO, S>(
    io: IO,
    secure: bool,
    limits: &ServerLimits,
    service: Rc<S>,
    mut drain: ConnectionDrain,
) -> Result<(), StreamError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let handler = Rc::clone(&service);
    let service_fn = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let handler = Rc::clone(&handler);
        async move { respond(request, secure, &*handler).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // As Envoy: a client that ends its side has gone, and what it asked for is given up.
        .half_close(false)
        .auto_date_header(true)
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.max_headers)
        .max_buf_size(h1_buffer(limits.buffer_limit).max(limits.max_header_bytes))
        .max_header_size(limits.max_header_bytes);
    let mut connection = pin!(
        builder
            .serve_connection(TokioIo::new(io), service_fn)
            .with_upgrades()
    );
    tokio::select! {
        result = connection.as_mut() => return result.map_err(|e| ended(&e, &*service)),
        () = drain.close_idle() => {}
    }
    // Finishes the request in hand, if any; an idle connection ends here.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = connection => result.map_err(|e| ended(&e, &*service)),
        () = drain.close_now() => Ok(()),
    }
}

/// hyper answers what it cannot read by itself, and ends the connection.
fn ended<S: Service>(e: &hyper::Error, service: &S) -> StreamError {
    if e.is_parse() {
        service.rejected(if e.is_parse_too_large() { 431 } else { 400 });
    }
    error(e)
}

/// One request and its response, in hyper's types. An error here closes the connection without an answer.
async fn respond<S: Service>(
    mut request: http::Request<Incoming>,
    secure: bool,
    service: &S,
) -> Result<http::Response<HyperBody>, StreamError> {
    let wants_upgrade = request.headers().contains_key(http::header::UPGRADE);
    let on_upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let head = convert::request_head(&parts, secure);
    let upgrade = head.upgrade.clone();
    let Response {
        mut head,
        body,
        tunnel,
    } = service
        .call(Request {
            head,
            body: Body::stream(IncomingBody(body)),
        })
        .await;
    if service.draining() && tunnel.is_none() {
        head.headers.set("connection", "close");
    }
    if let (Some(tunnel), Some(on_upgrade), Some(protocol)) = (tunnel, on_upgrade, upgrade) {
        head.headers.set("connection", "upgrade");
        head.headers.set("upgrade", protocol);
        tokio::task::spawn_local(run_tunnel(on_upgrade, tunnel));
    }
    convert::to_response(head, HyperBody(body))
}

async fn run_tunnel(on_upgrade: hyper::upgrade::OnUpgrade, mut tunnel: Tunnel) {
    let Ok(downstream) = on_upgrade.await else {
        return tunnel.finish.ended(0, 0);
    };
    let mut downstream = TokioIo::new(downstream);
    let mut upstream = TokioIo::new(tunnel.upstream);
    let cut = tunnel.drain.close_now();
    let ended = tcp::copy_both(&mut downstream, &mut upstream, None, &tunnel.scratch, cut).await;
    tunnel.finish.ended(ended.received, ended.sent);
}

/// The client's side. Requests go one after the other.
#[derive(Debug)]
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<HyperBody>,
}

impl Client {
    /// Starts the connection's own task, which ends with the connection.
    pub(crate) async fn start<IO>(io: IO, buffer_limit: Option<u32>) -> Result<Self, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(256)
            .max_buf_size(h1_buffer(buffer_limit))
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| error(&e))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream HTTP/1 connection ended");
            }
        });
        Ok(Self { sender })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// The response before is over.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until the response before is over. False: the connection is closed.
    pub(crate) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    pub(crate) async fn send(&mut self, request: Request) -> Result<Answer, StreamError> {
        let request = convert::to_h1_request(request.head, HyperBody(request.body))?;
        let mut response = self.sender.send_request(request).await.map_err(|e| error(&e))?;
        let upgraded = match response.status() {
            http::StatusCode::SWITCHING_PROTOCOLS => {
                let upgraded = hyper::upgrade::on(&mut response).await;
                Some(upgraded.map_err(|e| error(&e))?)
            }
            _ => None,
        };
        let (parts, body) = response.into_parts();
        Ok(Answer {
            head: convert::response_head(&parts),
            body: Body::stream(IncomingBody(body)),
            upgraded,
        })
    }
}

/// A body that hyper received.
#[derive(Debug)]
struct IncomingBody(Incoming);

impl Source for IncomingBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(e)) => return Poll::Ready(Some(Err(error(&e)))),
                Some(Ok(frame)) => frame,
            };
            return match frame.into_data() {
                Ok(data) => Poll::Ready(Some(Ok(Frame::Data(data)))),
                Err(frame) => match frame.into_trailers() {
                    Ok(map) => Poll::Ready(Some(Ok(Frame::Trailers(convert::trailers_from(&map))))),
                    Err(_) => continue,
                },
            };
        }
    }

    fn is_end(&self) -> bool {
        self.0.is_end_stream()
    }

    fn length(&self) -> Option<u64> {
        self.0.size_hint().exact()
    }
}

/// A body that hyper sends.
#[derive(Debug)]
struct HyperBody(Body);

impl http_body::Body for HyperBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StreamError>>> {
        Poll::Ready(match ready!(self.0.poll_frame(cx)) {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(Frame::Data(data))) => Some(Ok(http_body::Frame::data(data))),
            Some(Ok(Frame::Trailers(headers))) => Some(trailers(headers)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.length().map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn trailers(headers: Headers) -> Result<http_body::Frame<Bytes>, StreamError> {
    convert::trailers_to(headers).map(http_body::Frame::trailers)
}

/// hyper's error as data.
fn error(error: &hyper::Error) -> StreamError {
    if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        return StreamError::Protocol(error.to_string().into());
    }
    if error.is_timeout() {
        return StreamError::TimedOut;
    }
    StreamError::Closed
}
