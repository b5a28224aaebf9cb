//! Access loggers, and format strings with `%…%` command operators (Envoy's "access log command operators").
//!
//! Header edits of routes use the same formats. What a message says ([`Heads`]) is evaluated here; everything else
//! comes through [`FormatValues`], from whoever knows the request.

mod collected;
mod config;
mod custom_tag;

use std::path::PathBuf;

pub use self::collected::{Entries, LogRecords};
pub(crate) use self::config::{access_logs, format, format_of};
pub(crate) use self::custom_tag::custom_tag;
pub use self::custom_tag::{CustomTag, TagValue};
use super::log_filter::LogFilter;
use crate::message::{RequestHead, ResponseHead};

#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub to: Destination,
    /// None: everything.
    pub filter: Option<LogFilter>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    Lines { sink: Sink, format: LogFormat },
    Entries(Entries),
    LogRecords(LogRecords),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    File(PathBuf),
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    Text {
        format: Format,
        /// What there is not is left out, in place of `-`.
        omit_empty: bool,
    },
    Json {
        value: Json,
        /// Keys without a value are left out, in place of `null`.
        omit_empty: bool,
    },
}

/// A JSON value whose strings are formats.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Format(Format),
    /// A number, boolean or null, as it is written.
    Fixed(String),
    List(Vec<Json>),
    /// Keys in order.
    Object(Vec<(String, Json)>),
}

impl Destination {
    /// Every format string in it.
    pub fn formats(&self) -> Vec<&Format> {
        let mut found = Vec::new();
        let tags = match self {
            Self::Lines { format, .. } => return format.formats(),
            Self::Entries(entries) => &entries.custom_tags,
            Self::LogRecords(records) => {
                let values = records.attributes.iter().map(|(_, value)| value);
                values
                    .chain(&records.body)
                    .for_each(|value| value.collect(&mut found));
                &records.custom_tags
            }
        };
        found.extend(tags.iter().filter_map(|tag| match &tag.value {
            TagValue::Format(format) => Some(format),
            _ => None,
        }));
        found
    }
}

impl Destination {
    pub(crate) fn wants_trailers(&self) -> bool {
        match self {
            Self::Entries(entries) => !entries.response_trailers.is_empty(),
            Self::Lines { .. } | Self::LogRecords(_) => false,
        }
    }
}

impl LogFormat {
    /// Every format string in it.
    pub fn formats(&self) -> Vec<&Format> {
        let mut found = Vec::new();
        match self {
            Self::Text { format, .. } => found.push(format),
            Self::Json { value, .. } => value.collect(&mut found),
        }
        found
    }
}

impl Json {
    fn collect<'f>(&'f self, found: &mut Vec<&'f Format>) {
        match self {
            Self::Format(format) => found.push(format),
            Self::Fixed(_) => {}
            Self::List(items) => items.iter().for_each(|item| item.collect(found)),
            Self::Object(keys) => keys.iter().for_each(|(_, value)| value.collect(found)),
        }
    }
}

/// A parsed format string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Literal(String),
    Operator { operator: Operator, max: Option<usize> },
}

/// The command operators that leno has, by Envoy's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    StartTime(Option<String>),
    Req {
        name: String,
        alternative: Option<String>,
    },
    Resp {
        name: String,
        alternative: Option<String>,
    },
    Method,
    Path {
        query: bool,
        of: PathOf,
    },
    Authority,
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ResponseFlagsLong,
    GrpcStatus(GrpcForm),
    AccessLogType,
    StreamId,
    UpstreamRemotePort,
    DownstreamRemotePort,
    DownstreamDirectRemotePort,
    ConnectionTerminationDetails,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    ResponseDuration,
    UpstreamServiceTime,
    UpstreamHost,
    /// Its DNS name, or else its address; without the port where that is asked for.
    UpstreamHostName {
        port: bool,
    },
    UpstreamCluster,
    UpstreamLocalAddress,
    UpstreamPeerUriSan,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamDirectRemoteAddress,
    DownstreamDirectRemoteAddressWithoutPort,
    DownstreamPeerUriSan,
    DownstreamLocalUriSan,
    DownstreamTlsVersion,
    RequestedServerName,
    RouteName,
    VirtualClusterName,
    UpstreamRequestAttemptCount,
    /// Of an answer of the proxy's own, before it is formatted.
    LocalReplyBody,
    ConnectionId,
    /// What filters have noted: all of a namespace, or what stands at a path of it.
    DynamicMetadata {
        namespace: String,
        path: Vec<String>,
    },
    FilterState {
        key: String,
        /// As a text, and not as JSON.
        plain: bool,
    },
    TraceId,
    SpanId,
    Environment {
        name: String,
        /// What it was when the configuration was read; None: it was not set.
        value: Option<String>,
    },
}

/// Which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathOf {
    /// Before rewrites; none where there was no rewrite.
    Original,
    /// As it is sent.
    Sent,
    /// Before rewrites, if there were any.
    Either,
}

/// How `grpc-status` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcForm {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    Number,
}

/// The messages a format may speak of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heads<'a> {
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a ResponseHead>,
}

/// What a format needs besides the messages: the connection, the upstream, times and sizes.
///
/// Never asked for `Req`, `Resp`, `Method`, `Path`, `Authority` and `Protocol`: those are read from
/// [`Heads`]. `ResponseCode` falls back to the response head's status where this has none.
pub trait FormatValues {
    /// Appends the operator's value; false if it has none (which a log prints as `-`).
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool;

    /// The same as JSON writes it, for what may be more than a text or a number. None: it is not.
    fn write_json(&self, _operator: &Operator, _out: &mut Vec<u8>) -> Option<bool> {
        None
    }
}

/// Knows nothing: for formats of which only literals and message fields count.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoValues;

impl FormatValues for NoValues {
    fn write(&self, _operator: &Operator, _out: &mut Vec<u8>) -> bool {
        false
    }
}

// === impl Format ===

impl Format {
    /// Parses Envoy's format syntax: `%NAME%`, `%NAME(argument)%`, `%NAME(argument):LENGTH%`, `%%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            let (piece, after) = operator(rest)?;
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// Looks the variables of `%ENVIRONMENT(…)%` up.
    pub(crate) fn set_environment(&mut self, look_up: impl Fn(&str) -> Option<String>) {
        for piece in &mut self.0 {
            if let Piece::Operator {
                operator: Operator::Environment { name, value },
                ..
            } = piece
            {
                *value = look_up(name);
            }
        }
    }

    /// The text itself, when there is no operator in it.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the evaluated text; what is not known is `-`, as in access logs.
    pub fn write(&self, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) {
        self.write_or(heads, values, out, b"-");
    }

    /// Appends the evaluated text; what is not known is left out, as in header edits.
    pub fn write_omitting(&self, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) {
        self.write_or(heads, values, out, b"");
    }

    fn write_or(&self, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>, missing: &[u8]) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Operator { operator, max } => {
                    let start = out.len();
                    if !operator.write(heads, values, out) {
                        out.truncate(start);
                        out.extend_from_slice(missing);
                    }
                    if let Some(max) = max {
                        out.truncate(start.saturating_add(*max));
                    }
                }
            }
        }
    }
}

// === impl Operator ===

impl Operator {
    /// Appends the value; false if there is none.
    pub fn write(&self, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) -> bool {
        let found = match self {
            Self::Req { name, alternative } => heads.request.and_then(|head| {
                request_field(head, name)
                    .or_else(|| alternative.as_ref().and_then(|name| request_field(head, name)))
            }),
            Self::Resp { name, alternative } => heads.response.and_then(|head| {
                let get = |name: &str| head.headers.get(name);
                get(name).or_else(|| alternative.as_ref().and_then(|name| get(name)))
            }),
            Self::Environment { value, .. } => value.as_ref().map(String::as_bytes),
            Self::Method => heads.request.map(|head| head.method.as_ref()),
            Self::Path { query, of } => heads.request.and_then(|head| path(head, *query, *of)),
            Self::Authority => heads.request.map(|head| head.authority.as_ref()),
            Self::Protocol => heads.request.map(|head| head.version.as_str().as_bytes()),
            Self::ResponseCode => {
                let start = out.len();
                if values.write(self, out) {
                    return true;
                }
                out.truncate(start);
                return match heads.response {
                    Some(head) => {
                        out.extend_from_slice(head.status.to_string().as_bytes());
                        true
                    }
                    None => false,
                };
            }
            _ => return values.write(self, out),
        };
        match found {
            Some(value) => {
                out.extend_from_slice(value);
                true
            }
            None => false,
        }
    }
}

fn path(head: &RequestHead, query: bool, of: PathOf) -> Option<&[u8]> {
    let original = || head.headers.get("x-envoy-original-path");
    let path = match of {
        PathOf::Original => original()?,
        PathOf::Sent => &head.path,
        PathOf::Either => original().unwrap_or(&head.path),
    };
    let end = path.iter().position(|b| *b == b'?').filter(|_| !query);
    path.get(..end.unwrap_or(path.len()))
}

fn request_field<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    head.field(name).filter(|value| !value.is_empty())
}

/// Parses what follows an opening `%`; returns the rest after the closing one.
fn operator(text: &str) -> Result<(Piece, &str), String> {
    let bad = || format!("unterminated command operator: %{text}");
    let name_end = text.find(['(', ':', '%']).ok_or_else(bad)?;
    let name = &text[..name_end];
    let mut rest = &text[name_end..];
    let mut argument = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let close = closing(inner).ok_or_else(bad)?;
        argument = Some(&inner[..close]);
        rest = &inner[close + 1..];
    }
    let mut max = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find('%').ok_or_else(bad)?;
        max = Some(
            after[..end]
                .parse()
                .map_err(|_| format!("length of %{name}%: {}", &after[..end]))?,
        );
        rest = &after[end..];
    }
    let rest = rest.strip_prefix('%').ok_or_else(bad)?;
    let operator = named(name, argument)?;
    Ok((Piece::Operator { operator, max }, rest))
}

/// The `)` that ends an argument: the one before `%` or `:`, since time formats may hold others.
fn closing(inner: &str) -> Option<usize> {
    inner.char_indices().map(|(at, _)| at).find(|at| {
        let here = &inner[*at..];
        here.starts_with(")%") || here.starts_with("):")
    })
}

fn named(name: &str, argument: Option<&str>) -> Result<Operator, String> {
    use Operator as O;
    let plain = match name {
        "METHOD" => Some(O::Method),
        "PROTOCOL" => Some(O::Protocol),
        "RESPONSE_CODE" => Some(O::ResponseCode),
        "RESPONSE_CODE_DETAILS" => Some(O::ResponseCodeDetails),
        "RESPONSE_FLAGS" => Some(O::ResponseFlags),
        "RESPONSE_FLAGS_LONG" => Some(O::ResponseFlagsLong),
        "GRPC_STATUS_NUMBER" => Some(O::GrpcStatus(GrpcForm::Number)),
        "ACCESS_LOG_TYPE" => Some(O::AccessLogType),
        "STREAM_ID" => Some(O::StreamId),
        "UPSTREAM_REMOTE_PORT" => Some(O::UpstreamRemotePort),
        "DOWNSTREAM_REMOTE_PORT" => Some(O::DownstreamRemotePort),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Some(O::DownstreamDirectRemotePort),
        "CONNECTION_TERMINATION_DETAILS" => Some(O::ConnectionTerminationDetails),
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Some(O::UpstreamTransportFailureReason),
        "BYTES_RECEIVED" => Some(O::BytesReceived),
        "BYTES_SENT" => Some(O::BytesSent),
        "DURATION" => Some(O::Duration),
        "REQUEST_DURATION" => Some(O::RequestDuration),
        "RESPONSE_DURATION" => Some(O::ResponseDuration),
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Some(O::UpstreamHost),
        "UPSTREAM_HOST_NAME" => Some(O::UpstreamHostName { port: true }),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT" => Some(O::UpstreamHostName { port: false }),
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Some(O::UpstreamCluster),
        "UPSTREAM_LOCAL_ADDRESS" => Some(O::UpstreamLocalAddress),
        "UPSTREAM_PEER_URI_SAN" => Some(O::UpstreamPeerUriSan),
        "DOWNSTREAM_LOCAL_ADDRESS" => Some(O::DownstreamLocalAddress),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Some(O::DownstreamLocalAddressWithoutPort),
        "DOWNSTREAM_LOCAL_PORT" => Some(O::DownstreamLocalPort),
        "DOWNSTREAM_REMOTE_ADDRESS" => Some(O::DownstreamRemoteAddress),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Some(O::DownstreamRemoteAddressWithoutPort),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Some(O::DownstreamDirectRemoteAddress),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Some(O::DownstreamDirectRemoteAddressWithoutPort),
        "DOWNSTREAM_PEER_URI_SAN" => Some(O::DownstreamPeerUriSan),
        "DOWNSTREAM_LOCAL_URI_SAN" => Some(O::DownstreamLocalUriSan),
        "DOWNSTREAM_TLS_VERSION" => Some(O::DownstreamTlsVersion),
        "REQUESTED_SERVER_NAME" => Some(O::RequestedServerName),
        "ROUTE_NAME" => Some(O::RouteName),
        "VIRTUAL_CLUSTER_NAME" => Some(O::VirtualClusterName),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Some(O::UpstreamRequestAttemptCount),
        "LOCAL_REPLY_BODY" => Some(O::LocalReplyBody),
        "CONNECTION_ID" => Some(O::ConnectionId),
        "TRACE_ID" => Some(O::TraceId),
        "SPAN_ID" => Some(O::SpanId),
        _ => None,
    };
    if let Some(plain) = plain {
        return match argument {
            None => Ok(plain),
            Some(_) => Err(format!("%{name}% takes no argument")),
        };
    }
    with_argument(name, argument)
}

fn with_argument(name: &str, argument: Option<&str>) -> Result<Operator, String> {
    use Operator as O;
    let wanted = || argument.ok_or_else(|| format!("%{name}(…)% needs an argument"));
    Ok(match name {
        "GRPC_STATUS" => O::GrpcStatus(match argument {
            None | Some("CAMEL_STRING") => GrpcForm::Camel,
            Some("SNAKE_STRING") => GrpcForm::Snake,
            Some("NUMBER") => GrpcForm::Number,
            Some(other) => {
                return Err(format!(
                    "%GRPC_STATUS({other})%: CAMEL_STRING, SNAKE_STRING or NUMBER"
                ));
            }
        }),
        "PATH" => {
            let (query, of) = argument
                .unwrap_or_default()
                .split_once(':')
                .unwrap_or((argument.unwrap_or_default(), ""));
            O::Path {
                query: match query {
                    "" | "WQ" => true,
                    "NQ" => false,
                    other => return Err(format!("%PATH({other}…)%: WQ or NQ")),
                },
                of: match of {
                    "" | "ORIG_OR_PATH" => PathOf::Either,
                    "ORIG" => PathOf::Original,
                    "PATH" => PathOf::Sent,
                    other => return Err(format!("%PATH(…:{other})%: ORIG, PATH or ORIG_OR_PATH")),
                },
            }
        }
        "ENVIRONMENT" => O::Environment {
            name: wanted()?.to_owned(),
            value: None,
        },
        "DYNAMIC_METADATA" => {
            let mut names = wanted()?.split(':').map(str::to_owned);
            O::DynamicMetadata {
                namespace: names.next().unwrap_or_default(),
                path: names.collect(),
            }
        }
        "FILTER_STATE" => {
            let (key, form) = match wanted()?.split_once(':') {
                Some((key, form)) => (key, form),
                None => (wanted()?, "TYPED"),
            };
            O::FilterState {
                key: key.to_owned(),
                plain: match form {
                    "PLAIN" => true,
                    "TYPED" => false,
                    other => return Err(format!("%FILTER_STATE(…:{other})%: PLAIN or TYPED")),
                },
            }
        }
        "START_TIME" => O::StartTime(argument.map(str::to_owned)),
        "REQ" => {
            let (name, alternative) = header_names(wanted()?)?;
            match (name.as_str(), &alternative) {
                (":method", None) => O::Method,
                (":authority", None) => O::Authority,
                (":path", None) => O::Path {
                    query: true,
                    of: PathOf::Sent,
                },
                _ => O::Req { name, alternative },
            }
        }
        "RESP" => match header_names(wanted()?)? {
            (name, None) if name == "x-envoy-upstream-service-time" => O::UpstreamServiceTime,
            (name, alternative) => O::Resp { name, alternative },
        },
        _ => return Err(format!("unknown command operator %{name}%")),
    })
}

/// `NAME?ALTERNATIVE`
fn header_names(argument: &str) -> Result<(String, Option<String>), String> {
    let (name, alternative) = match argument.split_once('?') {
        Some((name, alternative)) => (name, Some(alternative.to_ascii_lowercase())),
        None => (argument, None),
    };
    if name.is_empty() || alternative.as_ref().is_some_and(|name| name.contains('?')) {
        return Err(format!("header names expected, got {argument:?}"));
    }
    Ok((name.to_ascii_lowercase(), alternative))
}
