//! Entries for Envoy's access log service: `envoy.data.accesslog.v3`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::{CustomTag, Entries, FormatValues, Heads};
use leno_engine::compile::listener::{Address, Pipe};
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::data::accesslog::v3 as pb;
use leno_proto::google::protobuf;

use super::values::{ConnectionValues, RequestValues, details};
use crate::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};

pub fn of_request(log: &Entries, record: &RequestRecord<'_>) -> pb::HttpAccessLogEntry {
    let heads = record.heads();
    let custom_tags = tags(&log.custom_tags, heads, &RequestValues::new(record));
    pb::HttpAccessLogEntry {
        common_properties: Some(pb::AccessLogCommon {
            time_to_last_rx_byte: record.request_duration.map(duration),
            time_to_first_upstream_rx_byte: record.response_duration.map(duration),
            route_name: record.route.name.to_owned(),
            upstream_request_attempt_count: record.attempts,
            stream_id: field(&record.request.headers, "x-request-id"),
            access_log_type: pb::AccessLogType::from(record.log_type).into(),
            custom_tags,
            downstream_wire_bytes_sent: record.wire.sent.all,
            downstream_wire_bytes_received: record.wire.received.all,
            upstream_wire_bytes_sent: record.upstream.map_or(0, |u| u.wire.sent.all),
            upstream_wire_bytes_received: record.upstream.map_or(0, |u| u.wire.received.all),
            ..common(
                record.start,
                record.duration,
                record.flags,
                record.downstream,
                record.upstream.as_ref(),
            )
        }),
        protocol_version: version(record.request.version).into(),
        request: Some(request(log, record)),
        response: Some(response(log, record)),
    }
}

pub fn of_connection(log: &Entries, record: &ConnectionRecord<'_>) -> pb::TcpAccessLogEntry {
    pb::TcpAccessLogEntry {
        common_properties: Some(pb::AccessLogCommon {
            connection_termination_details: record.termination.to_owned(),
            access_log_type: pb::AccessLogType::from(record.log_type).into(),
            upstream_request_attempt_count: record.upstream.is_some().into(),
            custom_tags: tags(&log.custom_tags, Heads::default(), &ConnectionValues::new(record)),
            ..common(
                record.start,
                record.duration,
                record.flags,
                record.downstream,
                record.upstream.as_ref(),
            )
        }),
        connection_properties: Some(pb::ConnectionProperties {
            received_bytes: record.bytes_received,
            sent_bytes: record.bytes_sent,
        }),
    }
}

fn common(
    start: SystemTime,
    whole: Duration,
    flags: Flags,
    downstream: &DownstreamRecord,
    upstream: Option<&UpstreamRecord<'_>>,
) -> pb::AccessLogCommon {
    let start = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    pb::AccessLogCommon {
        downstream_remote_address: Some(address(downstream.remote)),
        downstream_direct_remote_address: Some(address(downstream.direct_remote)),
        downstream_local_address: Some(address(downstream.local)),
        tls_properties: tls(downstream),
        start_time: Some(protobuf::Timestamp {
            seconds: i64::try_from(start.as_secs()).unwrap_or(i64::MAX),
            nanos: start.subsec_nanos().try_into().unwrap_or_default(),
        }),
        duration: Some(duration(whole)),
        time_to_last_downstream_tx_byte: Some(duration(whole)),
        upstream_remote_address: upstream.and_then(|u| u.remote).map(remote),
        upstream_local_address: upstream.and_then(|u| u.local).map(address),
        upstream_cluster: upstream.map(|u| u.cluster.to_owned()).unwrap_or_default(),
        upstream_transport_failure_reason: upstream
            .and_then(|u| u.transport_failure)
            .unwrap_or_default()
            .to_owned(),
        response_flags: (!flags.is_empty()).then(|| response_flags(flags)),
        ..Default::default()
    }
}

fn request(log: &Entries, record: &RequestRecord<'_>) -> pb::HttpRequestProperties {
    let head = record.request;
    let pseudo = [
        (&b":method"[..], &head.method),
        (b":authority", &head.authority),
        (b":path", &head.path),
        (b":scheme", &head.scheme),
    ];
    let of_pseudo: usize = pseudo.iter().map(|(name, value)| name.len() + value.len()).sum();
    let field = |name| field(&head.headers, name);
    pb::HttpRequestProperties {
        request_method: method(head).into(),
        scheme: text(&head.scheme),
        authority: text(&head.authority),
        path: text(&head.path),
        user_agent: field("user-agent"),
        referer: field("referer"),
        forwarded_for: field("x-forwarded-for"),
        request_id: field("x-request-id"),
        original_path: field("x-envoy-original-path"),
        request_headers_bytes: (of_pseudo + size(&head.headers)) as u64,
        request_body_bytes: record.bytes_received,
        downstream_header_bytes_received: record.wire.received.heads,
        upstream_header_bytes_sent: record.upstream.map_or(0, |u| u.wire.sent.heads),
        request_headers: named(&log.request_headers, |name| match name.starts_with(':') {
            true => head.field(name).map(text),
            false => joined(&head.headers, name),
        }),
        ..Default::default()
    }
}

fn response(log: &Entries, record: &RequestRecord<'_>) -> pb::HttpResponseProperties {
    let failure = record.upstream.as_ref().and_then(|u| u.transport_failure);
    pb::HttpResponseProperties {
        response_code: record.response.map(|head| protobuf::UInt32Value {
            value: u32::from(head.status),
        }),
        // The status is three digits.
        response_headers_bytes: record.response.map_or(0, |head: &ResponseHead| {
            (":status".len() + 3 + size(&head.headers)) as u64
        }),
        response_body_bytes: record.bytes_sent,
        downstream_header_bytes_sent: record.wire.sent.heads,
        upstream_header_bytes_received: record.upstream.map_or(0, |u| u.wire.received.heads),
        response_headers: named(&log.response_headers, |name| {
            joined(&record.response?.headers, name)
        }),
        response_trailers: named(&log.response_trailers, |name| joined(record.trailers?, name)),
        response_code_details: details(record.details, failure).into_owned(),
    }
}

/// Those of the names that have a value.
fn named(names: &[String], value: impl Fn(&str) -> Option<String>) -> HashMap<String, String> {
    let found = names.iter().filter_map(|name| Some((name.clone(), value(name)?)));
    found.collect()
}

fn tags(tags: &[CustomTag], heads: Heads<'_>, values: &dyn FormatValues) -> HashMap<String, String> {
    let mut found = HashMap::with_capacity(tags.len());
    for tag in tags {
        let mut value = Vec::new();
        if tag.write(heads, values, &mut value) {
            found.insert(tag.name.clone(), text(&value));
        }
    }
    found
}

fn size(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn field(headers: &Headers, name: &str) -> String {
    headers.get(name).map(text).unwrap_or_default()
}

/// All values of a header.
fn joined(headers: &Headers, name: &str) -> Option<String> {
    headers.contains(name).then(|| {
        let values: Vec<&[u8]> = headers.get_all(name).collect();
        text(values.join(&b","[..]))
    })
}

/// Headers may hold any byte, protobuf's strings may not.
fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().try_into().unwrap_or_default(),
    }
}

fn remote(remote: &Address) -> core::Address {
    use core::address::Address as Kind;
    let kind = match remote {
        Address::Socket(socket) => return address(*socket),
        Address::Pipe(Pipe { path, mode }) => Kind::Pipe(core::Pipe {
            path: path.to_string_lossy().into_owned(),
            mode: *mode,
        }),
        Address::Internal(internal) => Kind::EnvoyInternalAddress(core::EnvoyInternalAddress {
            endpoint_id: internal.id.clone(),
            address_name_specifier: Some(
                core::envoy_internal_address::AddressNameSpecifier::ServerListenerName(
                    internal.listener.clone(),
                ),
            ),
        }),
    };
    core::Address { address: Some(kind) }
}

fn address(address: SocketAddr) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..Default::default()
        })),
    }
}

fn tls(downstream: &DownstreamRecord) -> Option<pb::TlsProperties> {
    use pb::tls_properties::certificate_properties::{SubjectAltName, subject_alt_name::San};
    use pb::tls_properties::{CertificateProperties, TlsVersion};
    let version = match downstream.tls_version? {
        "TLSv1.3" => TlsVersion::TlSv13,
        "TLSv1.2" => TlsVersion::TlSv12,
        _ => TlsVersion::VersionUnspecified,
    };
    let certificate = |principal: &std::sync::Arc<str>| CertificateProperties {
        subject_alt_name: vec![SubjectAltName {
            san: Some(San::Uri(principal.to_string())),
        }],
        ..Default::default()
    };
    Some(pb::TlsProperties {
        tls_version: version.into(),
        tls_sni_hostname: downstream.sni.clone().unwrap_or_default(),
        local_certificate_properties: downstream.local_principal.as_ref().map(certificate),
        peer_certificate_properties: downstream.peer_principal.as_ref().map(certificate),
        ..Default::default()
    })
}

fn version(version: Version) -> pb::http_access_log_entry::HttpVersion {
    use pb::http_access_log_entry::HttpVersion as V;
    match version {
        Version::Http10 => V::Http10,
        Version::Http11 => V::Http11,
        Version::Http2 => V::Http2,
    }
}

fn method(head: &RequestHead) -> core::RequestMethod {
    std::str::from_utf8(&head.method)
        .ok()
        .and_then(core::RequestMethod::from_str_name)
        .unwrap_or_default()
}

fn response_flags(flags: Flags) -> pb::ResponseFlags {
    use pb::response_flags::{Unauthorized, unauthorized::Reason};
    let mut said = pb::ResponseFlags::default();
    for flag in flags.iter() {
        match flag {
            Flag::FailedLocalHealthCheck => said.failed_local_healthcheck = true,
            Flag::UpstreamRetryLimitExceeded => said.upstream_retry_limit_exceeded = true,
            Flag::NoHealthyUpstream => said.no_healthy_upstream = true,
            Flag::UpstreamConnectionFailure => said.upstream_connection_failure = true,
            Flag::UpstreamOverflow => said.upstream_overflow = true,
            Flag::NoRouteFound => said.no_route_found = true,
            Flag::NoClusterFound => said.no_cluster_found = true,
            Flag::DurationTimeout => said.duration_timeout = true,
            Flag::DownstreamConnectionTermination => said.downstream_connection_termination = true,
            Flag::UpstreamConnectionTermination => said.upstream_connection_termination = true,
            Flag::UpstreamRequestTimeout => said.upstream_request_timeout = true,
            Flag::UpstreamRemoteReset => said.upstream_remote_reset = true,
            Flag::LocalReset => said.local_reset = true,
            Flag::DelayInjected => said.delay_injected = true,
            Flag::FaultInjected => said.fault_injected = true,
            Flag::RateLimited => said.rate_limited = true,
            Flag::UnauthorizedExternalService => {
                said.unauthorized_details = Some(Unauthorized {
                    reason: Reason::ExternalService.into(),
                });
            }
            Flag::StreamIdleTimeout => said.stream_idle_timeout = true,
            Flag::DownstreamProtocolError => said.downstream_protocol_error = true,
            Flag::UpstreamProtocolError => said.upstream_protocol_error = true,
            Flag::UpstreamMaxStreamDurationReached => said.upstream_max_stream_duration_reached = true,
            Flag::OverloadManagerTerminated => said.overload_manager = true,
            Flag::DnsResolutionFailed => said.dns_resolution_failure = true,
            Flag::InvalidEnvoyRequestHeaders => said.invalid_envoy_request_headers = true,
            Flag::DownstreamRemoteReset => said.downstream_remote_reset = true,
            Flag::NoFilterConfigFound => said.no_filter_config_found = true,
            // The message has no field for them.
            Flag::DropOverload | Flag::UnconditionalDropOverload => {}
        }
    }
    said
}
