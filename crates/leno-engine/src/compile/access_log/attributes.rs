//! [Attributes](https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/advanced/attributes): what is known of
//! a request, by the names and with the types that expressions know it by.
//!
//! They are the operators of formats, with types: whoever can fill a format can be asked for attributes.

use std::borrow::Cow;

use leno_cel::{Environment, Table, Value};

use super::format::{FormatValues, Heads, request_size, response_size, size};
use super::operator::Clock;
use super::operator::{
    AddressForm, End, GrpcForm, Hash, HostOf, MetadataKind, Operator, Point, SanKind, ServerName, Side,
    StateForm, TlsFact, Unit, Whose,
};
use crate::message::{Headers, RequestHead, ResponseHead};

#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    heads: Heads<'a>,
    values: &'a dyn FormatValues,
}

const VARIABLES: &[&str] = &[
    "request",
    "response",
    "connection",
    "upstream",
    "source",
    "destination",
    "metadata",
    "filter_state",
    "xds",
];

static NO_HEADERS: NoHeaders = NoHeaders;

#[derive(Debug)]
struct NoHeaders;

// === impl Attributes ===

impl<'a> Attributes<'a> {
    pub fn new(heads: Heads<'a>, values: &'a dyn FormatValues) -> Self {
        Self { heads, values }
    }

    fn text(&self, operator: &Operator) -> Option<String> {
        let mut out = Vec::new();
        let found = self.values.write(operator, &mut out);
        found.then(|| String::from_utf8_lossy(&out).into_owned())
    }

    fn number<T: std::str::FromStr>(&self, operator: &Operator) -> Option<T> {
        self.text(operator)?.parse().ok()
    }

    fn duration(&self, from: Point, to: Point) -> Option<Value<'static>> {
        let unit = Unit::Nanoseconds;
        self.number(&Operator::Span { from, to, unit })
            .map(Value::Duration)
    }

    fn address(&self, whose: Whose, field: &str) -> Option<Value<'static>> {
        match field {
            "address" => self
                .text(&Operator::Address(whose, AddressForm::Whole))
                .map(Value::text),
            "port" => self
                .number(&Operator::Address(whose, AddressForm::Port))
                .map(Value::Int),
            _ => None,
        }
    }

    fn request(&self, field: &str) -> Option<Value<'a>> {
        let head = self.heads.request;
        let bytes = |bytes: Option<&'a [u8]>| bytes.map(|bytes| Value::lossy(Cow::Borrowed(bytes)));
        let header = |name: &str| bytes(head.and_then(|head| head.headers.get(name)));
        match field {
            "headers" => Some(Value::Table(match head {
                Some(head) => head,
                None => &NO_HEADERS,
            })),
            "headers_bytes" => whole(head.map_or(0, request_size)),
            "path" => bytes(head.map(|head| head.path.as_ref())),
            "url_path" => bytes(head.map(|head| head.path.split(|b| *b == b'?').next().unwrap_or_default())),
            "query" => {
                let query = head.map(|head| head.query().unwrap_or_default());
                bytes(query.map(|query| query.split(|b| *b == b'#').next().unwrap_or_default()))
            }
            "host" => bytes(head.map(|head| head.authority.as_ref())),
            "scheme" => bytes(head.map(|head| head.scheme.as_ref())),
            "method" => bytes(head.map(|head| head.method.as_ref())),
            "protocol" => head.map(|head| Value::text(head.version.as_str())),
            "referer" => header("referer"),
            "useragent" => header("user-agent"),
            "id" => header("x-request-id"),
            "time" => {
                let time: String = self.text(&Operator::StartTime(Clock {
                    format: Some("%s%9f".to_owned()),
                    zone: None,
                }))?;
                time.parse().ok().map(Value::Timestamp)
            }
            "duration" => self.duration(Point::RequestBegins, Point::RequestEnds),
            "size" => match head.and_then(|head| head.headers.get_str("content-length")) {
                Some(length) => length.parse().ok().map(Value::Int),
                None => self.number(&Operator::BytesReceived).map(Value::Int),
            },
            "total_size" => {
                let body: i64 = self.number(&Operator::BytesReceived).unwrap_or(0);
                whole(head.map_or(0, request_size)).and_then(|size| sum(size, body))
            }
            _ => None,
        }
    }

    fn response(&self, field: &str) -> Option<Value<'a>> {
        let (head, trailers) = (self.heads.response, self.heads.trailers);
        let table = |table: Option<&'a dyn Table>| Some(Value::Table(table.unwrap_or(&NO_HEADERS)));
        match field {
            "headers" => table(head.map(|head| head as &dyn Table)),
            "trailers" => table(trailers.map(|trailers| trailers as &dyn Table)),
            "headers_bytes" => whole(head.map_or(0, response_size)),
            "code" => {
                let said = self.number(&Operator::ResponseCode).filter(|code| *code != 0);
                said.or(head.map(|head| i64::from(head.status))).map(Value::Int)
            }
            "code_details" => {
                let details = self.text(&Operator::ResponseCodeDetails { spaces: true });
                details.map(Value::text)
            }
            "flags" => Some(Value::Int(self.number(&Operator::ResponseFlagBits).unwrap_or(0))),
            "grpc_status" => self
                .number(&Operator::GrpcStatus(GrpcForm::Number))
                .map(Value::Int),
            "size" => self.number(&Operator::BytesSent).map(Value::Int),
            "total_size" => {
                let body: i64 = self.number(&Operator::BytesSent).unwrap_or(0);
                let heads = head.map_or(0, response_size) + trailers.map_or(0, size);
                whole(heads).and_then(|size| sum(size, body))
            }
            "backend_latency" => self.duration(Point::SendingBegins, Point::AnswerEnds),
            _ => None,
        }
    }

    fn connection(&self, field: &str) -> Option<Value<'static>> {
        match field {
            "id" => self.number(&Operator::ConnectionId).map(Value::Uint),
            "mtls" => Some(Value::Bool(
                self.tls(Side::Downstream, "sha256_peer_certificate_digest")
                    .is_some(),
            )),
            "requested_server_name" => {
                let name = self.text(&Operator::RequestedServerName {
                    prefer: ServerName::SniOnly,
                    of: HostOf::Either,
                });
                Some(Value::text(name.unwrap_or_default()))
            }
            "termination_details" => self
                .text(&Operator::ConnectionTerminationDetails)
                .map(Value::text),
            "transport_failure_reason" => self
                .text(&Operator::TransportFailureReason(Side::Downstream))
                .map(Value::text),
            other => self.tls(Side::Downstream, other),
        }
    }

    fn upstream(&self, field: &str) -> Option<Value<'static>> {
        let (whole, host) = (AddressForm::Whole, self.address(Whose::UpstreamHost, field));
        match field {
            "address" | "port" => host,
            "local_address" => self
                .text(&Operator::Address(Whose::UpstreamLocal, whole))
                .map(Value::text),
            "transport_failure_reason" => {
                let reason = self.text(&Operator::TransportFailureReason(Side::Upstream));
                // Nothing has failed yet; without anybody nothing can.
                let host = || {
                    self.address(Whose::UpstreamHost, "address")
                        .map(|_| String::new())
                };
                reason.or_else(host).map(Value::text)
            }
            "request_attempt_count" => {
                let count = self.number(&Operator::UpstreamRequestAttemptCount);
                Some(Value::Uint(count.unwrap_or(0)))
            }
            "cx_pool_ready_duration" => self.duration(Point::TryBegins, Point::PoolReady),
            other => self.tls(Side::Upstream, other),
        }
    }

    /// Of several names it is the first.
    fn tls(&self, side: Side, field: &str) -> Option<Value<'static>> {
        let fact = match field {
            "tls_version" => TlsFact::Version,
            "subject_local_certificate" => TlsFact::Subject(End::Local),
            "subject_peer_certificate" => TlsFact::Subject(End::Peer),
            "uri_san_local_certificate" => TlsFact::Sans(End::Local, SanKind::Uri),
            "uri_san_peer_certificate" => TlsFact::Sans(End::Peer, SanKind::Uri),
            "dns_san_local_certificate" => TlsFact::Sans(End::Local, SanKind::Dns),
            "dns_san_peer_certificate" => TlsFact::Sans(End::Peer, SanKind::Dns),
            "sha256_peer_certificate_digest" => TlsFact::Fingerprint {
                hash: Hash::Sha256,
                chain: false,
            },
            "peer_certificate" => TlsFact::Certificate,
            _ => return None,
        };
        let names = matches!(fact, TlsFact::Sans(..));
        let text = self.text(&Operator::Tls(side, fact))?;
        Some(Value::text(match text.split_once(',') {
            Some((first, _)) if names => first.to_owned(),
            _ => text,
        }))
    }

    fn xds(&self, field: &str) -> Option<Value<'static>> {
        let operator = match field {
            "cluster_name" => Operator::UpstreamCluster { raw: true },
            "route_name" => {
                let named = self.text(&Operator::RouteName);
                let nameless = || self.text(&Operator::RouteFound).map(|_| String::new());
                return named.or_else(nameless).map(Value::text);
            }
            "virtual_host_name" => Operator::VirtualHostName,
            "filter_chain_name" => {
                return Some(Value::text(
                    self.text(&Operator::FilterChainName).unwrap_or_default(),
                ));
            }
            _ => return None,
        };
        self.text(&operator).map(Value::text)
    }
}

fn whole<'a>(size: usize) -> Option<Value<'a>> {
    i64::try_from(size).ok().map(Value::Int)
}

fn sum<'a>(value: Value<'a>, more: i64) -> Option<Value<'a>> {
    match value {
        Value::Int(size) => size.checked_add(more).map(Value::Int),
        _ => None,
    }
}

impl Environment for Attributes<'_> {
    fn field(&self, variable: &str, field: &str) -> Option<Value<'_>> {
        match variable {
            "request" => self.request(field),
            "response" => self.response(field),
            "connection" => self.connection(field),
            "upstream" => self.upstream(field),
            "source" => self.address(Whose::DownstreamRemote, field),
            "destination" => self.address(Whose::DownstreamLocal, field),
            "metadata" => (field == "filter_metadata").then_some(Value::Table(self)),
            "filter_state" => {
                let text = self.text(&Operator::FilterState {
                    key: field.to_owned(),
                    form: StateForm::Plain,
                });
                text.map(|text| Value::Bytes(text.into_bytes().into()))
            }
            "xds" => self.xds(field),
            _ => None,
        }
    }

    fn has(&self, variable: &str) -> bool {
        VARIABLES.contains(&variable)
    }
}

/// What filters have noted, by namespaces.
impl Table for Attributes<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let mut found = None;
        let mut read = |value: &crate::compile::metadata::Value| found = Some(value.expression());
        self.values.metadata(MetadataKind::Dynamic, name, &mut read);
        found
    }

    fn len(&self) -> usize {
        0
    }
}

impl std::fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attributes")
    }
}

impl Table for RequestHead {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.joined(&name.to_ascii_lowercase())
            .map(|value| Value::lossy(owned(value)))
    }

    fn len(&self) -> usize {
        self.headers.len()
    }
}

impl Table for ResponseHead {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            ":status" => Some(Value::text(self.status.to_string())),
            name => Table::get(&self.headers, name),
        }
    }

    fn len(&self) -> usize {
        self.headers.len()
    }
}

impl Table for Headers {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let found = self.joined(&name.to_ascii_lowercase());
        found.map(|value| Value::lossy(owned(value)))
    }

    fn len(&self) -> usize {
        Headers::len(self)
    }
}

impl Table for NoHeaders {
    fn get(&self, _name: &str) -> Option<Value<'_>> {
        None
    }

    fn len(&self) -> usize {
        0
    }
}

/// A name that was made for the look-up does not outlive it.
fn owned<'a>(value: Cow<'_, [u8]>) -> Cow<'a, [u8]> {
    Cow::Owned(value.into_owned())
}
