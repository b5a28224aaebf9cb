//! What formats may name: Envoy's [command operators].
//!
//! [command operators]: https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/advanced/substitution_formatter

use std::sync::Arc;

use leno_cel::Program;

use super::zone::Zone;
use crate::compile::expression;

#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    // Of the messages.
    Req {
        name: String,
        alternative: Option<String>,
    },
    Resp {
        name: String,
        alternative: Option<String>,
    },
    Trailer {
        name: String,
        alternative: Option<String>,
    },
    /// A header, up to its `?`.
    ReqWithoutQuery {
        name: String,
        alternative: Option<String>,
    },
    Method,
    Path {
        query: bool,
        of: PathOf,
    },
    QueryParam(String),
    QueryParams {
        decoded: bool,
    },
    Authority,
    Protocol,
    StreamId,
    HeadersBytes(Message),

    // Of the answer.
    ResponseCode,
    ResponseCodeDetails {
        /// As they are, else with `_` for spaces.
        spaces: bool,
    },
    ResponseFlags,
    ResponseFlagsLong,
    /// As bits in a number, for expressions.
    ResponseFlagBits,
    GrpcStatus(GrpcForm),
    /// Of an answer of the proxy's own, before it is formatted.
    LocalReplyBody,
    AccessLogType,

    // Times.
    StartTime(Clock),
    EmitTime(Clock),
    Duration,
    RequestDuration,
    ResponseDuration,
    Span {
        from: Point,
        to: Point,
        unit: Unit,
    },
    UpstreamServiceTime,

    // Sizes.
    BytesReceived,
    BytesSent,
    /// Of the stream, as it was on the wire.
    WireBytes(Side, Way, Wire),

    // Who.
    Address(Whose, AddressForm),
    /// Its DNS name, or else its address; without the port where that is asked for.
    UpstreamHostName {
        port: bool,
    },
    /// All that were tried.
    Attempted(Attempted),
    UpstreamCluster {
        /// Its name, else that of its statistics.
        raw: bool,
    },
    UpstreamProtocol,
    UpstreamConnectionId,
    UpstreamRequestAttemptCount,
    UpstreamServerName,
    ConnectionId,
    RequestedServerName {
        prefer: ServerName,
        of: HostOf,
    },
    Tls(Side, TlsFact),

    // How it ended.
    ConnectionTerminationDetails,
    TransportFailureReason(Side),
    LocalCloseReason(Side),
    /// Whether the socket was closed as it should be, or reset, and by whom.
    CloseType(Side),

    // Of the configuration.
    RouteName,
    /// There is one, for expressions.
    RouteFound,
    VirtualHostName,
    VirtualClusterName,
    FilterChainName,
    Metadata {
        kind: MetadataKind,
        namespace: String,
        /// Empty: all of the namespace.
        path: Vec<String>,
    },
    /// Of the client's hello, where an inspector was to make it.
    HelloFingerprint(HelloHash),
    FilterState {
        key: String,
        form: StateForm,
    },
    TraceId,
    SpanId,
    UniqueId,
    Hostname(Option<String>),
    Environment {
        name: String,
        /// What it was when the configuration was read; None: it was not set.
        value: Option<String>,
    },
    /// What a file said when the configuration was read.
    FileContent(Vec<u8>),
    /// What only others could set: always empty.
    CustomFlags,
    /// What is never known here.
    Never,
    /// What is always this number.
    Fixed(u64),
    /// The first that says something; each no longer than its own limit.
    Coalesce(Vec<(Operator, Option<usize>)>),
    Cel {
        program: Arc<Program>,
        /// In JSON with its type.
        typed: bool,
    },
}

/// How a time is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// As strftime has it. None: by ISO 8601.
    pub format: Option<String>,
    /// None: UTC.
    pub zone: Option<Zone>,
}

/// Which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathOf {
    /// Before rewrites; none where there was no rewrite.
    Original,
    /// As it is sent.
    Sent,
    /// Before rewrites, if there were any.
    Either,
}

/// Which host, where one stands for a server's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostOf {
    Original,
    Sent,
    Either,
}

/// Whether a server's name is what TLS or what the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerName {
    SniOnly,
    SniFirst,
    HostFirst,
}

/// How `grpc-status` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcForm {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Request,
    Response,
    Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Downstream,
    Upstream,
}

/// Whether it was sent or received by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Sent,
    Received,
}

/// Which of a stream's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    All,
    /// HTTP/1's fields without the first line; HTTP/2's frames.
    Heads,
    /// The same, before they were compressed.
    PlainHeads,
}

/// A moment of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    RequestBegins,
    RequestEnds,
    ConnectBegins,
    ConnectEnds,
    HandshakeEnds,
    /// A connection is asked for.
    TryBegins,
    /// There is a connection for the request.
    PoolReady,
    SendingBegins,
    SendingEnds,
    AnswerBegins,
    AnswerBodyBegins,
    AnswerEnds,
    AnsweringBegins,
    AnsweringEnds,
    /// Of a connection.
    ConnectionBegins,
    ConnectionEnds,
    DownstreamHandshakeEnds,
    /// One that only others could set.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The endpoint's, whether or not there is a connection.
    UpstreamHost,
    UpstreamRemote,
    UpstreamLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
    DownstreamLocal,
    DownstreamDirectLocal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressForm {
    Whole,
    WithoutPort {
        /// So many leading bits only, as a network.
        bits: Option<u8>,
    },
    Port,
    /// Of an internal listener's address.
    EndpointId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    Addresses { port: bool },
    Names { port: bool },
    Connections,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFact {
    Version,
    Cipher,
    Group,
    SessionId,
    Subject(End),
    Issuer,
    Sans(End, SanKind),
    /// Of the peer's certificate, or of all that it has shown.
    Fingerprint {
        hash: Hash,
        chain: bool,
    },
    Serial {
        chain: bool,
    },
    Certificate,
    ValidFrom(Option<String>),
    ValidUntil(Option<String>),
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Local,
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    Uri,
    Dns,
    Ip,
    Email,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha1,
    Sha256,
}

/// Whose metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataKind {
    /// What filters have noted.
    Dynamic,
    Cluster,
    Route,
    UpstreamHost,
    Listener,
    FilterChain,
    VirtualHost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateForm {
    /// As JSON.
    Typed,
    /// As a text.
    Plain,
    Field(String),
}

// === impl Operator ===

impl Operator {
    /// What it is in JSON: a number, not a text.
    pub fn is_number(&self) -> bool {
        match self {
            Self::ResponseCode
            | Self::BytesReceived
            | Self::BytesSent
            | Self::WireBytes(..)
            | Self::HeadersBytes(_)
            | Self::Duration
            | Self::RequestDuration
            | Self::ResponseDuration
            | Self::Span { .. }
            | Self::UpstreamRequestAttemptCount
            | Self::ConnectionId
            | Self::UpstreamConnectionId
            | Self::Address(_, AddressForm::Port)
            | Self::GrpcStatus(GrpcForm::Number)
            | Self::Fixed(_) => true,
            Self::Coalesce(_) => false,
            _ => false,
        }
    }

    /// It speaks of what is only kept where somebody asks for it.
    pub fn is_on_demand(&self) -> bool {
        match self {
            Self::Attempted(_) => true,
            Self::Span { from, to, .. } => from.is_on_demand() || to.is_on_demand(),
            Self::Cel { program, .. } => expression::names_on_demand(program),
            _ => false,
        }
    }

    pub fn names_trailers(&self) -> bool {
        match self {
            Self::Trailer { .. } | Self::HeadersBytes(Message::Trailers) => true,
            Self::Cel { program, .. } => expression::names_trailers(program),
            _ => false,
        }
    }

    /// It and all that it is made of.
    pub fn all(&self) -> Vec<&Operator> {
        let mut found = vec![self];
        if let Self::Coalesce(of) = self {
            found.extend(of.iter().flat_map(|(operator, _)| operator.all()));
        }
        found
    }
}

// === impl Point ===

impl Point {
    fn is_on_demand(self) -> bool {
        !matches!(
            self,
            Self::RequestBegins
                | Self::RequestEnds
                | Self::AnswerBegins
                | Self::AnsweringEnds
                | Self::ConnectionBegins
                | Self::ConnectionEnds
                | Self::Unknown
        )
    }
}

// === impl GrpcForm ===

impl GrpcForm {
    /// What a status is called; None: it has no name.
    pub fn name(self, code: u32) -> Option<&'static str> {
        let (camel, snake) = match code {
            0 => ("OK", "OK"),
            1 => ("Canceled", "CANCELLED"),
            2 => ("Unknown", "UNKNOWN"),
            3 => ("InvalidArgument", "INVALID_ARGUMENT"),
            4 => ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
            5 => ("NotFound", "NOT_FOUND"),
            6 => ("AlreadyExists", "ALREADY_EXISTS"),
            7 => ("PermissionDenied", "PERMISSION_DENIED"),
            8 => ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
            9 => ("FailedPrecondition", "FAILED_PRECONDITION"),
            10 => ("Aborted", "ABORTED"),
            11 => ("OutOfRange", "OUT_OF_RANGE"),
            12 => ("Unimplemented", "UNIMPLEMENTED"),
            13 => ("Internal", "INTERNAL"),
            14 => ("Unavailable", "UNAVAILABLE"),
            15 => ("DataLoss", "DATA_LOSS"),
            16 => ("Unauthenticated", "UNAUTHENTICATED"),
            _ => return None,
        };
        match self {
            Self::Camel => Some(camel),
            Self::Snake => Some(snake),
            Self::Number => None,
        }
    }
}

/// A fingerprint of a client's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloHash {
    Ja3,
    Ja4,
}
