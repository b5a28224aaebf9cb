//! When the connection manager writes access logs besides the end of a request.

use crate::compile::Rejection;
use crate::compile::access_log::{self, LogOptions};
use crate::compile::at::At;
use crate::compile::pb::{hcm as pb, protobuf, router};

/// What stands in the options counts before the older fields, beside which they may not stand.
pub(super) fn log_options(
    at: &At<'_>,
    options: Option<&pb::http_connection_manager::HcmAccessLogOptions>,
    interval: &Option<protobuf::Duration>,
    at_start: bool,
) -> Result<LogOptions, Rejection> {
    let Some(pb::http_connection_manager::HcmAccessLogOptions {
        access_log_flush_interval,
        flush_access_log_on_new_request,
        flush_log_on_tunnel_successfully_established,
    }) = options
    else {
        return Ok(LogOptions {
            every: access_log::every(at, "access_log_flush_interval", interval)?,
            at_start,
            when_connected: false,
        });
    };
    if interval.is_some() || at_start {
        return Err(at
            .field("access_log_options")
            .reject("access_log_flush_interval and flush_access_log_on_new_request stand beside it"));
    }
    let at = at.field("access_log_options");
    Ok(LogOptions {
        every: access_log::every(&at, "access_log_flush_interval", access_log_flush_interval)?,
        at_start: *flush_access_log_on_new_request,
        when_connected: *flush_log_on_tunnel_successfully_established,
    })
}

/// Of the tries of a request.
pub(super) fn upstream(
    at: &At<'_>,
    options: &router::router::UpstreamAccessLogOptions,
) -> Result<LogOptions, Rejection> {
    let router::router::UpstreamAccessLogOptions {
        flush_upstream_log_on_upstream_stream,
        upstream_log_flush_interval,
    } = options;
    Ok(LogOptions {
        every: access_log::every(at, "upstream_log_flush_interval", upstream_log_flush_interval)?,
        at_start: false,
        when_connected: *flush_upstream_log_on_upstream_stream,
    })
}
