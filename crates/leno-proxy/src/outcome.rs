//! What went wrong, as data: who ended it, at which phase, and what follows from that.
//!
//! From one [`Failure`] come the answer's status, Envoy's response flag, `%RESPONSE_CODE_DETAILS%` and whether an
//! attempt may be repeated; nobody looks at error text.

use std::sync::Arc;

use leno_engine::decide::drop_overload::Dropped;
use leno_engine::flags::{Flag, Flags};

use crate::drain::CutBy;
use crate::idle::Expired;

/// A message stream that ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// Before anything was received.
    #[error("connection closed")]
    Closed,
    #[error("connection closed in the middle of a message")]
    Truncated,
    /// The client's request breaks off in what is no HTTP.
    #[error("malformed request: {details}")]
    Malformed { status: u16, details: &'static str },
    /// The peer reset the stream, with this HTTP/2 error code.
    #[error("stream reset by peer (code {0})")]
    Reset(u32),
    /// The peer says that it has not looked at the request (REFUSED_STREAM, or GOAWAY with a lower stream id).
    #[error("stream refused by peer")]
    Refused,
    #[error("protocol error: {0}")]
    Protocol(Arc<str>),
    #[error("{0} cannot be sent")]
    Invalid(&'static str),
    #[error("more than {0} bytes would have to be buffered")]
    TooLarge(usize),
    #[error("timed out")]
    TimedOut,
    /// We gave up: the other side of the exchange is gone.
    #[error("aborted")]
    Aborted,
    /// The peer would not be trusted again: its certificate was taken back since the handshake.
    #[error("the peer's certificate has been revoked")]
    Revoked,
}

/// Why an attempt has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// No connection: refused, unreachable, TLS.
    Connect(Arc<str>),
    ConnectTimeout,
    /// The request went out, or part of it; no answer came.
    Stream(StreamError),
    /// The per-try time-out.
    TryTimeout,
    /// Nothing moved on the attempt's stream for too long.
    TryIdle,
    /// The route's time-out.
    Timeout,
    /// A circuit breaker.
    Overflow,
    /// The control plane wants less to be sent (`drop_overloads`).
    Dropped(Dropped),
    NoHealthyUpstream,
    /// The endpoint that was asked for is not there, and no other may take the request.
    NotThere(u16),
    NoCluster,
    /// The control plane did not answer for a name we do not know.
    Unanswered,
    /// Nothing moved for too long, the request did not end in time, or the stream lasted too long. `ended`: the request
    /// had been received whole.
    Expired {
        what: Expired,
        ended: bool,
    },
    /// The stream lasted longer than its cluster allows.
    UpstreamDuration,
    /// The client went away before its request had ended.
    Downstream,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::TryTimeout | Self::TryIdle | Self::Timeout => 504,
            Self::UpstreamDuration
            | Self::Expired {
                what: Expired::Answer,
                ..
            }
            | Self::Expired { ended: true, .. } => 504,
            Self::Expired { ended: false, .. } => 408,
            Self::NotThere(status) => *status,
            Self::Stream(StreamError::Protocol(_)) => 502,
            Self::Stream(StreamError::Malformed { status, .. }) => *status,
            Self::Stream(StreamError::TooLarge(_)) => 413,
            Self::Stream(StreamError::Invalid(_)) => 400,
            _ => 503,
        }
    }

    pub(crate) fn flags(&self) -> Flags {
        let flag = match self {
            Self::Connect(_) | Self::ConnectTimeout => Flag::UpstreamConnectionFailure,
            Self::Stream(error) => match error {
                StreamError::Closed | StreamError::Truncated | StreamError::Aborted => {
                    Flag::UpstreamConnectionTermination
                }
                StreamError::Reset(_) | StreamError::Refused => Flag::UpstreamRemoteReset,
                StreamError::Protocol(_) => Flag::UpstreamProtocolError,
                StreamError::Malformed { .. } | StreamError::Invalid(_) | StreamError::TooLarge(_) => {
                    Flag::DownstreamProtocolError
                }
                StreamError::TimedOut => Flag::UpstreamRequestTimeout,
                StreamError::Revoked => Flag::LocalReset,
            },
            Self::TryTimeout | Self::TryIdle | Self::Timeout => Flag::UpstreamRequestTimeout,
            Self::Overflow => Flag::UpstreamOverflow,
            Self::Dropped(Dropped::ByChance) => Flag::DropOverload,
            Self::Dropped(Dropped::Always) => Flag::UnconditionalDropOverload,
            Self::NoHealthyUpstream | Self::NotThere(_) => Flag::NoHealthyUpstream,
            Self::NoCluster | Self::Unanswered => Flag::NoClusterFound,
            Self::Expired { what, .. } => return what.flag().map_or_else(Flags::default, Flags::from),
            Self::UpstreamDuration => Flag::UpstreamMaxStreamDurationReached,
            Self::Downstream => Flag::DownstreamConnectionTermination,
        };
        flag.into()
    }

    /// `%RESPONSE_CODE_DETAILS%`, in Envoy's words where it has some.
    pub(crate) fn details(&self) -> &'static str {
        match self {
            Self::Connect(_) => "upstream_reset_before_response_started{remote_connection_failure}",
            Self::ConnectTimeout => "upstream_reset_before_response_started{connection_timeout}",
            Self::Stream(error) => match error {
                StreamError::Closed | StreamError::Truncated | StreamError::Aborted => {
                    "upstream_reset_before_response_started{connection_termination}"
                }
                StreamError::Reset(_) => "upstream_reset_before_response_started{remote_reset}",
                StreamError::Refused => "upstream_reset_before_response_started{remote_refused_stream_reset}",
                StreamError::Protocol(_) => "upstream_reset_before_response_started{protocol_error}",
                StreamError::Malformed { details, .. } => details,
                StreamError::Invalid(_) => "request_cannot_be_sent",
                StreamError::TooLarge(_) => "request_payload_too_large",
                StreamError::TimedOut => "stream_idle_timeout",
                StreamError::Revoked => CutBy::Revoked.details(),
            },
            Self::TryTimeout => "upstream_per_try_timeout",
            Self::TryIdle => "upstream_per_try_idle_timeout",
            Self::Timeout => "response_timeout",
            Self::Overflow => "upstream_reset_before_response_started{overflow}",
            Self::Dropped(Dropped::ByChance) => "drop_overload",
            Self::Dropped(Dropped::Always) => "unconditional_drop_overload",
            Self::NoHealthyUpstream | Self::NotThere(_) => "no_healthy_upstream",
            Self::NoCluster => "cluster_not_found",
            Self::Unanswered => "on_demand_unanswered",
            Self::Expired { what, .. } => what.details(),
            Self::UpstreamDuration => "upstream_max_stream_duration_reached",
            Self::Downstream => "downstream_remote_disconnect",
        }
    }

    /// The body that Envoy sends with it.
    pub(crate) fn body(&self) -> &'static str {
        match self {
            Self::NoHealthyUpstream | Self::NotThere(_) => "no healthy upstream",
            Self::TryTimeout | Self::TryIdle | Self::Timeout => "upstream request timeout",
            Self::Expired { what, .. } => match what {
                Expired::Idle => "stream timeout",
                Expired::Request => "request timeout",
                Expired::Whole => "downstream duration timeout",
                Expired::Answer => "upstream request timeout",
            },
            Self::UpstreamDuration => "upstream max stream duration reached",
            Self::Dropped(Dropped::ByChance) => "drop overload",
            Self::Dropped(Dropped::Always) => "unconditional drop overload",
            Self::Connect(_) => {
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
            }
            Self::ConnectTimeout => {
                "upstream connect error or disconnect/reset before headers. reset reason: connection timeout"
            }
            Self::Overflow => {
                "upstream connect error or disconnect/reset before headers. reset reason: overflow"
            }
            Self::Stream(StreamError::Protocol(_)) => {
                "upstream connect error or disconnect/reset before headers. reset reason: protocol error"
            }
            Self::Stream(StreamError::Reset(_) | StreamError::Refused) => {
                "upstream connect error or disconnect/reset before headers. reset reason: remote reset"
            }
            Self::Stream(
                StreamError::Closed | StreamError::Truncated | StreamError::Aborted | StreamError::Revoked,
            ) => {
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
            }
            Self::Stream(StreamError::Malformed { status, .. }) => leno_http1::reason(*status),
            _ => "",
        }
    }

    /// The header that tells of it.
    pub(crate) fn told_by(&self) -> Option<&'static str> {
        match self {
            Self::Overflow => Some("x-envoy-overloaded"),
            Self::Dropped(Dropped::ByChance) => Some("x-envoy-drop-overload"),
            Self::Dropped(Dropped::Always) => Some("x-envoy-unconditional-drop-overload"),
            _ => None,
        }
    }

    /// What has ended the stream, in Envoy's words; None: this proxy has, as it did not want to wait any longer.
    pub(crate) fn reset_reason(&self) -> Option<&'static str> {
        match self {
            Self::Stream(StreamError::Refused) => Some("remote refused stream reset"),
            _ => self.body().split_once("reset reason: ").map(|(_, reason)| reason),
        }
    }

    /// Where it is not the one that goes with the status: a stream that lasted too long has missed its deadline.
    pub(crate) fn grpc_status(&self) -> Option<u32> {
        match self {
            Self::UpstreamDuration
            | Self::Expired {
                what: Expired::Whole, ..
            } => Some(4),
            _ => None,
        }
    }

    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub(crate) fn transport_reason(&self) -> Option<Arc<str>> {
        match self {
            Self::Connect(reason) => Some(Arc::clone(reason)),
            _ => None,
        }
    }
}

// === impl Expired ===

impl Expired {
    /// Of the other two Envoy has none: only the details tell.
    pub(crate) fn flag(self) -> Option<Flag> {
        match self {
            Self::Idle => Some(Flag::StreamIdleTimeout),
            Self::Answer => Some(Flag::UpstreamRequestTimeout),
            Self::Request | Self::Whole => None,
        }
    }

    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::Idle => "stream_idle_timeout",
            Self::Request => "request_overall_timeout",
            Self::Whole => "max_duration_timeout",
            Self::Answer => "response_timeout",
        }
    }
}
