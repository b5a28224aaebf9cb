//! Connections to one endpoint, made one way: kept and used again.
//!
//! HTTP/1: the connection used last is used next, so that the others can grow old and close. HTTP/2: one connection
//! per worker and destination, because batching wins (four were slower than one), and another only when its streams
//! run out.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use leno_engine::compile::cluster::Cluster;
use leno_engine::decide::limits::{Permit, Priority, Resource, Seat};
use leno_engine::message::{RequestHead, ResponseHead, Version};
use leno_telemetry::stats::{ClusterStat, ClusterTime, Counts, Meter};

use crate::alpn::{Offer, is_http2};
use crate::codec::{Answer, Body, Counter, Frame, Source, h1, h2};
use crate::connect::{self, Connector, UpstreamConnection};
use crate::counts::{Lasting, Timed};
use crate::destination::{Destination, Try};
use crate::outcome::{Failure, StreamError};

use super::Upstream;

#[derive(Debug)]
pub(crate) struct Pool {
    /// Its other addresses may change.
    to: RefCell<Rc<Destination>>,
    cluster: Arc<Cluster>,
    /// The one used last is the last.
    #[expect(clippy::vec_box, reason = "a request hands its connection on several times")]
    idle: RefCell<Vec<Box<Http1>>>,
    streams: RefCell<Vec<Http2>>,
    /// Connections that exist or are being made.
    connections: Rc<Cell<usize>>,
    /// Those that are being made for nobody yet.
    ahead: Cell<usize>,
    /// One HTTP/2 connection at a time is made; who waits uses it.
    connecting: tokio::sync::Mutex<()>,
    /// A connection came free, for those that may not make another.
    freed: tokio::sync::Notify,
    /// Since the last sweep.
    used: Cell<bool>,
    last_used: Cell<Instant>,
    /// As of the last connection.
    speaks_http2: Cell<Option<bool>>,
}

#[derive(Debug)]
struct Http1 {
    client: h1::Client,
    info: Rc<UpstreamConnection>,
    made: Instant,
    requests: u32,
    /// Of an idle one, set by the sweep only: a request costs no look at the clock.
    idle_since: Option<Instant>,
    _held: Held,
}

#[derive(Clone, Debug)]
struct Http2 {
    client: h2::client::Client,
    info: Rc<UpstreamConnection>,
    made: Instant,
    requests: Rc<Cell<u32>>,
    idle_since: Rc<Cell<Instant>>,
    _held: Rc<Held>,
}

/// A connection's place in the circuit breaker and in the pool's count.
#[derive(Debug)]
struct Held {
    _permit: (Option<Permit>, Option<Seat>),
    _active: Lasting<ClusterStat>,
    length: Timed<ClusterStat>,
    connections: Rc<Cell<usize>>,
}

/// A connection to send one request on.
#[derive(Debug)]
pub(crate) struct Checkout {
    kind: Kind,
    pub(crate) info: Rc<UpstreamConnection>,
    /// It has carried requests before, so it may be about to close.
    pub(crate) reused: bool,
}

#[derive(Debug)]
enum Kind {
    Http1 { connection: Box<Http1>, pool: Rc<Pool> },
    Http2(Http2),
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(to: Destination, cluster: Arc<Cluster>) -> Self {
        Self {
            to: RefCell::new(Rc::new(to)),
            cluster,
            idle: RefCell::default(),
            streams: RefCell::default(),
            connections: Rc::default(),
            ahead: Cell::new(0),
            connecting: tokio::sync::Mutex::new(()),
            freed: tokio::sync::Notify::new(),
            used: Cell::new(false),
            last_used: Cell::new(Instant::now()),
            speaks_http2: Cell::new(None),
        }
    }

    fn to(&self) -> Rc<Destination> {
        Rc::clone(&self.to.borrow())
    }

    /// Connections from now on are made to whichever of these answers.
    pub(super) fn set_tries(&self, tries: &[Try]) {
        let mut to = self.to.borrow_mut();
        if to.tries != tries {
            Rc::make_mut(&mut to).tries = tries.to_vec();
        }
    }

    /// `http2`: what a connection without ALPN speaks.
    pub(crate) async fn checkout(
        self: &Rc<Self>,
        with: Connector<'_>,
        upstream: &Upstream,
        priority: Priority,
        http2: bool,
        fresh: bool,
    ) -> Result<Checkout, Failure> {
        self.used.set(true);
        if !fresh && let Some(checkout) = self.reuse() {
            return Ok(checkout);
        }
        let counts = &upstream.counts;
        let Some(_permit) = upstream.acquire(Resource::PendingRequest, priority) else {
            counts.inc(ClusterStat::RqPendingOverflow);
            return Err(Failure::Overflow);
        };
        counts.inc(ClusterStat::RqPendingTotal);
        let _pending = Lasting::begin(counts, ClusterStat::RqPendingActive, None);
        if self.may_share(http2) {
            let _turn = self.connecting.lock().await;
            if !fresh && let Some(checkout) = self.reuse() {
                return Ok(checkout);
            }
            return Box::pin(self.connect(with, upstream, priority, http2, fresh)).await;
        }
        // Apart: a request that finds a connection has no room for making one.
        Box::pin(self.connect(with, upstream, priority, http2, fresh)).await
    }

    /// Whether the next connection may turn out to carry several requests at once.
    fn may_share(&self, http2: bool) -> bool {
        self.speaks_http2.get().unwrap_or_else(|| {
            let to = self.to.borrow();
            match to.transport.tls() {
                None => http2,
                Some(_) => to.offer != Offer::Upgrade,
            }
        })
    }

    fn reuse(self: &Rc<Self>) -> Option<Checkout> {
        if let Some(checkout) = self.reuse_http2() {
            return Some(checkout);
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            if connection.client.is_quiet() && !connection.info.is_revoked() {
                return Some(Checkout {
                    info: Rc::clone(&connection.info),
                    reused: true,
                    kind: Kind::Http1 {
                        connection,
                        pool: Rc::clone(self),
                    },
                });
            }
        }
        None
    }

    fn reuse_http2(&self) -> Option<Checkout> {
        let mut streams = self.streams.borrow_mut();
        if streams.is_empty() {
            return None;
        }
        let limit = self.cluster.max_requests_per_connection;
        streams.retain(|c| {
            !c.client.is_closed()
                && !c.info.is_revoked()
                && limit.is_none_or(|limit| c.requests.get() < limit)
                && !self.is_old(c.made)
        });
        let connection = streams.iter().find(|c| c.client.has_room())?.clone();
        connection.requests.set(connection.requests.get() + 1);
        Some(Checkout {
            info: Rc::clone(&connection.info),
            reused: true,
            kind: Kind::Http2(connection),
        })
    }

    async fn connect(
        self: &Rc<Self>,
        with: Connector<'_>,
        upstream: &Upstream,
        priority: Priority,
        http2: bool,
        fresh: bool,
    ) -> Result<Checkout, Failure> {
        let to = self.to();
        let held = loop {
            // As Envoy, one connection is always allowed, or nothing would ever free a place.
            let permit = match upstream.has_room_at(&to.address, priority) {
                true => upstream.acquire(Resource::Connection, priority),
                false => None,
            };
            if permit.is_some() || self.connections.get() == 0 {
                let seat = upstream.seat(&to.address);
                break self.hold((permit, seat), upstream.count_connection());
            }
            upstream.counts.inc(ClusterStat::CxOverflow);
            self.freed.notified().await;
            if !fresh && let Some(checkout) = self.reuse() {
                return Ok(checkout);
            }
        };
        let kind = self.open(with, upstream, http2, held).await?;
        let info = match &kind {
            Kind::Http1 { connection, .. } => &connection.info,
            Kind::Http2(connection) => &connection.info,
        };
        Ok(Checkout {
            info: Rc::clone(info),
            kind,
            reused: false,
        })
    }

    async fn open(
        self: &Rc<Self>,
        with: Connector<'_>,
        upstream: &Upstream,
        http2: bool,
        held: Held,
    ) -> Result<Kind, Failure> {
        // With TLS it is known afterwards.
        let to = self.to();
        let known = to.transport.tls().is_none();
        if known {
            upstream.count_protocol(http2);
        }
        let connected = connect::connect(with.counting(&upstream.counts), &to).await;
        let (io, info) = connected.inspect_err(|failure| upstream.count_unconnected(failure))?;
        upstream
            .counts
            .took(ClusterTime::CxConnect, held.length.began.elapsed());
        let http2 = info.alpn().and_then(is_http2).unwrap_or(http2);
        self.speaks_http2.set(Some(http2));
        if !known {
            upstream.count_protocol(http2);
        }
        Ok(if http2 {
            let connection = Http2 {
                client: h2::client::Client::start(
                    io,
                    info.handshake(),
                    &self.cluster.http2,
                    self.cluster.buffer_limit,
                    with.scratch.clone(),
                    upstream.counts.meter(),
                ),
                info,
                made: Instant::now(),
                requests: Rc::new(Cell::new(1)),
                idle_since: Rc::new(Cell::new(Instant::now())),
                _held: Rc::new(held),
            };
            self.streams.borrow_mut().push(connection.clone());
            Kind::Http2(connection)
        } else {
            let connection = Box::new(Http1 {
                client: h1::Client::new(io, with.http1, self.cluster.buffer_limit, upstream.counts.meter())
                    .speaking(self.cluster.http1),
                info,
                made: Instant::now(),
                requests: 0,
                idle_since: None,
                _held: held,
            });
            Kind::Http1 {
                connection,
                pool: Rc::clone(self),
            }
        })
    }

    /// How many connections are to be made before anybody needs them, so that there are `ratio` for each request, with the
    /// one that comes now. As Envoy, no more than three at a time.
    pub(crate) fn lacks(&self, ratio: f64, http2: bool) -> usize {
        let idle = self.idle.borrow().len();
        let all = self.connections.get();
        // Whether the request makes one itself.
        let (own, places, wanted) = match self.may_share(http2) {
            false => {
                let own = usize::from(idle == 0);
                let busy = all.saturating_sub(idle + self.ahead.get());
                (own, all + own, busy + 1)
            }
            true => {
                let own = usize::from(all == 0);
                let most = self.cluster.http2.max_concurrent_streams as usize;
                let active: usize = self.streams.borrow().iter().map(|c| c.client.active()).sum();
                (own, (all + own).saturating_mul(most), active + 1)
            }
        };
        let lacking = (wanted as f64 * ratio).ceil() as usize;
        lacking.saturating_sub(places).min(3 - own)
    }

    /// Makes a connection for whoever comes next.
    pub(crate) async fn prepare(
        self: Rc<Self>,
        with: Connector<'_>,
        upstream: &Upstream,
        priority: Priority,
        http2: bool,
    ) {
        let address = self.to().address.clone();
        if !upstream.has_room_at(&address, priority) {
            return;
        }
        let Some(permit) = upstream.acquire(Resource::Connection, priority) else {
            return;
        };
        let seat = upstream.seat(&address);
        let held = self.hold((Some(permit), seat), upstream.count_connection());
        self.ahead.set(self.ahead.get() + 1);
        let made = self.open(with, upstream, http2, held).await;
        self.ahead.set(self.ahead.get() - 1);
        match made {
            Ok(Kind::Http1 { connection, .. }) => self.put_back(connection),
            Ok(Kind::Http2(connection)) => {
                connection.requests.set(0);
                self.freed.notify_one();
            }
            Err(failure) => tracing::debug!(%address, ?failure, "not connected ahead"),
        }
    }

    fn hold(
        &self,
        permit: (Option<Permit>, Option<Seat>),
        (active, length): (Lasting<ClusterStat>, Timed<ClusterStat>),
    ) -> Held {
        self.connections.set(self.connections.get() + 1);
        Held {
            _permit: permit,
            _active: active,
            length,
            connections: Rc::clone(&self.connections),
        }
    }

    fn put_back(&self, mut connection: Box<Http1>) {
        let limit = self.cluster.max_requests_per_connection;
        if connection.client.is_free()
            && limit.is_none_or(|limit| connection.requests < limit)
            && !self.is_old(connection.made)
            && !connection.info.is_revoked()
        {
            connection.idle_since = None;
            self.idle.borrow_mut().push(connection);
        }
        self.freed.notify_one();
    }

    /// It has lived as long as the cluster allows. The clock is only looked at where it does not allow for ever.
    fn is_old(&self, made: Instant) -> bool {
        let most = self.cluster.max_connection_duration;
        most.is_some_and(|most| made.elapsed() >= most)
    }

    pub(crate) fn sweep(&self, now: Instant, idle_timeout: Option<Duration>, counts: &Counts<ClusterStat>) {
        if self.used.take() {
            self.last_used.set(now);
        }
        let ends = |idle: bool, over: bool| {
            if over {
                counts.inc(ClusterStat::CxMaxDurationReached);
            } else if idle {
                counts.inc(ClusterStat::CxIdleTimeout);
            }
            idle || over
        };
        let old =
            |since: Instant| idle_timeout.is_some_and(|limit| now.saturating_duration_since(since) >= limit);
        self.idle.borrow_mut().retain_mut(|c| {
            let since = *c.idle_since.get_or_insert(now);
            c.client.is_quiet() && !c.info.is_revoked() && !ends(old(since), self.is_old(c.made))
        });
        self.streams.borrow_mut().retain(|c| {
            if c.info.is_revoked() {
                c.client.look();
                return false;
            }
            if c.client.active() > 0 {
                c.idle_since.set(now);
            }
            !c.client.is_closed() && !ends(old(c.idle_since.get()), self.is_old(c.made))
        });
    }

    /// Nothing in it, and nobody came for a while.
    pub(crate) fn is_unused(&self) -> bool {
        self.connections.get() == 0 && self.last_used.get().elapsed() > Duration::from_secs(60)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connections.set(self.connections.get() - 1);
    }
}

// === impl Checkout ===

impl Checkout {
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::Http2(_))
    }

    pub(crate) fn version(&self) -> Version {
        match self.kind {
            Kind::Http1 { .. } => Version::Http11,
            Kind::Http2(_) => Version::Http2,
        }
    }

    /// The head is written at once, and not held or copied while the answer is waited for.
    pub(crate) fn send(
        self,
        head: &RequestHead,
        body: Body,
        counter: Counter,
    ) -> impl Future<Output = Result<Answer, StreamError>> + use<> {
        match self.kind {
            Kind::Http2(connection) => {
                let asking = connection.client.ask(head, body, &counter);
                Either::Left(h2::client::answer(asking, connection))
            }
            Kind::Http1 { mut connection, pool } => {
                connection.requests += 1;
                let tunnel = head.method.as_ref() == b"CONNECT" && head.upgrade.is_none();
                let mut asking = connection.client.ask(head, body, counter);
                let mut lease = Some(Lease {
                    connection: Some(connection),
                    pool,
                });
                Either::Right(poll_fn(move |cx| {
                    let Some(connection) = lease.as_mut().and_then(|lease| lease.connection.as_mut()) else {
                        return Poll::Ready(Err(StreamError::Closed));
                    };
                    let head = ready!(connection.client.poll_answer(&mut asking, cx))?;
                    if connection.info.is_revoked() {
                        return Poll::Ready(Err(StreamError::Revoked));
                    }
                    Poll::Ready(lease.take().ok_or(StreamError::Closed)?.answered(head, tunnel))
                }))
            }
        }
    }
}

/// An HTTP/1 connection while it carries a request, and the body of its response. It goes back to its pool when that
/// is over; dropped before that, it closes.
#[derive(Debug)]
struct Lease {
    connection: Option<Box<Http1>>,
    pool: Rc<Pool>,
}

/// A request moves it several times.
const _: () = assert!(size_of::<Lease>() == 2 * size_of::<usize>());

impl Lease {
    /// `tunnel`: a good answer opens one.
    fn answered(mut self, head: ResponseHead, tunnel: bool) -> Result<Answer, StreamError> {
        let opens_tunnel = tunnel && (200..300).contains(&head.status);
        let mut answer = Answer {
            head,
            body: Body::Empty,
            upgraded: None,
        };
        if answer.head.status == 101 || opens_tunnel {
            let connection = self.connection.take();
            // Its place stays taken until the tunnel ends.
            let upgraded = connection.and_then(|connection| {
                let Http1 { client, _held, .. } = *connection;
                let pool = Rc::clone(&self.pool);
                let (io, _meter) = client.into_upgraded()?;
                Some(io.holding(Tunnel { _held, _meter, pool }))
            });
            let in_the_middle = StreamError::Protocol("an upgrade in the middle of a request".into());
            answer.upgraded = Some(Box::new(upgraded.ok_or(in_the_middle)?));
        } else if self.is_end() {
            self.end();
        } else {
            answer.body = Body::Stream(Box::new(self));
        }
        Ok(answer)
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put_back(connection);
        }
    }
}

/// A connection that has left HTTP, and still has its place.
#[derive(Debug)]
struct Tunnel {
    _held: Held,
    _meter: Meter,
    pool: Rc<Pool>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Whoever wakes finds the place free.
        self.pool.freed.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.freed.notify_one();
        }
    }
}

impl Source for Lease {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        let frame = connection.client.poll_frame(cx);
        // Nothing more is taken from it.
        if frame.is_ready() && connection.info.is_revoked() {
            return Poll::Ready(Some(Err(StreamError::Revoked)));
        }
        match &frame {
            Poll::Ready(Some(Err(_))) => {}
            Poll::Ready(_) if connection.client.is_end() => self.end(),
            _ => {}
        }
        frame
    }

    fn is_end(&self) -> bool {
        self.connection.as_ref().is_none_or(|c| c.client.is_end())
    }

    fn length(&self) -> Option<u64> {
        self.connection.as_ref().map_or(Some(0), |c| c.client.length())
    }
}
