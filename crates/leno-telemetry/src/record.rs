//! What is known of a request or a connection when it ends: the one source of metrics, access log, trace and tap.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::{Heads, Point, TlsFact};
use leno_engine::compile::cluster::ServiceName;
use leno_engine::compile::endpoint::WorkloadLabel;
use leno_engine::compile::listener::{Address, Direction, FilterChain};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::metadata::Told;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::log_filter::Facts;
use leno_engine::decide::notes::Notes;
use leno_engine::decide::trace::SpanContext;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};

/// An HTTP request, made once at its end.
#[derive(Debug)]
pub struct RequestRecord<'a> {
    pub start: SystemTime,
    pub duration: Duration,
    /// Until the last byte of the request was received.
    pub request_duration: Option<Duration>,
    /// Until the first byte of the upstream's answer.
    pub response_duration: Option<Duration>,
    pub request: &'a RequestHead,
    /// None: nothing was sent downstream.
    pub response: Option<&'a ResponseHead>,
    /// Of the response; None: it had none, or nobody asked for them.
    pub trailers: Option<&'a Headers>,
    /// `grpc-status` of trailers or trailers-only headers.
    pub grpc_status: Option<u32>,
    pub flags: Flags,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: &'a str,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub wire: WireBytes,
    pub route: RouteRecord<'a>,
    pub upstream: Option<UpstreamRecord<'a>>,
    pub attempts: u32,
    /// Where it is in its trace, if it is in one.
    pub span: Option<&'a SpanContext>,
    /// Traced because a service wants it.
    pub forced: bool,
    /// For what is decided by chance: a share of the log.
    pub random: u64,
    pub downstream: &'a DownstreamRecord,
    pub peer: &'a PeerMetadata,
    /// What filters have noted of it.
    pub notes: &'a Notes,
    /// When it is made.
    pub log_type: LogType,
    /// What formats ask for now and then.
    pub details_on_demand: Option<&'a OnDemand>,
}

/// A stream's bytes as they were on the wire; all zero where no format asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireBytes {
    pub sent: OneWay,
    pub received: OneWay,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OneWay {
    pub all: u64,
    /// Of heads and trailers.
    pub heads: u64,
    /// The same, before they were compressed.
    pub plain_heads: u64,
}

/// What is only kept of a request where a format asks for it.
#[derive(Debug, Default)]
pub struct OnDemand {
    points: [Cell<Option<i128>>; POINTS.len()],
    /// Endpoints in the order in which they were tried.
    pub tried: RefCell<Vec<Tried>>,
}

/// An endpoint that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    pub address: Address,
    pub hostname: String,
    pub connection_id: u64,
}

/// Those that are known by no other means.
const POINTS: [Point; 10] = [
    Point::TryBegins,
    Point::ConnectBegins,
    Point::ConnectEnds,
    Point::HandshakeEnds,
    Point::PoolReady,
    Point::SendingBegins,
    Point::SendingEnds,
    Point::AnswerBodyBegins,
    Point::AnswerEnds,
    Point::AnsweringBegins,
];

/// What is known of one side's TLS.
pub trait TlsFacts: fmt::Debug + Send + Sync {
    /// Appends it; false: there is no such thing.
    fn write(&self, fact: &TlsFact, out: &mut Vec<u8>) -> bool;

    /// What the peer has shown was taken back since.
    fn is_revoked(&self) -> bool {
        false
    }
}

// === impl OnDemand ===

impl OnDemand {
    /// In nanoseconds since the request began; of a connection that is older it is before that.
    pub fn point(&self, point: Point) -> Option<i128> {
        let at = POINTS.iter().position(|one| *one == point)?;
        self.points.get(at)?.get()
    }

    pub fn reach(&self, point: Point, since: i128) {
        let at = POINTS.iter().position(|one| *one == point);
        if let Some(cell) = at.and_then(|at| self.points.get(at)) {
            cell.set(Some(since));
        }
    }
}

impl<'a> RequestRecord<'a> {
    /// The messages.
    pub fn heads(&self) -> Heads<'a> {
        Heads {
            request: Some(self.request),
            response: self.response,
            trailers: self.trailers,
        }
    }

    /// What log filters look at.
    pub fn facts(&self) -> Facts<'a> {
        Facts {
            request: Some(self.request),
            status: self.response.map_or(0, |head| head.status),
            grpc_status: self.grpc_status,
            flags: self.flags,
            duration: self.duration,
            forced: self.forced,
            random: self.random,
            log_type: self.log_type,
            notes: Some(self.notes),
        }
    }
}

impl ConnectionRecord<'_> {
    /// What log filters look at.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            request: None,
            status: 0,
            grpc_status: None,
            flags: self.flags,
            duration: self.duration,
            forced: false,
            random: self.downstream.connection_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16,
            log_type: self.log_type,
            notes: self.downstream.notes.as_deref(),
        }
    }
}

/// The route that decided; all empty where none did.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteRecord<'a> {
    /// There is one.
    pub found: bool,
    pub name: &'a str,
    /// Which rule of the object, from 1 on; 0: unknown.
    pub rule: u32,
    /// The user's object that made it, as Istio writes it: `/apis/…/namespaces/default/virtual-service/reviews`.
    pub made_by: &'a str,
    /// Where that rule was written: `file:line:column`.
    pub place: &'a str,
    /// The virtual host that it is of.
    pub host: &'a str,
    pub metadata: Option<&'a Told>,
    pub host_metadata: Option<&'a Told>,
    /// The virtual host's that has taken the request.
    pub virtual_cluster: Option<&'a str>,
}

/// Ends of a connection over a unix socket, or to a listener of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub local: Arc<str>,
    /// Whose connection it is to be, and whose it is.
    pub remote: Arc<str>,
    pub direct: Arc<str>,
}

/// The connection a request came on.
#[derive(Clone, Debug)]
pub struct DownstreamRecord {
    pub direction: Direction,
    /// Its listener has Istio's filter that counts (`istio.stats`).
    pub istio_stats: bool,
    /// Of a connection without addresses of the network; those below are nobody's then.
    pub named: Option<Arc<Named>>,
    pub local: SocketAddr,
    /// The socket's own, whatever was told of where the client wanted to go.
    pub direct_local: SocketAddr,
    /// Who the client is: by `x-forwarded-for`, as far as it is trusted, else the connection's other end.
    pub remote: SocketAddr,
    pub direct_remote: SocketAddr,
    pub connection_id: u64,
    pub sni: Option<String>,
    pub tls_version: Option<&'static str>,
    /// SPIFFE id of the peer's certificate, as recorded in the handshake.
    pub peer_principal: Option<Arc<str>>,
    pub local_principal: Option<Arc<str>>,
    pub tls: Option<Arc<dyn TlsFacts>>,
    pub chain: Option<Arc<FilterChain>>,
    pub listener_metadata: Option<Arc<Told>>,
    /// Why there is no TLS on it.
    pub transport_failure: Option<Arc<str>>,
    /// What filters have noted of it, and what it was told by the listener that it comes from.
    pub notes: Option<Rc<Notes>>,
    /// Of its client's hello.
    pub fingerprints: Option<Arc<Fingerprints>>,
}

impl DownstreamRecord {
    /// The client has an address.
    pub fn has_remote(&self) -> bool {
        let named = self.named.as_ref();
        named.is_none_or(|named| named.remote.parse::<SocketAddr>().is_ok())
    }
}

/// Those that were to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    pub ja3: Option<String>,
    pub ja4: Option<String>,
}

/// The last attempt.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamRecord<'a> {
    pub name: &'a str,
    /// The name by which its statistics know it.
    pub cluster: &'a str,
    pub service: Option<&'a ServiceName>,
    pub workload: Option<&'a WorkloadLabel>,
    /// The endpoint's DNS name; empty where it has none.
    pub hostname: &'a str,
    pub remote: Option<&'a Address>,
    pub local: Option<SocketAddr>,
    pub peer_principal: Option<&'a Arc<str>>,
    pub local_principal: Option<&'a Arc<str>>,
    pub transport_failure: Option<&'a str>,
    /// There is, or was, a connection to it.
    pub is_connected: bool,
    /// None: no request was sent.
    pub version: Option<Version>,
    pub connection_id: Option<u64>,
    pub tls: Option<&'a dyn TlsFacts>,
    pub server_name: Option<&'a str>,
    /// Of its stream.
    pub wire: WireBytes,
    pub cluster_metadata: Option<&'a Told>,
    /// Of the endpoint.
    pub metadata: Option<&'a Told>,
}

/// A TCP connection through `tcp_proxy`, made at its end; `opened` is counted when it starts.
#[derive(Debug)]
pub struct ConnectionRecord<'a> {
    pub start: SystemTime,
    pub duration: Duration,
    pub flags: Flags,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub upstream: Option<UpstreamRecord<'a>>,
    pub downstream: &'a DownstreamRecord,
    pub peer: &'a PeerMetadata,
    /// How it ended, or why it was not let in.
    pub details: &'a str,
    /// `%CONNECTION_TERMINATION_DETAILS%`: of who ended it on purpose, else empty.
    pub termination: &'a str,
    /// The client has ended it with a reset.
    pub reset: bool,
    /// When it is made.
    pub log_type: LogType,
    /// How often an upstream was tried.
    pub attempts: u32,
}

/// Who this proxy stands for: one half of every metric's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalWorkload {
    pub workload: String,
    pub namespace: String,
    pub app: String,
    pub version: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub cluster: String,
    pub principal: String,
}
