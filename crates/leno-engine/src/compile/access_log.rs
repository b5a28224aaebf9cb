//! Access loggers, and format strings with `%…%` command operators.

use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub sink: Sink,
    pub format: LogFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    File(PathBuf),
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    Text(Format),
    /// Keys in order.
    Json(Vec<(String, Format)>),
}

/// A parsed format string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Literal(String),
    Operator { operator: Operator, max: Option<usize> },
}

/// The command operators that leno has, by Envoy's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    StartTime(Option<String>),
    Req {
        name: String,
        alternative: Option<String>,
    },
    Resp {
        name: String,
        alternative: Option<String>,
    },
    Trailer(String),
    Method,
    Path,
    Authority,
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ConnectionTerminationDetails,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    ResponseDuration,
    UpstreamServiceTime,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocalAddress,
    UpstreamPeerUriSan,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamDirectRemoteAddress,
    DownstreamDirectRemoteAddressWithoutPort,
    DownstreamPeerUriSan,
    DownstreamLocalUriSan,
    DownstreamTlsVersion,
    RequestedServerName,
    RouteName,
    VirtualClusterName,
    UpstreamRequestAttemptCount,
    Hostname,
    ConnectionId,
    DynamicMetadata(String),
    FilterState(String),
    Environment(String),
}
