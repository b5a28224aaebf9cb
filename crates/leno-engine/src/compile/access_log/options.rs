//! When there are records besides those at the end.

use std::time::Duration;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::protobuf;

/// Of a connection manager, or of a TCP proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Again and again.
    pub every: Option<Duration>,
    /// When a request has its route, or a connection begins.
    pub at_start: bool,
    /// When a tunnel is there, or a connection has its upstream.
    pub when_connected: bool,
}

/// The shortest time between two records, which Envoy demands too.
const SHORTEST: Duration = Duration::from_millis(1);

/// How often; not more often than may be.
pub(crate) fn every(
    at: &At<'_>,
    field: &'static str,
    value: &Option<protobuf::Duration>,
) -> Result<Option<Duration>, Rejection> {
    match at.duration(field, value)? {
        Some(every) if every < SHORTEST => Err(at.field(field).reject("at least 1ms")),
        every => Ok(every),
    }
}
