//! The HTTP connection manager: one connection's requests, each with the newest routes and clusters.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use leno_engine::compile::http::{Codec, HttpConnectionManager, HttpTimeouts, RouteSource};
use leno_engine::compile::route::RouteTable;
use leno_engine::decide::route::{Decision, Forwarding, RouteContext, is_grpc};
use leno_engine::flags::Flag;
use leno_engine::message::{Decimal, Headers, LocalReply, RequestHead, ResponseHead, Version};
use leno_telemetry::record::DownstreamRecord;
use tokio::io::AsyncReadExt;

use crate::alpn::is_http2;
use crate::codec::{
    self, Answer, Body, Frame, Request, Response, ServerLimits, Service, Source, Tunnel, TunnelEnd,
};
use crate::connection::Connection;
use crate::drain::{Activity, ConnectionDrain, Lifetime};
use crate::filters::Filters;
use crate::headers;
use crate::inspect;
use crate::io::{Io, Rewound};
use crate::lookup::{Answer as Looked, Want};
use crate::outcome::{Failure, StreamError};
use crate::record::Exchange;
use crate::replay::Received;
use crate::reply::{direct, failed, local, no_route, upgrade_refused};
use crate::router::Router;
use crate::session::Session;
use crate::tcp_proxy;
use crate::upstream::Upstream;
use crate::worker::Worker;

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    io: Io,
) {
    let activity = Activity::new();
    let mut drain = connection
        .drain
        .connection(Rc::clone(&activity), lifetime(&manager));
    let secure = connection.facts.tls;
    let alpn = connection.peer.as_ref().and_then(|p| p.alpn.as_deref());
    let known = match manager.codec {
        Codec::Http1 => Some(false),
        Codec::Http2 => Some(true),
        Codec::Auto => alpn.and_then(is_http2),
    };
    let (http2, io) = match known {
        Some(http2) => (http2, Rewound::new(Bytes::new(), io)),
        None => match detect(io, &mut drain).await {
            Some(detected) => detected,
            None => return,
        },
    };
    let limits = limits(&manager, connection.buffer_limit);
    let remote = connection.record.remote;
    let session = Rc::new(Session {
        drain: drain.watch(),
        streams: worker.streams(),
        worker,
        connection,
        manager,
        activity,
        requests: Cell::new(0),
    });
    let service = Rc::new(HttpService(session));
    let ended = match http2 {
        true => codec::h2_server::serve(io, secure, &limits, service, drain).await,
        false => codec::h1::serve(io, secure, &limits, service, drain).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "downstream connection ended");
    }
}

/// Reads until it is clear whether the client speaks HTTP/2. None: it has gone, or nothing came.
async fn detect(mut io: Io, drain: &mut ConnectionDrain) -> Option<(bool, Rewound)> {
    let mut prefix = BytesMut::with_capacity(4096);
    loop {
        let read = tokio::select! {
            read = io.read_buf(&mut prefix) => read,
            () = drain.close_idle() => return None,
        };
        match read {
            Ok(0) if prefix.is_empty() => return None,
            Ok(0) => return Some((false, Rewound::new(prefix.freeze(), io))),
            Ok(_) => {}
            Err(_) => return None,
        }
        if let Some(http2) = inspect::is_http2(&prefix) {
            return Some((http2, Rewound::new(prefix.freeze(), io)));
        }
    }
}

fn lifetime(manager: &HttpConnectionManager) -> Lifetime {
    let HttpTimeouts {
        idle,
        drain,
        max_connection_duration,
        ..
    } = manager.timeouts;
    Lifetime {
        idle,
        most: max_connection_duration.map(|most| (most, drain)),
    }
}

fn limits(manager: &HttpConnectionManager, buffer_limit: Option<u32>) -> ServerLimits {
    let window = manager.http2.initial_stream_window;
    ServerLimits {
        max_headers: manager.limits.max_headers as usize,
        max_header_bytes: manager.limits.max_header_bytes as usize,
        header_timeout: manager.timeouts.request_headers,
        max_streams: manager.http2.max_concurrent_streams,
        // What a stream may send ahead is what is held for it.
        stream_window: buffer_limit.map_or(window, |limit| window.min(limit)),
        connection_window: manager.http2.initial_connection_window,
        buffer_limit,
    }
}

struct HttpService(Rc<Session>);

impl Service for HttpService {
    fn call(&self, request: Request) -> impl Future<Output = Response> + 'static {
        let session = Rc::clone(&self.0);
        session.requests.set(session.requests.get().saturating_add(1));
        handle(session, request)
    }

    fn rejected(&self, status: u16) {
        rejected(&self.0, status);
    }

    fn draining(&self) -> bool {
        let session = &self.0;
        let limit = session.manager.limits.max_requests_per_connection;
        session.drain.is_draining() || limit.is_some_and(|limit| session.requests.get() >= limit)
    }
}

async fn handle(session: Rc<Session>, request: Request) -> Response {
    let Request { mut head, body } = request;
    let manager = &session.manager;
    let client = client(&session, &head);
    let restored = headers::prepare(&mut head, &session.connection, manager, &session.worker.random);
    let grpc = is_grpc(&head);
    let exchange = Exchange::new(&session, client, head);
    session.streams.add(&exchange);
    let body = Received::follow(&exchange, body);
    let exchanged = Exchanged {
        exchange: &exchange,
        grpc,
    };
    let (mut answer, filters, origin) = exchanged.answer(body).await;
    if let Some(filters) = &filters
        && let Err(reply) = filters.response_headers(&mut answer.head, &mut answer.body).await
    {
        answer = exchanged.local(reply);
    }
    if matches!(origin, Origin::Upstream) {
        let time = Decimal::from(exchange.service_time());
        answer.head.headers.set("x-envoy-upstream-service-time", time);
    }
    headers::finish(&mut answer.head, manager, restored);
    respond(exchange, answer, filters)
}

/// The connection as the request's record has it, where a proxy before this one has told who the client is.
fn client(session: &Session, head: &RequestHead) -> Option<Rc<DownstreamRecord>> {
    let record = &session.connection.record;
    let client = headers::client(head, &session.manager)?;
    (client != record.remote.ip()).then(|| {
        Rc::new(DownstreamRecord {
            remote: SocketAddr::new(client, 0),
            ..DownstreamRecord::clone(record)
        })
    })
}

/// The record of a request that never became one.
fn rejected(session: &Rc<Session>, status: u16) {
    let nothing = RequestHead {
        version: Version::Http11,
        method: Bytes::new(),
        scheme: Bytes::new(),
        authority: Bytes::new(),
        path: Bytes::new(),
        headers: Headers::default(),
        upgrade: None,
    };
    let exchange = Exchange::new(session, None, nothing);
    exchange.flag(Flag::DownstreamProtocolError);
    exchange.details.set("http1.codec_error");
    exchange.response.replace(Some(ResponseHead {
        version: Version::Http11,
        status,
        headers: Headers::default(),
    }));
    exchange.finish();
}

/// Hands an answer to the codec; what it becomes of is followed to its end.
fn respond(exchange: Rc<Exchange>, answer: Answer, filters: Option<Rc<Filters>>) -> Response {
    let Answer { head, body, upgraded } = answer;
    if exchange.details.get().is_empty() {
        exchange.details.set("via_upstream");
    }
    exchange.see_grpc_status(&head.headers);
    exchange.response.replace(Some(head.clone()));
    if let Some(upstream) = upgraded {
        let connection = &exchange.session().connection;
        let tunnel = Tunnel {
            upstream,
            scratch: exchange.worker().scratch.at_most(connection.buffer_limit),
            drain: connection.drain.connection(Activity::new(), Lifetime::default()),
            finish: Box::new(TunnelRecord(exchange)),
        };
        return Response {
            head,
            body: Body::Empty,
            tunnel: Some(tunnel),
        };
    }
    let body = match &filters {
        Some(filters) => filters.response_body(body),
        None => body,
    };
    Response {
        head,
        body: SentBody::follow(exchange, body),
        tunnel: None,
    }
}

/// Where an answer comes from.
enum Origin {
    Upstream,
    Local,
}

/// A request on its way to its answer.
struct Exchanged<'e> {
    exchange: &'e Rc<Exchange>,
    grpc: bool,
}

impl Exchanged<'_> {
    async fn answer(&self, mut body: Body) -> (Answer, Option<Rc<Filters>>, Origin) {
        let exchange = self.exchange;
        let session = exchange.session();
        // CONNECT makes tunnels, which are not here (Envoy: without `upgrade_configs` for it).
        if exchange.request.borrow().method.as_ref() == b"CONNECT" {
            return (self.local(upgrade_refused()), None, Origin::Local);
        }
        let table = match table(session).await {
            Ok(table) => table,
            Err(reply) => return (self.local(reply), None, Origin::Local),
        };
        let cx = RouteContext {
            random: session.worker.random.next(),
            tls: session.connection.facts.tls,
        };
        let decision = table.route(&exchange.request.borrow(), &cx);
        exchange.route.replace(decision.route().cloned());
        // Filters have to know whether the request leaves the mesh before they add anything to it.
        let upstream = match &decision {
            Decision::Forward(forwarding) => tcp_proxy::find(&session.worker, &forwarding.cluster).await,
            _ => Err(Failure::NoCluster),
        };
        let filters = match session.manager.filters.is_empty() {
            true => None,
            false => Filters::start(exchange, &decision, upstream.as_ref().ok().map(|u| u.cluster())),
        };
        if let Some(filters) = &filters {
            if let Err(reply) = filters.request_headers(&mut body).await {
                return (self.local(reply), Some(Rc::clone(filters)), Origin::Local);
            }
            body = filters.request_body(body);
        }
        let (answer, origin) = match decision {
            Decision::Forward(forwarding) => {
                self.forward(&forwarding, upstream, filters.as_deref(), body)
                    .await
            }
            other => (self.local(direct(&other)), Origin::Local),
        };
        (answer, filters, origin)
    }

    async fn forward(
        &self,
        forwarding: &Forwarding<'_>,
        upstream: Result<Rc<Upstream>, Failure>,
        filters: Option<&Filters>,
        body: Body,
    ) -> (Answer, Origin) {
        let exchange = self.exchange;
        if refuses_upgrade(
            &exchange.session().manager,
            &exchange.request.borrow(),
            forwarding,
        ) {
            return (self.local(upgrade_refused()), Origin::Local);
        }
        let router = Router { exchange, forwarding };
        let (mut answer, origin) = match router.forward(upstream, body).await {
            Ok(answer) => (answer, Origin::Upstream),
            Err(failure) => {
                let of_filter = filters.and_then(Filters::take_reply);
                let mut reply = of_filter.unwrap_or_else(|| failed(&failure));
                if matches!(failure, Failure::NoCluster) {
                    reply.status = forwarding.forward.cluster_not_found;
                }
                (self.local(reply), Origin::Local)
            }
        };
        forwarding.edit_response(&exchange.request.borrow(), &mut answer.head, &**exchange);
        (answer, origin)
    }

    /// An answer of the proxy's own; nothing is waited for any more.
    fn local(&self, reply: LocalReply) -> Answer {
        self.exchange.answer_within(None);
        local(self.exchange, reply, self.grpc)
    }
}

/// The newest routes; asked for if they are not known.
async fn table(session: &Session) -> Result<Arc<RouteTable>, LocalReply> {
    let worker = &session.worker;
    let name = match &session.manager.routes {
        RouteSource::Inline(table) => return Ok(Arc::clone(table)),
        RouteSource::Rds(name) => name,
    };
    if let Some(table) = worker.snapshot().route(name) {
        return Ok(Arc::clone(table));
    }
    let answer = worker.shared.demand.ask(Want::Route(name.clone())).await;
    match (worker.snapshot().route(name), answer) {
        (Some(table), _) => Ok(Arc::clone(table)),
        (None, Looked::Unanswered) => Err(failed(&Failure::Unanswered)),
        (None, Looked::Found | Looked::Absent) => Err(no_route("route_configuration_not_found")),
    }
}

/// Only what is configured is upgraded, the route's word before the listener's.
fn refuses_upgrade(manager: &HttpConnectionManager, head: &RequestHead, forwarding: &Forwarding<'_>) -> bool {
    let Some(upgrade) = &head.upgrade else {
        return false;
    };
    let wanted = String::from_utf8_lossy(upgrade).to_ascii_lowercase();
    let of_route = forwarding.forward.upgrades.get(&wanted).copied();
    let of_listener = || manager.upgrades.iter().any(|u| u.eq_ignore_ascii_case(&wanted));
    head.version == Version::Http2 || !of_route.unwrap_or_else(of_listener)
}

/// A response on its way to the client: counts its bytes, and knows how it ended.
struct SentBody {
    exchange: Rc<Exchange>,
    body: Body,
    length: Option<u64>,
}

impl SentBody {
    fn follow(exchange: Rc<Exchange>, body: Body) -> Body {
        if body.is_end() {
            exchange.finish();
            return Body::Empty;
        }
        Body::Stream(Box::new(Self {
            length: body.length(),
            exchange,
            body,
        }))
    }

    fn cut_off(&self, error: &StreamError) {
        let exchange = &self.exchange;
        let (flag, details) = match error {
            StreamError::TimedOut => (Flag::UpstreamRequestTimeout, "response_timeout"),
            StreamError::Reset(_) | StreamError::Refused => (
                Flag::UpstreamRemoteReset,
                "upstream_reset_after_response_started{remote_reset}",
            ),
            StreamError::Protocol(_) => (
                Flag::UpstreamProtocolError,
                "upstream_reset_after_response_started{protocol_error}",
            ),
            _ => (
                Flag::UpstreamConnectionTermination,
                "upstream_reset_after_response_started{connection_termination}",
            ),
        };
        exchange.flag(flag);
        exchange.details.set(details);
        exchange.finish();
    }
}

impl Source for SentBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let exchange = &self.exchange;
        let Poll::Ready(frame) = self.body.poll_frame(cx) else {
            let expired = ready!(exchange.watch.poll_expired(cx));
            exchange.flag(expired.flag());
            exchange.details.set(expired.details());
            exchange.finish();
            return Poll::Ready(Some(Err(StreamError::TimedOut)));
        };
        match &frame {
            None => exchange.finish(),
            Some(Ok(Frame::Data(data))) => {
                exchange.watch.moved();
                exchange.sent.set(exchange.sent.get() + data.len() as u64);
                if self.body.is_end() {
                    exchange.finish();
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                exchange.see_grpc_status(trailers);
                exchange.finish();
            }
            Some(Err(error)) => self.cut_off(error),
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        // A codec that knows the length does not look for the end.
        if self
            .length
            .is_some_and(|length| self.exchange.sent.get() >= length)
        {
            self.exchange.finish();
        }
    }
}

impl std::fmt::Debug for SentBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// An upgraded connection's record is made at its end.
struct TunnelRecord(Rc<Exchange>);

impl TunnelEnd for TunnelRecord {
    fn ended(self: Box<Self>, received: u64, sent: u64) {
        let exchange = &self.0;
        exchange.received.set(received);
        exchange.sent.set(sent);
        if exchange.cut_by().is_none() {
            exchange.finish();
        }
    }
}

impl std::fmt::Debug for TunnelRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelRecord")
    }
}
