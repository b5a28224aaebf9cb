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
use leno_engine::message::{Headers, LocalReply, RequestHead, ResponseHead, Version};
use leno_telemetry::record::DownstreamRecord;
use tokio::io::AsyncReadExt;

use crate::alpn::is_http2;
use crate::codec::{
    self, Answer, Body, Frame, Refusal, Request, Response, ServerLimits, Service, Source, Tunnel, TunnelEnd,
};
use crate::connection::Connection;
use crate::drain::{Active, Activity, ConnectionDrain, Lifetime};
use crate::filters::Filters;
use crate::headers;
use crate::idle::Streams;
use crate::inspect;
use crate::io::{Io, Rewound};
use crate::lookup::{Answer as Looked, Want};
use crate::outcome::{Failure, StreamError};
use crate::record::Exchange;
use crate::replay::Received;
use crate::reply::{direct, failed, local, no_route, refusal, upgrade_refused};
use crate::router::Router;
use crate::tcp_proxy;
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
    let streams = worker.streams();
    let workspace = Rc::clone(&worker.http1);
    let service = Rc::new(Inner {
        drain: Rc::new(drain.watch()),
        worker,
        connection,
        manager,
        activity,
        requests: Cell::new(0),
        streams,
    });
    let service = Rc::new(HttpService(service));
    let ended = match http2 {
        true => codec::h2_server::serve(io, secure, &limits, service, drain).await,
        false => codec::h1::serve(io, secure, &limits, &workspace, service, drain).await,
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
        any_method: manager.any_method,
        max_streams: manager.http2.max_concurrent_streams,
        // What a stream may send ahead is what is held for it.
        stream_window: buffer_limit.map_or(window, |limit| window.min(limit)),
        connection_window: manager.http2.initial_connection_window,
        buffer_limit,
    }
}

struct HttpService(Rc<Inner>);

struct Inner {
    worker: Rc<Worker>,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    activity: Rc<Activity>,
    drain: Rc<ConnectionDrain>,
    requests: Cell<u32>,
    streams: Rc<Streams>,
}

impl Service for HttpService {
    fn call(&self, request: Request) -> impl Future<Output = Response> + 'static {
        let inner = Rc::clone(&self.0);
        inner.requests.set(inner.requests.get().saturating_add(1));
        let active = inner.activity.begin();
        async move { inner.handle(request, active).await }
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        self.0.refuse(refusal)
    }

    fn draining(&self) -> bool {
        let limit = self.0.manager.limits.max_requests_per_connection;
        self.0.drain.is_draining() || limit.is_some_and(|limit| self.0.requests.get() >= limit)
    }
}

/// Where an answer comes from.
enum Origin {
    Upstream,
    Local,
}

impl Inner {
    async fn handle(&self, request: Request, active: Active) -> Response {
        let Request { mut head, body } = request;
        let exchange = Exchange::new(&self.worker, &self.downstream(&head), &self.manager);
        exchange.connection.replace(Some(Rc::clone(&self.drain)));
        self.streams.add(&exchange.watch);
        let restored = headers::prepare(&mut head, &self.connection, &self.manager, &self.worker.random);
        let grpc = is_grpc(&head);
        let body = Received::follow(&exchange, body);
        exchange.request.replace(Some(head.clone()));
        let (mut answer, filters, origin) = self.answer(&exchange, head, body).await;
        if let Some(filters) = &filters
            && let Err(reply) = filters.response_headers(&mut answer.head, &mut answer.body).await
        {
            answer = local(&exchange, reply, grpc);
        }
        if matches!(origin, Origin::Upstream) {
            let time = exchange.service_time().to_string();
            answer.head.headers.set("x-envoy-upstream-service-time", time);
        }
        headers::finish(&mut answer.head, &self.manager, restored);
        self.respond(exchange, answer, filters, active)
    }

    /// The connection as this request's record has it.
    fn downstream(&self, head: &RequestHead) -> Rc<DownstreamRecord> {
        let record = &self.connection.record;
        match headers::client(head, &self.manager) {
            Some(client) if client != record.remote.ip() => Rc::new(DownstreamRecord {
                remote: SocketAddr::new(client, 0),
                ..DownstreamRecord::clone(record)
            }),
            _ => Rc::clone(record),
        }
    }

    /// The answer to a request that never became one, and its record.
    fn refuse(&self, refusal: &Refusal) -> Response {
        let exchange = Exchange::new(&self.worker, &self.connection.record, &self.manager);
        if refusal.malformed {
            exchange.flag(Flag::DownstreamProtocolError);
        }
        exchange.details.set(refusal.details);
        exchange.request.replace(Some(RequestHead {
            version: Version::Http11,
            method: Bytes::new(),
            scheme: Bytes::new(),
            authority: Bytes::new(),
            path: Bytes::new(),
            headers: Headers::default(),
            upgrade: None,
        }));
        let mut head = ResponseHead {
            version: Version::Http11,
            status: refusal.status,
            headers: Headers::default(),
        };
        let body = if refusal.malformed {
            leno_http1::reason(refusal.status)
        } else {
            ""
        };
        if !body.is_empty() {
            head.headers.append_display("content-length", body.len());
            head.headers.append("content-type", "text/plain");
        }
        headers::finish(&mut head, &self.manager, None);
        exchange.response.replace(Some(head.clone()));
        exchange.finish();
        Response {
            head,
            body: Body::Full(Bytes::from_static(body.as_bytes())),
            tunnel: None,
        }
    }

    fn respond(
        &self,
        exchange: Rc<Exchange>,
        answer: Answer,
        filters: Option<Rc<Filters>>,
        active: Active,
    ) -> Response {
        let Answer { head, body, upgraded } = answer;
        if exchange.details.get().is_empty() {
            exchange.details.set("via_upstream");
        }
        exchange.see_grpc_status(&head.headers);
        exchange.response.replace(Some(head.clone()));
        if let Some(upstream) = upgraded {
            let scratch = self.worker.scratch.at_most(self.connection.buffer_limit);
            let finish = Box::new(TunnelRecord {
                exchange,
                _active: active,
            });
            return Response {
                head,
                body: Body::Empty,
                tunnel: Some(Tunnel {
                    upstream,
                    scratch,
                    drain: self
                        .connection
                        .drain
                        .connection(Activity::new(), Lifetime::default()),
                    finish,
                }),
            };
        }
        let body = match &filters {
            Some(filters) => filters.response_body(body),
            None => body,
        };
        Response {
            head,
            body: SentBody::follow(exchange, body, active),
            tunnel: None,
        }
    }

    async fn answer(
        &self,
        exchange: &Rc<Exchange>,
        mut head: RequestHead,
        mut body: Body,
    ) -> (Answer, Option<Rc<Filters>>, Origin) {
        let grpc = is_grpc(&head);
        let local = |reply| local(exchange, reply, grpc);
        if let Some(reply) = refusal(&head) {
            return (local(reply), None, Origin::Local);
        }
        let table = match self.table().await {
            Ok(table) => table,
            Err(reply) => return (local(reply), None, Origin::Local),
        };
        let cx = RouteContext {
            random: self.worker.random.next(),
            tls: self.connection.facts.tls,
        };
        let decision = table.route(&head, &cx);
        if let Some(route) = decision.route() {
            exchange.route.replace(route.name.clone());
        }
        let external = self.is_external(&decision).await;
        let filters = Filters::start(exchange, &self.connection.facts, &decision, external);
        if let Err(reply) = filters.request_headers(&mut head, &mut body).await {
            return (local(reply), Some(filters), Origin::Local);
        }
        let body = filters.request_body(body);
        match decision {
            Decision::Forward(forwarding) => {
                let (answer, origin) = self.forward(exchange, &forwarding, &filters, head, body).await;
                (answer, Some(filters), origin)
            }
            other => (local(direct(&other)), Some(filters), Origin::Local),
        }
    }

    /// Whether the request leaves the mesh, which filters have to know before they add anything to it.
    async fn is_external(&self, decision: &Decision<'_>) -> bool {
        let Decision::Forward(forwarding) = decision else {
            return true;
        };
        if self.manager.filters.is_empty() {
            return false;
        }
        match self.worker.snapshot().cluster(&forwarding.cluster) {
            Some(state) => state.cluster.external,
            // Asked for now instead of a moment later; what cannot be found is nobody of the mesh.
            None => match tcp_proxy::find(&self.worker, &forwarding.cluster).await {
                Ok(upstream) => upstream.cluster().external,
                Err(_) => true,
            },
        }
    }

    /// The newest routes; asked for if they are not known.
    async fn table(&self) -> Result<Arc<RouteTable>, LocalReply> {
        let name = match &self.manager.routes {
            RouteSource::Inline(table) => return Ok(Arc::clone(table)),
            RouteSource::Rds(name) => name,
        };
        if let Some(table) = self.worker.snapshot().route(name) {
            return Ok(Arc::clone(table));
        }
        let answer = self.worker.shared.demand.ask(Want::Route(name.clone())).await;
        match (self.worker.snapshot().route(name), answer) {
            (Some(table), _) => Ok(Arc::clone(table)),
            (None, Looked::Unanswered) => Err(failed(&Failure::Unanswered)),
            (None, Looked::Found | Looked::Absent) => Err(no_route("route_configuration_not_found")),
        }
    }

    async fn forward(
        &self,
        exchange: &Rc<Exchange>,
        forwarding: &Forwarding<'_>,
        filters: &Rc<Filters>,
        head: RequestHead,
        body: Body,
    ) -> (Answer, Origin) {
        let grpc = is_grpc(&head);
        if self.refuses_upgrade(&head, forwarding) {
            return (local(exchange, upgrade_refused(), grpc), Origin::Local);
        }
        let request = head.clone();
        let router = Router {
            exchange,
            connection: &self.connection,
            forwarding,
        };
        let (mut answer, origin) = match router.forward(head, body).await {
            Ok(answer) => (answer, Origin::Upstream),
            Err(failure) => {
                let mut reply = filters.take_reply().unwrap_or_else(|| failed(&failure));
                if matches!(failure, Failure::NoCluster) {
                    reply.status = forwarding.forward.cluster_not_found;
                }
                (local(exchange, reply, grpc), Origin::Local)
            }
        };
        forwarding.edit_response(&request, &mut answer.head, &**exchange);
        (answer, origin)
    }

    /// Only what is configured is upgraded, the route's word before the listener's.
    fn refuses_upgrade(&self, head: &RequestHead, forwarding: &Forwarding<'_>) -> bool {
        let Some(upgrade) = &head.upgrade else {
            return false;
        };
        let wanted = String::from_utf8_lossy(upgrade).to_ascii_lowercase();
        let of_route = forwarding.forward.upgrades.get(&wanted).copied();
        let of_listener = || {
            self.manager
                .upgrades
                .iter()
                .any(|u| u.eq_ignore_ascii_case(&wanted))
        };
        head.version == Version::Http2 || !of_route.unwrap_or_else(of_listener)
    }
}

/// A response on its way to the client: counts its bytes, and knows how it ended.
struct SentBody {
    exchange: Rc<Exchange>,
    body: Body,
    length: Option<u64>,
    _active: Active,
}

impl SentBody {
    fn follow(exchange: Rc<Exchange>, body: Body, active: Active) -> Body {
        if body.is_end() {
            exchange.finish();
            return Body::Empty;
        }
        Body::Stream(Box::new(Self {
            length: body.length(),
            exchange,
            body,
            _active: active,
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
struct TunnelRecord {
    exchange: Rc<Exchange>,
    _active: Active,
}

impl TunnelEnd for TunnelRecord {
    fn ended(self: Box<Self>, received: u64, sent: u64) {
        self.exchange.received.set(received);
        self.exchange.sent.set(sent);
        if self.exchange.cut_by().is_none() {
            self.exchange.finish();
        }
    }
}

impl std::fmt::Debug for TunnelRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelRecord")
    }
}
