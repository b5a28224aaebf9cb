//! Operators answered from a record.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::{FormatValues, Operator};
use leno_engine::flags::Flags;

use super::start_time;
use crate::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};

pub(super) struct RequestValues<'a>(pub(super) &'a RequestRecord<'a>);
pub(super) struct ConnectionValues<'a>(pub(super) &'a ConnectionRecord<'a>);

/// What requests and connections have in common.
struct Common<'a> {
    start: SystemTime,
    duration: Duration,
    flags: Flags,
    details: &'a str,
    received: u64,
    sent: u64,
    upstream: Option<UpstreamRecord<'a>>,
    downstream: &'a DownstreamRecord,
}

impl FormatValues for RequestValues<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let record = self.0;
        match operator {
            // 0 is Envoy's code for a request that got no response.
            Operator::ResponseCode => number(out, record.response.map_or(0, |head| u64::from(head.status))),
            Operator::RequestDuration => millis(out, record.request_duration),
            Operator::ResponseDuration => millis(out, record.response_duration),
            Operator::UpstreamServiceTime => service_time(record, out),
            Operator::RouteName => text(out, Some(record.route)),
            Operator::UpstreamRequestAttemptCount => number(out, u64::from(record.attempts)),
            _ => Common {
                start: record.start,
                duration: record.duration,
                flags: record.flags,
                details: record.details,
                received: record.bytes_received,
                sent: record.bytes_sent,
                upstream: record.upstream,
                downstream: record.downstream,
            }
            .write(operator, out),
        }
    }
}

impl FormatValues for ConnectionValues<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let record = self.0;
        match operator {
            Operator::ResponseCode => number(out, 0),
            Operator::ResponseCodeDetails => false,
            Operator::ConnectionTerminationDetails => text(out, Some(record.details)),
            _ => Common {
                start: record.start,
                duration: record.duration,
                flags: record.flags,
                details: record.details,
                received: record.bytes_received,
                sent: record.bytes_sent,
                upstream: record.upstream,
                downstream: record.downstream,
            }
            .write(operator, out),
        }
    }
}

impl Common<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let (downstream, upstream) = (self.downstream, self.upstream);
        match operator {
            Operator::StartTime(format) => start_time::write(self.start, format.as_deref(), out),
            Operator::Duration => millis(out, Some(self.duration)),
            Operator::ResponseFlags => display(out, Some(self.flags)),
            Operator::ResponseCodeDetails => text(out, Some(self.details)),
            Operator::BytesReceived => number(out, self.received),
            Operator::BytesSent => number(out, self.sent),
            Operator::UpstreamHost => display(out, upstream.and_then(|u| u.remote)),
            Operator::UpstreamLocalAddress => display(out, upstream.and_then(|u| u.local)),
            Operator::UpstreamCluster => text(out, upstream.map(|u| u.cluster)),
            Operator::UpstreamTransportFailureReason => text(out, upstream.and_then(|u| u.transport_failure)),
            Operator::UpstreamPeerUriSan => text(out, upstream.and_then(|u| u.peer_principal).map(|p| &**p)),
            Operator::DownstreamLocalAddress => display(out, Some(downstream.local)),
            Operator::DownstreamLocalAddressWithoutPort => without_port(out, downstream.local),
            Operator::DownstreamLocalPort => number(out, downstream.local.port().into()),
            Operator::DownstreamRemoteAddress => display(out, Some(downstream.remote)),
            Operator::DownstreamRemoteAddressWithoutPort => without_port(out, downstream.remote),
            Operator::DownstreamDirectRemoteAddress => display(out, Some(downstream.direct_remote)),
            Operator::DownstreamDirectRemoteAddressWithoutPort => without_port(out, downstream.direct_remote),
            Operator::DownstreamPeerUriSan => text(out, downstream.peer_principal.as_deref()),
            Operator::DownstreamLocalUriSan => text(out, downstream.local_principal.as_deref()),
            Operator::DownstreamTlsVersion => text(out, downstream.tls_version),
            Operator::RequestedServerName => text(out, downstream.sni.as_deref()),
            Operator::ConnectionId => number(out, downstream.connection_id),
            _ => false,
        }
    }
}

/// Envoy's router puts this header on the response: from the request's last byte sent to the answer's first.
fn service_time(record: &RequestRecord<'_>, out: &mut Vec<u8>) -> bool {
    if let Some(value) = record
        .response
        .and_then(|head| head.headers.get("x-envoy-upstream-service-time"))
    {
        out.extend_from_slice(value);
        return true;
    }
    let answered = record.response_duration.filter(|_| record.upstream.is_some());
    millis(
        out,
        answered.map(|until| until.saturating_sub(record.request_duration.unwrap_or_default())),
    )
}

fn text(out: &mut Vec<u8>, value: Option<&str>) -> bool {
    match value {
        Some(value) if !value.is_empty() => {
            out.extend_from_slice(value.as_bytes());
            true
        }
        _ => false,
    }
}

fn display(out: &mut Vec<u8>, value: Option<impl std::fmt::Display>) -> bool {
    // Writing to memory does not fail.
    value.is_some_and(|value| write!(out, "{value}").is_ok())
}

fn number(out: &mut Vec<u8>, value: u64) -> bool {
    display(out, Some(value))
}

fn millis(out: &mut Vec<u8>, duration: Option<Duration>) -> bool {
    display(out, duration.map(|duration| duration.as_millis()))
}

fn without_port(out: &mut Vec<u8>, address: SocketAddr) -> bool {
    display(out, Some(address.ip()))
}
