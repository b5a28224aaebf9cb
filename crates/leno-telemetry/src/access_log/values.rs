//! Operators answered from a record.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::{
    AddressForm, Attempted, End, FormatValues, HelloHash, MetadataKind, Operator, Point, SanKind, Side,
    TlsFact, Way, Whose, Wire,
};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::metadata::Value;
use leno_engine::decide::notes::Notes;
use leno_engine::decide::trace::SpanContext;
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{ResponseHead, Version};

use super::closing::close_reason;
use super::start_time;
use super::uuid::{unique_id, write_uuid};
use super::write::{
    flags, grpc, host, in_turn, listed, millis, named, named_address, nanoseconds, number, of_address,
    of_socket, span, text, underscored,
};
use crate::record::{
    ConnectionRecord, DownstreamRecord, OnDemand, RequestRecord, RouteRecord, UpstreamRecord, WireBytes,
};

/// What a format may say of a request besides its messages.
pub struct RequestValues<'a> {
    pub common: Common<'a>,
    /// Until the last byte of the request was received.
    pub request_duration: Option<Duration>,
    /// Until the first byte of the upstream's answer.
    pub response_duration: Option<Duration>,
    pub response: Option<&'a ResponseHead>,
    pub grpc_status: Option<u32>,
    pub route: RouteRecord<'a>,
    pub span: Option<&'a SpanContext>,
    pub notes: &'a Notes,
    pub on_demand: Option<&'a OnDemand>,
}

pub(super) struct ConnectionValues<'a> {
    termination: &'a str,
    reset: bool,
    common: Common<'a>,
}

/// What requests and connections have in common.
pub struct Common<'a> {
    pub start: SystemTime,
    pub duration: Duration,
    pub flags: Flags,
    pub details: &'a str,
    pub received: u64,
    pub sent: u64,
    pub wire: WireBytes,
    pub attempts: u32,
    pub upstream: Option<UpstreamRecord<'a>>,
    pub downstream: &'a DownstreamRecord,
    pub log_type: LogType,
    pub random: u64,
}

impl<'a> RequestValues<'a> {
    pub fn new(record: &'a RequestRecord<'a>) -> Self {
        Self {
            request_duration: record.request_duration,
            response_duration: record.response_duration,
            response: record.response,
            grpc_status: record.grpc_status,
            route: record.route,
            span: record.span,
            notes: record.notes,
            on_demand: record.details_on_demand,
            common: Common {
                start: record.start,
                duration: record.duration,
                flags: record.flags,
                details: record.details,
                received: record.bytes_received,
                sent: record.bytes_sent,
                wire: record.wire,
                attempts: record.attempts,
                upstream: record.upstream,
                downstream: record.downstream,
                log_type: record.log_type,
                random: record.random,
            },
        }
    }

    /// In nanoseconds since it began.
    fn point(&self, point: Point) -> Option<i128> {
        let since = |since: Option<Duration>| since.map(nanoseconds);
        match point {
            Point::RequestBegins => Some(0),
            Point::RequestEnds => since(self.request_duration),
            Point::AnswerBegins => since(self.response_duration),
            Point::AnsweringEnds => Some(nanoseconds(self.common.duration)),
            // What is received later is sent at once.
            Point::SendingEnds => {
                let began = self.on_demand?.point(Point::SendingBegins)?;
                Some(since(self.request_duration)?.max(began))
            }
            other => self.on_demand?.point(other),
        }
    }

    /// From the request's last byte sent to the answer's first, as Envoy's router tells it in a header.
    fn service_time(&self, out: &mut Vec<u8>) -> bool {
        let header = |head: &'a ResponseHead| head.headers.get("x-envoy-upstream-service-time");
        if let Some(value) = self.response.and_then(header) {
            out.extend_from_slice(value);
            return true;
        }
        let answered = self.response_duration.filter(|_| self.common.upstream.is_some());
        let sent = self.request_duration.unwrap_or_default();
        millis(out, answered.map(|until| until.saturating_sub(sent)))
    }

    fn attempted(&self, what: Attempted, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let Some(on_demand) = self.on_demand else {
            return false;
        };
        for tried in on_demand.tried.borrow().iter() {
            let before = out.len();
            if before > start {
                out.push(b',');
            }
            let written = out.len();
            match what {
                Attempted::Addresses { port } => host(out, Some(&tried.address), port),
                Attempted::Names { port } => named(out, &tried.hostname, Some(&tried.address), port),
                Attempted::Connections => number(out, tried.connection_id),
            };
            if out.len() == written {
                out.truncate(before);
            }
        }
        out.len() > start
    }
}

impl<'a> ConnectionValues<'a> {
    pub(super) fn new(record: &'a ConnectionRecord<'a>) -> Self {
        Self {
            termination: record.termination,
            reset: record.reset,
            common: Common {
                start: record.start,
                duration: record.duration,
                flags: record.flags,
                details: record.details,
                received: record.bytes_received,
                sent: record.bytes_sent,
                wire: WireBytes::default(),
                attempts: record.attempts,
                upstream: record.upstream,
                downstream: record.downstream,
                log_type: record.log_type,
                random: record.facts().random,
            },
        }
    }
}

impl FormatValues for RequestValues<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            // 0 is Envoy's code for a request that got no response.
            Operator::ResponseCode => number(out, self.response.map_or(0, |head| u64::from(head.status))),
            Operator::RequestDuration => millis(out, self.request_duration),
            Operator::ResponseDuration => millis(out, self.response_duration),
            Operator::Span { from, to, unit } => span(out, self.point(*from), self.point(*to), *unit),
            Operator::UpstreamServiceTime => self.service_time(out),
            Operator::RouteName => text(out, Some(self.route.name)),
            Operator::RouteFound => self.route.found,
            Operator::LocalReplyBody => true,
            Operator::VirtualClusterName => text(out, self.route.virtual_cluster),
            Operator::VirtualHostName => text(out, Some(self.route.host)),
            Operator::GrpcStatus(form) => grpc(out, *form, self.grpc_status, self.response),
            Operator::Attempted(what) => self.attempted(*what, out),
            Operator::FilterState { .. } => self.notes.write(operator, out),
            Operator::TraceId => match self.span {
                Some(span) => write!(out, "{}", span.trace).is_ok(),
                None => false,
            },
            Operator::SpanId => match self.span {
                Some(span) => write!(out, "{:016x}", span.span).is_ok(),
                None => false,
            },
            _ => self.common.write(operator, out),
        }
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        let told = match kind {
            MetadataKind::Dynamic => return FormatValues::metadata(self.notes, kind, namespace, read),
            MetadataKind::Route => self.route.metadata,
            MetadataKind::VirtualHost => self.route.host_metadata,
            _ => return self.common.metadata(kind, namespace, read),
        };
        if let Some(told) = told {
            told.read(namespace, read);
        }
    }
}

impl FormatValues for ConnectionValues<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let common = &self.common;
        match operator {
            Operator::ResponseCode => number(out, 0),
            Operator::ResponseCodeDetails { .. } => false,
            Operator::ResponseFlags if !common.flags.is_empty() => {
                listed(out, in_turn(common.flags).map(Flag::short))
            }
            Operator::ResponseFlagsLong => listed(out, in_turn(common.flags).map(Flag::long)),
            Operator::ConnectionTerminationDetails => text(out, Some(self.termination)),
            Operator::LocalCloseReason(side) => {
                let connected = common.upstream.is_some_and(|upstream| upstream.is_connected);
                text(out, close_reason(*side, common.flags, connected, common.details))
            }
            // Every byte of a connection passes as it is.
            Operator::WireBytes(side, way, Wire::All) => {
                let connected = common.upstream.is_some_and(|upstream| upstream.is_connected);
                let bytes = match (side, way) {
                    (Side::Upstream, _) if !connected => 0,
                    (Side::Downstream, Way::Sent) | (Side::Upstream, Way::Received) => common.sent,
                    (Side::Downstream, Way::Received) | (Side::Upstream, Way::Sent) => common.received,
                };
                number(out, bytes)
            }
            Operator::CloseType(Side::Downstream) if self.reset => text(out, Some("RemoteReset")),
            Operator::StreamId => write_uuid(out, common.random, common.start),
            Operator::Attempted(what) => common
                .upstream
                .filter(|upstream| upstream.is_connected)
                .is_some_and(|upstream| match what {
                    Attempted::Addresses { port } => host(out, upstream.remote, *port),
                    Attempted::Names { port } => named(out, upstream.hostname, upstream.remote, *port),
                    Attempted::Connections => upstream.connection_id.is_some_and(|id| number(out, id)),
                }),
            Operator::Span { from, to, unit } => {
                let point = |point: Point| match point {
                    Point::ConnectionBegins => Some(0),
                    Point::ConnectionEnds => Some(nanoseconds(common.duration)),
                    _ => None,
                };
                span(out, point(*from), point(*to), *unit)
            }
            _ => common.write(operator, out),
        }
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        self.common.metadata(kind, namespace, read);
    }
}

/// What is known of a connection before there is anything to count.
impl FormatValues for DownstreamRecord {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::StartTime(_)
            | Operator::EmitTime(_)
            | Operator::Duration
            | Operator::BytesReceived
            | Operator::BytesSent
            | Operator::ResponseFlags => false,
            _ => Common::of(self).write(operator, out),
        }
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        Common::of(self).metadata(kind, namespace, read);
    }
}

impl<'a> Common<'a> {
    fn of(downstream: &'a DownstreamRecord) -> Self {
        Self {
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            flags: Flags::default(),
            details: "",
            received: 0,
            sent: 0,
            wire: WireBytes::default(),
            attempts: 0,
            upstream: None,
            downstream,
            log_type: LogType::NotSet,
            random: 0,
        }
    }

    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let (downstream, upstream) = (self.downstream, self.upstream.as_ref());
        match operator {
            Operator::StartTime(clock) => start_time::by_clock(self.start, clock, out),
            Operator::EmitTime(clock) => start_time::by_clock(self.start + self.duration, clock, out),
            Operator::Duration => millis(out, Some(self.duration)),
            Operator::HelloFingerprint(hash) => {
                let made = downstream.fingerprints.as_deref();
                text(
                    out,
                    made.and_then(|made| match hash {
                        HelloHash::Ja3 => made.ja3.as_deref(),
                        HelloHash::Ja4 => made.ja4.as_deref(),
                    }),
                )
            }
            Operator::FilterState { .. } => {
                let notes = downstream.notes.as_deref();
                notes.is_some_and(|notes| notes.write(operator, out))
            }
            Operator::ResponseFlags => flags(out, self.flags),
            Operator::ResponseFlagsLong => listed(out, self.flags.iter().map(Flag::long)),
            Operator::ResponseFlagBits => number(out, self.flags.bits()),
            Operator::ResponseCodeDetails { spaces } => {
                let failure = upstream.and_then(|upstream| upstream.transport_failure);
                let details = details(self.details, failure);
                let start = out.len();
                let found = text(out, Some(&details));
                if !spaces {
                    underscored(out, start);
                }
                found
            }
            Operator::BytesReceived => number(out, self.received),
            Operator::BytesSent => number(out, self.sent),
            Operator::WireBytes(side, way, which) => {
                let wire = match side {
                    Side::Downstream => self.wire,
                    Side::Upstream => upstream.map(|upstream| upstream.wire).unwrap_or_default(),
                };
                let way = match way {
                    Way::Sent => wire.sent,
                    Way::Received => wire.received,
                };
                let bytes = match which {
                    Wire::All => way.all,
                    Wire::Heads => way.heads,
                    Wire::PlainHeads => way.plain_heads,
                };
                number(out, bytes)
            }
            Operator::AccessLogType => text(out, Some(self.log_type.name())),
            Operator::UpstreamRequestAttemptCount => number(out, u64::from(self.attempts)),
            Operator::Address(whose, form) => self.address(*whose, *form, out),
            Operator::UpstreamHostName { port } => {
                upstream.is_some_and(|upstream| named(out, upstream.hostname, upstream.remote, *port))
            }
            Operator::UpstreamCluster { raw: false } => text(out, upstream.map(|u| u.cluster)),
            Operator::UpstreamCluster { raw: true } => text(out, upstream.map(|u| u.name)),
            Operator::UpstreamProtocol => text(out, upstream.and_then(|u| u.version).map(Version::as_str)),
            Operator::UpstreamConnectionId => {
                number(out, upstream.and_then(|u| u.connection_id).unwrap_or(0))
            }
            Operator::UpstreamServerName => text(out, upstream.and_then(|u| u.server_name)),
            Operator::CloseType(Side::Upstream) => text(out, upstream.map(|_| "Normal")),
            Operator::CloseType(Side::Downstream) => text(out, Some("Normal")),
            Operator::TransportFailureReason(side) => {
                let reason = match side {
                    Side::Upstream => upstream.and_then(|u| u.transport_failure),
                    Side::Downstream => downstream.transport_failure.as_deref(),
                };
                let start = out.len();
                let found = text(out, reason);
                underscored(out, start);
                found
            }
            Operator::Tls(Side::Upstream, fact) => match (upstream.and_then(|u| u.tls), fact) {
                (Some(tls), fact) => tls.write(fact, out),
                (None, TlsFact::Sans(End::Peer, SanKind::Uri)) => {
                    text(out, upstream.and_then(|u| u.peer_principal).map(|p| &**p))
                }
                _ => false,
            },
            Operator::Tls(Side::Downstream, fact) => match (&downstream.tls, fact) {
                (_, TlsFact::Version) => text(out, downstream.tls_version),
                (Some(tls), fact) => tls.write(fact, out),
                (None, TlsFact::Sans(End::Peer, SanKind::Uri)) => {
                    text(out, downstream.peer_principal.as_deref())
                }
                (None, TlsFact::Sans(End::Local, SanKind::Uri)) => {
                    text(out, downstream.local_principal.as_deref())
                }
                _ => false,
            },
            Operator::RequestedServerName { .. } => text(out, downstream.sni.as_deref()),
            Operator::FilterChainName => {
                text(out, downstream.chain.as_ref().map(|chain| chain.name.as_str()))
            }
            Operator::ConnectionId => number(out, downstream.connection_id),
            Operator::UniqueId => unique_id(out, self.random, self.start + self.duration),
            _ => false,
        }
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        let told = match kind {
            MetadataKind::Cluster => self.upstream.and_then(|u| u.cluster_metadata),
            MetadataKind::Listener => self.downstream.listener_metadata.as_deref(),
            MetadataKind::FilterChain => self
                .downstream
                .chain
                .as_ref()
                .and_then(|chain| chain.told.as_ref()),
            MetadataKind::UpstreamHost => self.upstream.and_then(|u| u.metadata),
            MetadataKind::Dynamic => {
                if let Some(notes) = self.downstream.notes.as_deref() {
                    FormatValues::metadata(notes, kind, namespace, read);
                }
                None
            }
            MetadataKind::Route | MetadataKind::VirtualHost => None,
        };
        if let Some(told) = told {
            told.read(namespace, read);
        }
    }

    fn address(&self, whose: Whose, form: AddressForm, out: &mut Vec<u8>) -> bool {
        let downstream = self.downstream;
        let address = match whose {
            Whose::UpstreamHost | Whose::UpstreamRemote => {
                // Without a connection there is nobody at its other end.
                let is_there = |u: &UpstreamRecord<'_>| whose == Whose::UpstreamHost || u.is_connected;
                let remote = self.upstream.filter(is_there).and_then(|u| u.remote);
                return remote.is_some_and(|remote| of_address(out, remote, form));
            }
            Whose::UpstreamLocal => self.upstream.and_then(|u| u.local),
            // Unless it is told elsewhere who the client is.
            _ if downstream.named.is_some() => {
                let named = downstream.named.as_ref();
                return named.is_some_and(|named| named_address(out, whose, form, named));
            }
            Whose::DownstreamRemote => Some(downstream.remote),
            Whose::DownstreamDirectRemote => Some(downstream.direct_remote),
            Whose::DownstreamLocal => Some(downstream.local),
            Whose::DownstreamDirectLocal => Some(downstream.direct_local),
        };
        address.is_some_and(|address| of_socket(out, address, form))
    }
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
