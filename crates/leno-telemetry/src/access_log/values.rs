//! Operators answered from a record.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::{FormatValues, GrpcForm, Operator};
use leno_engine::compile::listener::Address;
use leno_engine::decide::grpc::from_http;
use leno_engine::decide::route::is_grpc;
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{Decimal, ResponseHead};

use super::start_time;
use crate::record::{ConnectionRecord, DownstreamRecord, Named, RequestRecord, UpstreamRecord};

/// What a format may say of a request.
pub struct RequestValues<'a> {
    record: &'a RequestRecord<'a>,
    common: Common<'a>,
}

pub(super) struct ConnectionValues<'a> {
    record: &'a ConnectionRecord<'a>,
    common: Common<'a>,
}

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

impl<'a> RequestValues<'a> {
    pub fn new(record: &'a RequestRecord<'a>) -> Self {
        Self {
            record,
            common: Common {
                start: record.start,
                duration: record.duration,
                flags: record.flags,
                details: record.details,
                received: record.bytes_received,
                sent: record.bytes_sent,
                upstream: record.upstream,
                downstream: record.downstream,
            },
        }
    }
}

impl<'a> ConnectionValues<'a> {
    pub(super) fn new(record: &'a ConnectionRecord<'a>) -> Self {
        Self {
            record,
            common: Common {
                start: record.start,
                duration: record.duration,
                flags: record.flags,
                details: record.details,
                received: record.bytes_received,
                sent: record.bytes_sent,
                upstream: record.upstream,
                downstream: record.downstream,
            },
        }
    }
}

impl FormatValues for RequestValues<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let record = self.record;
        match operator {
            // 0 is Envoy's code for a request that got no response.
            Operator::ResponseCode => number(out, record.response.map_or(0, |head| u64::from(head.status))),
            Operator::RequestDuration => millis(out, record.request_duration),
            Operator::ResponseDuration => millis(out, record.response_duration),
            Operator::UpstreamServiceTime => service_time(record, out),
            Operator::RouteName => text(out, Some(record.route.name)),
            Operator::GrpcStatus(form) => grpc(out, *form, record),
            Operator::AccessLogType => text(out, Some("DownstreamEnd")),
            Operator::StreamId => match record.request.headers.get("x-request-id") {
                Some(id) => {
                    out.extend_from_slice(id);
                    true
                }
                None => false,
            },
            Operator::UpstreamRequestAttemptCount => number(out, u64::from(record.attempts)),
            Operator::DynamicMetadata { .. } | Operator::FilterState { .. } => {
                record.notes.write(operator, out)
            }
            Operator::TraceId => match record.span {
                Some(span) => write!(out, "{}", span.trace).is_ok(),
                None => false,
            },
            Operator::SpanId => match record.span {
                Some(span) => write!(out, "{:016x}", span.span).is_ok(),
                None => false,
            },
            _ => self.common.write(operator, out),
        }
    }

    fn write_json(&self, operator: &Operator, out: &mut Vec<u8>) -> Option<bool> {
        self.record.notes.write_json(operator, out)
    }
}

impl FormatValues for ConnectionValues<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let record = self.record;
        match operator {
            Operator::ResponseCode => number(out, 0),
            Operator::ResponseCodeDetails => false,
            Operator::ResponseFlags if !record.flags.is_empty() => {
                listed(out, in_turn(record.flags).map(Flag::short))
            }
            Operator::ResponseFlagsLong => listed(out, in_turn(record.flags).map(Flag::long)),
            Operator::ConnectionTerminationDetails => text(out, Some(record.termination)),
            Operator::AccessLogType => text(out, Some("TcpConnectionEnd")),
            _ => self.common.write(operator, out),
        }
    }
}

/// What is known of a connection before there is anything to count.
impl FormatValues for DownstreamRecord {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let common = Common {
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            flags: Flags::default(),
            details: "",
            received: 0,
            sent: 0,
            upstream: None,
            downstream: self,
        };
        match operator {
            Operator::StartTime(_)
            | Operator::Duration
            | Operator::BytesReceived
            | Operator::BytesSent
            | Operator::ResponseFlags => false,
            _ => common.write(operator, out),
        }
    }
}

impl Common<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let (downstream, upstream) = (self.downstream, self.upstream);
        match operator {
            Operator::StartTime(format) => start_time::write(self.start, format.as_deref(), out),
            Operator::Duration => millis(out, Some(self.duration)),
            Operator::ResponseFlags => flags(out, self.flags),
            Operator::ResponseFlagsLong => listed(out, self.flags.iter().map(Flag::long)),
            Operator::ResponseCodeDetails => {
                let failure = self
                    .upstream
                    .as_ref()
                    .and_then(|upstream| upstream.transport_failure);
                text(out, Some(&details(self.details, failure)))
            }
            Operator::BytesReceived => number(out, self.received),
            Operator::BytesSent => number(out, self.sent),
            Operator::UpstreamHost => host(out, upstream),
            Operator::UpstreamHostName { port } => match upstream {
                Some(UpstreamRecord { hostname, .. }) if !hostname.is_empty() => {
                    let (name, _) = hostname
                        .rsplit_once(':')
                        .filter(|_| !port)
                        .unwrap_or((hostname, ""));
                    text(out, Some(name))
                }
                Some(UpstreamRecord {
                    remote: Some(Address::Socket(remote)),
                    ..
                }) if !port => without_port(out, *remote),
                upstream => host(out, upstream),
            },
            Operator::UpstreamLocalAddress => address(out, upstream.and_then(|u| u.local)),
            Operator::UpstreamCluster => text(out, upstream.map(|u| u.cluster)),
            Operator::UpstreamTransportFailureReason => {
                let start = out.len();
                let found = text(out, upstream.and_then(|u| u.transport_failure));
                let spaces = out.iter_mut().skip(start).filter(|byte| **byte == b' ');
                spaces.for_each(|space| *space = b'_');
                found
            }
            Operator::UpstreamPeerUriSan => text(out, upstream.and_then(|u| u.peer_principal).map(|p| &**p)),
            // Unless it is told elsewhere who the client is.
            Operator::DownstreamLocalAddress
            | Operator::DownstreamRemoteAddress
            | Operator::DownstreamDirectRemoteAddress
            | Operator::DownstreamLocalAddressWithoutPort
            | Operator::DownstreamRemoteAddressWithoutPort
            | Operator::DownstreamDirectRemoteAddressWithoutPort
            | Operator::DownstreamLocalPort
            | Operator::DownstreamRemotePort
            | Operator::DownstreamDirectRemotePort
                if downstream.named.is_some() =>
            {
                downstream
                    .named
                    .as_ref()
                    .is_some_and(|named| name(out, operator, named))
            }
            Operator::DownstreamLocalAddress => address(out, Some(downstream.local)),
            Operator::DownstreamLocalAddressWithoutPort => without_port(out, downstream.local),
            Operator::DownstreamLocalPort => number(out, downstream.local.port().into()),
            Operator::DownstreamRemotePort => number(out, downstream.remote.port().into()),
            Operator::DownstreamDirectRemotePort => number(out, downstream.direct_remote.port().into()),
            Operator::UpstreamRemotePort => match upstream.and_then(|u| u.remote?.socket()) {
                Some(remote) => number(out, remote.port().into()),
                None => false,
            },
            Operator::DownstreamRemoteAddress => address(out, Some(downstream.remote)),
            Operator::DownstreamRemoteAddressWithoutPort => without_port(out, downstream.remote),
            Operator::DownstreamDirectRemoteAddress => address(out, Some(downstream.direct_remote)),
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

fn flags(out: &mut Vec<u8>, flags: Flags) -> bool {
    if flags.is_empty() {
        out.push(b'-');
        return true;
    }
    // Writing to memory does not fail.
    write!(out, "{flags}").is_ok()
}

fn listed(out: &mut Vec<u8>, names: impl Iterator<Item = &'static str>) -> bool {
    let start = out.len();
    for name in names {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.len() > start
}

/// As they come to a connection: that there is no further attempt is known after the last has failed.
fn in_turn(flags: Flags) -> impl Iterator<Item = Flag> {
    let last = Flag::UpstreamRetryLimitExceeded;
    let others = flags.iter().filter(move |flag| *flag != last);
    others.chain(flags.contains(last).then_some(last))
}

/// Of a gRPC call: what the answer says, else what HTTP's status means to gRPC, where 200 without a word is unknown.
fn grpc(out: &mut Vec<u8>, form: GrpcForm, record: &RequestRecord<'_>) -> bool {
    if !is_grpc(record.request) {
        return false;
    }
    let by_http = |response: &ResponseHead| match response.status {
        200 => 2,
        status => from_http(status),
    };
    let Some(code) = record.grpc_status.or_else(|| record.response.map(by_http)) else {
        return false;
    };
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
        other => return number(out, other.into()),
    };
    match form {
        GrpcForm::Camel => text(out, Some(camel)),
        GrpcForm::Snake => text(out, Some(snake)),
        GrpcForm::Number => number(out, code.into()),
    }
}

fn number(out: &mut Vec<u8>, value: u64) -> bool {
    out.extend_from_slice(Decimal::from(value).as_ref());
    true
}

fn millis(out: &mut Vec<u8>, duration: Option<Duration>) -> bool {
    duration.is_some_and(|duration| {
        number(
            out,
            duration.as_secs().saturating_mul(1000) + u64::from(duration.subsec_millis()),
        )
    })
}

fn host(out: &mut Vec<u8>, upstream: Option<UpstreamRecord<'_>>) -> bool {
    match upstream.and_then(|upstream| upstream.remote) {
        Some(Address::Socket(remote)) => address(out, Some(*remote)),
        Some(remote) => write!(out, "{remote}").is_ok(),
        None => false,
    }
}

fn address(out: &mut Vec<u8>, address: Option<SocketAddr>) -> bool {
    match address {
        Some(SocketAddr::V4(address)) => {
            v4(out, *address.ip());
            out.push(b':');
            number(out, address.port().into())
        }
        Some(SocketAddr::V6(address)) => write!(out, "{address}").is_ok(),
        None => false,
    }
}

/// A port is there and empty, as in Envoy.
fn name(out: &mut Vec<u8>, operator: &Operator, named: &Named) -> bool {
    let text = match operator {
        Operator::DownstreamLocalAddress | Operator::DownstreamLocalAddressWithoutPort => &named.local,
        Operator::DownstreamLocalPort
        | Operator::DownstreamRemotePort
        | Operator::DownstreamDirectRemotePort => return true,
        _ => &named.remote,
    };
    out.extend_from_slice(text.as_bytes());
    true
}

fn without_port(out: &mut Vec<u8>, address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => {
            v4(out, ip);
            true
        }
        IpAddr::V6(ip) => write!(out, "{ip}").is_ok(),
    }
}

/// As it displays itself, in a tenth of the time.
fn v4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    let mut text = [b'.'; 15];
    let mut len = 0;
    for (at, octet) in ip.octets().into_iter().enumerate() {
        // The dot before it is there already.
        len += usize::from(at > 0);
        for (least, digit) in [(100, octet / 100), (10, octet / 10 % 10), (0, octet % 10)] {
            if octet >= least {
                text[len] = b'0' + digit;
                len += 1;
            }
        }
    }
    out.extend_from_slice(&text[..len]);
}

/// Of a connection that was not made: with the reason, which has no spaces there.
pub fn details<'d>(details: &'d str, failure: Option<&str>) -> Cow<'d, str> {
    match (details.strip_suffix("{remote_connection_failure}"), failure) {
        (Some(before), Some(why)) => {
            let why = why.replace(' ', "_");
            format!("{before}{{remote_connection_failure|{why}}}").into()
        }
        _ => details.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_they_display_themselves() {
        for text in [
            "127.0.0.1:80",
            "240.240.0.7:65535",
            "10.100.99.255:0",
            "[::1]:9080",
            "[fe80::1%3]:1",
        ] {
            let parsed: SocketAddr = text.parse().unwrap();
            let (mut whole, mut ip) = (Vec::new(), Vec::new());
            assert!(address(&mut whole, Some(parsed)) && without_port(&mut ip, parsed));
            assert_eq!(String::from_utf8(whole).unwrap(), parsed.to_string());
            assert_eq!(String::from_utf8(ip).unwrap(), parsed.ip().to_string());
        }
    }
}
