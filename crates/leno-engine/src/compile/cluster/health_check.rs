//! `health_checks`: how endpoints are asked whether they are well.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::compile::Rejection;
use crate::compile::at::{At, refuse, silent};
use crate::compile::header::{self, HeaderOps};
use crate::compile::matcher::{self, StringMatcher};
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::{core, event_sink, protobuf, types};

#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub timeout: Duration,
    /// After so many failures in a row an endpoint is out, after so many successes it is back.
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
    pub intervals: Intervals,
    pub reuse_connection: bool,
    pub probe: Probe,
    pub events: Option<EventLog>,
    /// What is offered by ALPN in place of what the cluster says, with commas between the names.
    pub alpn: Option<String>,
    /// In place of the endpoint's own metadata, for the choice of a transport socket.
    pub transport_match: Option<Fields>,
}

/// How long it is from one check to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub healthy: Duration,
    /// A healthy endpoint has failed, and not often enough.
    pub unhealthy_edge: Duration,
    pub unhealthy: Duration,
    /// An unhealthy endpoint has passed, and not often enough.
    pub healthy_edge: Duration,
    /// While the cluster has never had a connection.
    pub no_traffic: Duration,
    pub no_traffic_healthy: Duration,
    /// Before the first check: up to so long.
    pub initial_jitter: Duration,
    /// Up to so much longer.
    pub jitter: Duration,
    pub jitter_percent: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    Http(HttpProbe),
    Tcp(TcpProbe),
    Grpc(GrpcProbe),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    pub http2: bool,
    pub method: &'static str,
    /// Empty: the cluster's name. An endpoint's own goes before it.
    pub host: String,
    pub path: String,
    pub headers: HeaderOps,
    pub send: Bytes,
    /// In the answer's body, in this order.
    pub receive: Vec<Bytes>,
    /// So much of the body is looked at; None: all of it.
    pub body_limit: Option<usize>,
    pub expected: Vec<Range<u16>>,
    /// Of these it takes as many as the threshold says until the endpoint is out.
    pub retriable: Vec<Range<u16>>,
    /// Of `x-envoy-upstream-healthchecked-cluster`.
    pub service_name: Option<StringMatcher>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProbe {
    pub send: Bytes,
    /// Empty: a connection is enough.
    pub receive: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GrpcProbe {
    pub service: String,
    pub authority: String,
    pub metadata: HeaderOps,
}

/// A file of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog {
    pub path: PathBuf,
    /// Besides changes, every failure, or every success.
    pub failures: bool,
    pub successes: bool,
}

type Payload = core::health_check::Payload;

/// Of a list of which there is one at most.
pub(super) fn only(at: &At<'_>, messages: &[core::HealthCheck]) -> Result<Option<HealthCheck>, Rejection> {
    match messages {
        [] => Ok(None),
        [one] => health_check(&at.item("health_checks", 0), one).map(Some),
        _ => Err(at
            .field("health_checks")
            .reject("there may be one: endpoints have one health")),
    }
}

fn health_check(at: &At<'_>, message: &core::HealthCheck) -> Result<HealthCheck, Rejection> {
    use core::health_check::HealthChecker;
    let core::HealthCheck {
        timeout,
        interval,
        initial_jitter,
        interval_jitter,
        interval_jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        alt_port,
        reuse_connection,
        no_traffic_interval,
        no_traffic_healthy_interval,
        unhealthy_interval,
        unhealthy_edge_interval,
        healthy_edge_interval,
        event_log_path,
        event_logger,
        event_service,
        always_log_health_check_failures,
        always_log_health_check_success,
        tls_options,
        transport_socket_match_criteria,
        health_checker,
    } = message;
    refuse!(at; alt_port, event_service);
    let healthy = required(at, "interval", interval)?;
    let unhealthy = at.positive("unhealthy_interval", unhealthy_interval, healthy)?;
    let minute = Duration::from_secs(60);
    let no_traffic = at.positive("no_traffic_interval", no_traffic_interval, minute)?;
    let or_none = |field, value| Ok(at.duration(field, value)?.unwrap_or_default());
    let intervals = Intervals {
        healthy,
        unhealthy_edge: at.positive("unhealthy_edge_interval", unhealthy_edge_interval, unhealthy)?,
        unhealthy,
        healthy_edge: at.positive("healthy_edge_interval", healthy_edge_interval, healthy)?,
        no_traffic,
        no_traffic_healthy: at.positive(
            "no_traffic_healthy_interval",
            no_traffic_healthy_interval,
            no_traffic,
        )?,
        initial_jitter: or_none("initial_jitter", initial_jitter)?,
        jitter: or_none("interval_jitter", interval_jitter)?,
        jitter_percent: *interval_jitter_percent,
    };
    let path = event_path(at, event_log_path, event_logger)?;
    let threshold = |field, value: &Option<protobuf::UInt32Value>| {
        at.required(field, value).map(|threshold| threshold.value)
    };
    Ok(HealthCheck {
        timeout: required(at, "timeout", timeout)?,
        unhealthy_threshold: threshold("unhealthy_threshold", unhealthy_threshold)?,
        healthy_threshold: threshold("healthy_threshold", healthy_threshold)?,
        intervals,
        reuse_connection: reuse_connection.is_none_or(|reuse| reuse.value),
        probe: match at.required("health_checker", health_checker)? {
            HealthChecker::HttpHealthCheck(http) => {
                Probe::Http(http_probe(&at.field("http_health_check"), http)?)
            }
            HealthChecker::TcpHealthCheck(tcp) => Probe::Tcp(tcp_probe(&at.field("tcp_health_check"), tcp)?),
            HealthChecker::GrpcHealthCheck(grpc) => {
                Probe::Grpc(grpc_probe(&at.field("grpc_health_check"), grpc)?)
            }
            HealthChecker::CustomHealthCheck(_) => {
                return Err(at.field("custom_health_check").reject("not supported"));
            }
        },
        events: path.map(|path| EventLog {
            path,
            failures: *always_log_health_check_failures,
            successes: *always_log_health_check_success,
        }),
        alpn: match tls_options {
            None => None,
            Some(options) => {
                let core::health_check::TlsOptions { alpn_protocols } = options;
                (!alpn_protocols.is_empty()).then(|| alpn_protocols.join(","))
            }
        },
        transport_match: transport_socket_match_criteria.as_ref().map(metadata::fields),
    })
}

fn required(
    at: &At<'_>,
    field: &'static str,
    value: &Option<protobuf::Duration>,
) -> Result<Duration, Rejection> {
    at.required(field, value)?;
    at.positive(field, value, Duration::ZERO)
}

fn event_path(
    at: &At<'_>,
    older: &str,
    sinks: &[core::TypedExtensionConfig],
) -> Result<Option<PathBuf>, Rejection> {
    let older = (!older.is_empty()).then(|| PathBuf::from(older));
    let (sink, rest) = match sinks {
        [] => return Ok(older),
        [sink, rest @ ..] => (sink, rest),
    };
    if older.is_some() || !rest.is_empty() {
        return Err(at.field("event_logger").reject("only one file is supported"));
    }
    let at = at.item("event_logger", 0);
    let core::TypedExtensionConfig { name, typed_config } = sink;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    let event_sink::HealthCheckEventFileSink { event_log_path } = at.unpack(any)?;
    at.not_empty("event_log_path", &event_log_path)?;
    Ok(Some(event_log_path.into()))
}

fn http_probe(at: &At<'_>, message: &core::health_check::HttpHealthCheck) -> Result<HttpProbe, Rejection> {
    use types::CodecClientType as Codec;
    let core::health_check::HttpHealthCheck {
        host,
        path,
        send,
        receive,
        response_buffer_size,
        request_headers_to_add,
        request_headers_to_remove,
        expected_statuses,
        retriable_statuses,
        codec_client_type,
        service_name_matcher,
        method,
    } = message;
    at.not_empty("path", path)?;
    let method = self::method(at, *method)?;
    let send = match send {
        None => Bytes::new(),
        Some(_) if matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE") => {
            return Err(at.field("send").reject(format!("{method} has no body")));
        }
        Some(payload) => self::payload(&at.field("send"), payload)?,
    };
    let receive = at.each("receive", receive, payload)?;
    let body_limit = response_buffer_size.as_ref().map_or(1024, |size| size.value);
    let body_limit = usize::try_from(body_limit).unwrap_or(usize::MAX);
    let wanted: usize = receive.iter().map(Bytes::len).sum();
    if body_limit != 0 && wanted > body_limit {
        let reason = format!("{wanted} bytes, and response_buffer_size is {body_limit}");
        return Err(at.field("receive").reject(reason));
    }
    let expected = at.each("expected_statuses", expected_statuses, statuses)?;
    Ok(HttpProbe {
        http2: match at.choice("codec_client_type", *codec_client_type)? {
            Codec::Http1 => false,
            Codec::Http2 => true,
            Codec::Http3 => return Err(at.field("codec_client_type").reject("HTTP3 is not supported")),
        },
        method,
        host: host.clone(),
        path: path.clone(),
        headers: literal(
            at,
            &header::request(request_headers_to_add, request_headers_to_remove),
        )?,
        send,
        receive,
        body_limit: Some(body_limit).filter(|limit| *limit > 0),
        expected: match expected.is_empty() {
            true => std::iter::once(200..201).collect(),
            false => expected,
        },
        retriable: at.each("retriable_statuses", retriable_statuses, statuses)?,
        service_name: match service_name_matcher {
            None => None,
            Some(name) => Some(matcher::string(&at.field("service_name_matcher"), name)?),
        },
    })
}

fn method(at: &At<'_>, method: i32) -> Result<&'static str, Rejection> {
    use core::RequestMethod as Method;
    Ok(match at.choice("method", method)? {
        Method::MethodUnspecified | Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Connect => return Err(at.field("method").reject("CONNECT is not allowed")),
    })
}

/// Half open.
fn statuses(at: &At<'_>, message: &types::Int64Range) -> Result<Range<u16>, Rejection> {
    let types::Int64Range { start, end } = *message;
    match (u16::try_from(start), u16::try_from(end)) {
        (Ok(start), Ok(end)) if start < end && start >= 100 && end <= 600 => Ok(start..end),
        _ => Err(at.reject(format!("statuses from 100 to 599, not from {start} up to {end}"))),
    }
}

fn tcp_probe(at: &At<'_>, message: &core::health_check::TcpHealthCheck) -> Result<TcpProbe, Rejection> {
    let core::health_check::TcpHealthCheck {
        send,
        receive,
        proxy_protocol_config,
    } = message;
    refuse!(at; proxy_protocol_config);
    Ok(TcpProbe {
        send: match send {
            None => Bytes::new(),
            Some(payload) => self::payload(&at.field("send"), payload)?,
        },
        receive: at.each("receive", receive, payload)?,
    })
}

fn grpc_probe(at: &At<'_>, message: &core::health_check::GrpcHealthCheck) -> Result<GrpcProbe, Rejection> {
    let core::health_check::GrpcHealthCheck {
        service_name,
        authority,
        initial_metadata,
    } = message;
    Ok(GrpcProbe {
        service: service_name.clone(),
        authority: authority.clone(),
        metadata: literal(at, &header::added("initial_metadata", initial_metadata))?,
    })
}

/// Text is in hexadecimal digits.
fn payload(at: &At<'_>, message: &Payload) -> Result<Bytes, Rejection> {
    use core::health_check::payload::Payload;
    let core::health_check::Payload { payload } = message;
    match at.required("payload", payload)? {
        Payload::Binary(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        Payload::Text(text) => {
            let at = at.field("text");
            at.not_empty("", text)?;
            from_hex(text).ok_or_else(|| at.reject(format!("not in hexadecimal digits: {text:?}")))
        }
    }
}

fn from_hex(text: &str) -> Option<Bytes> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    match rest {
        [] => pairs
            .iter()
            .map(byte)
            .collect::<Option<Vec<u8>>>()
            .map(Bytes::from),
        _ => None,
    }
}

/// A check is nobody's request: there is nothing that an operator could tell.
fn literal(at: &At<'_>, fields: &header::Fields<'_>) -> Result<HeaderOps, Rejection> {
    let edits = header::edits(at, fields)?;
    for (i, op) in edits.add.iter().enumerate() {
        if op.value.literal().is_none() {
            let at = at.item(fields.add.0, i);
            let at = at.field("header");
            return Err(at
                .field("value")
                .reject("command operators are not supported here"));
        }
    }
    Ok(edits)
}
