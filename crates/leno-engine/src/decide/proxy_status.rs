//! The cause of an answer as `Proxy-Status` says it (RFC 9209 §2.3), by response flags as in Envoy's
//! `ProxyStatusUtils`.

use crate::flags::{Flag, Flags};

/// The first flag that tells a cause: its word, and the status that goes with it. None: the answer is the upstream's.
pub fn cause(flags: Flags) -> Option<(&'static str, u16)> {
    let found = CAUSES.iter().find(|(flag, _)| flags.contains(*flag));
    let (_, word) = found?;
    Some((
        word,
        match *word {
            CONNECTION_TIMEOUT | RESPONSE_TIMEOUT => 504,
            UNAVAILABLE | LIMIT => 503,
            NOT_FOUND => 500,
            REQUEST_ERROR => 400,
            _ => 502,
        },
    ))
}

const UNAVAILABLE: &str = "destination_unavailable";
const NOT_FOUND: &str = "destination_not_found";
const LIMIT: &str = "connection_limit_reached";
const CONNECTION_TIMEOUT: &str = "connection_timeout";
const RESPONSE_TIMEOUT: &str = "http_response_timeout";
const REQUEST_ERROR: &str = "http_request_error";

const CAUSES: &[(Flag, &str)] = &[
    (Flag::FailedLocalHealthCheck, UNAVAILABLE),
    (Flag::NoHealthyUpstream, UNAVAILABLE),
    (Flag::UpstreamRequestTimeout, RESPONSE_TIMEOUT),
    (Flag::LocalReset, CONNECTION_TIMEOUT),
    (Flag::UpstreamRemoteReset, "connection_terminated"),
    (Flag::UpstreamConnectionFailure, "connection_refused"),
    (Flag::UpstreamConnectionTermination, "connection_terminated"),
    (Flag::UpstreamOverflow, LIMIT),
    (Flag::NoRouteFound, NOT_FOUND),
    (Flag::RateLimited, LIMIT),
    (Flag::UpstreamRetryLimitExceeded, UNAVAILABLE),
    (Flag::StreamIdleTimeout, RESPONSE_TIMEOUT),
    (Flag::InvalidEnvoyRequestHeaders, REQUEST_ERROR),
    (Flag::DownstreamProtocolError, REQUEST_ERROR),
    (Flag::UpstreamMaxStreamDurationReached, RESPONSE_TIMEOUT),
    (Flag::UpstreamProtocolError, "http_protocol_error"),
    (Flag::NoClusterFound, UNAVAILABLE),
    (Flag::DnsResolutionFailed, "dns_error"),
];
