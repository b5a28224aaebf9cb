//! Format strings from their text.

mod sides;

use std::sync::Arc;

use leno_cel::{Options, Program};

use super::coalesce;
use super::format::{Format, Piece};
use super::operator::{
    AddressForm, Attempted, Clock, GrpcForm, HelloHash, HostOf, Message, MetadataKind, Operator, PathOf,
    Point, ServerName, Side, StateForm, TlsFact, Unit, Whose,
};
use super::zone::Zone;
use sides::{tls, wire};

/// What is known when a format is read, besides its text.
#[derive(Clone, Copy)]
pub struct Reading<'r> {
    pub environment: &'r dyn Fn(&str) -> Option<String>,
    pub hostname: Option<&'r str>,
    /// What a file says, or why it says nothing.
    pub file: &'r dyn Fn(&str) -> Result<Vec<u8>, String>,
    pub time_zone: &'r dyn Fn() -> Zone,
    pub brought: Brought,
}

/// What formatters bring besides what is always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// What `%CEL(…)%` may use.
    pub expressions: Options,
    /// `%REQ_WITHOUT_QUERY(…)%`
    pub without_query: bool,
    /// `%FILE_CONTENT(…)%`
    pub file_content: bool,
}

impl Default for Reading<'_> {
    fn default() -> Self {
        Self {
            environment: &|_| None,
            hostname: None,
            file: &|_| Err("files are not read here".to_owned()),
            time_zone: &|| Zone::new(None),
            brought: Brought::default(),
        }
    }
}

impl Format {
    /// Parses Envoy's format syntax: `%NAME%`, `%NAME(argument)%`, `%NAME(argument):LENGTH%`, `%%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, &Reading::default())
    }

    /// The same, with what can be known already.
    pub fn read(text: &str, reading: &Reading<'_>) -> Result<Self, String> {
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
            let (piece, after) = piece(rest, reading)?;
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }
}

/// Parses what follows an opening `%`; returns the rest after the closing one.
fn piece<'t>(text: &'t str, reading: &Reading<'_>) -> Result<(Piece, &'t str), String> {
    let bad = || format!("unterminated command operator: %{text}");
    let name_end = text.find(['(', ':', '%']).ok_or_else(bad)?;
    let (name, mut rest) = text.split_at(name_end);
    let mut argument = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let close = closing(inner).ok_or_else(bad)?;
        argument = Some(&inner[..close]);
        rest = &inner[close + 1..];
    }
    let mut max = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find('%').ok_or_else(bad)?;
        let (length, after) = after.split_at(end);
        max = Some(
            length
                .parse()
                .map_err(|_| format!("length of %{name}%: {length}"))?,
        );
        rest = after;
    }
    let rest = rest.strip_prefix('%').ok_or_else(bad)?;
    let operator = operator(name, argument, reading, 0)?;
    if max.is_some() && !may_be_cut(name) {
        return Err(format!("%{name}% takes no length"));
    }
    Ok((Piece::Operator { operator, max }, rest))
}

/// As in Envoy, which lets others be what they are.
fn may_be_cut(name: &str) -> bool {
    matches!(
        name,
        "REQ"
            | "REQUEST_HEADER"
            | "REQ_WITHOUT_QUERY"
            | "RESP"
            | "RESPONSE_HEADER"
            | "TRAILER"
            | "RESPONSE_TRAILER"
            | "PATH"
            | "QUERY_PARAM"
            | "QUERY_PARAMS"
            | "DYNAMIC_METADATA"
            | "FILTER_STATE"
            | "UPSTREAM_FILTER_STATE"
            | "ENVIRONMENT"
            | "FILE_CONTENT"
            | "METADATA"
            | "COALESCE"
            | "CEL"
            | "TYPED_CEL"
    )
}

/// The `)` that ends an argument: the first before a `%`, or before a length and a `%`. Others are the argument's own.
fn closing(inner: &str) -> Option<usize> {
    inner.match_indices(')').map(|(at, _)| at).find(|at| {
        let after = inner.get(at + 1..).unwrap_or_default();
        let after = match after.strip_prefix(':') {
            Some(length) if length.starts_with(|c: char| c.is_ascii_digit()) => {
                length.trim_start_matches(|c: char| c.is_ascii_digit())
            }
            _ => after,
        };
        after.starts_with('%')
    })
}

/// `depth`: within so many others.
fn operator(
    name: &str,
    argument: Option<&str>,
    reading: &Reading<'_>,
    depth: usize,
) -> Result<Operator, String> {
    if let Some(plain) = plain(name, reading) {
        return match argument {
            None => Ok(plain),
            Some(_) => Err(format!("%{name}% takes no argument")),
        };
    }
    if let Some(found) = optional(name, argument, reading)? {
        return Ok(found);
    }
    let wanted = || argument.ok_or_else(|| format!("%{name}(…)% needs an argument"));
    Ok(match name {
        "ENVIRONMENT" => {
            let variable = wanted()?;
            Operator::Environment {
                name: variable.to_owned(),
                value: (reading.environment)(variable),
            }
        }
        // A second path says which directory tells of a change; files are read once.
        "FILE_CONTENT" if reading.brought.file_content => {
            let path = wanted()?.split_once(':').map_or(wanted()?, |(path, _)| path);
            let text = (reading.file)(path).map_err(|why| format!("%{name}({path})%: {why}"))?;
            Operator::FileContent(text)
        }
        "DYNAMIC_METADATA" => metadata(MetadataKind::Dynamic, wanted()?),
        "CLUSTER_METADATA" => metadata(MetadataKind::Cluster, wanted()?),
        "UPSTREAM_METADATA" => metadata(MetadataKind::UpstreamHost, wanted()?),
        "METADATA" => {
            let (kind, rest) = wanted()?.split_once(':').unwrap_or((wanted()?, ""));
            metadata(metadata_kind(kind)?, rest)
        }
        "FILTER_STATE" => filter_state(name, wanted()?)?,
        // There is no such state but where upstream filters keep some.
        "UPSTREAM_FILTER_STATE" => filter_state(name, wanted()?).map(|_| Operator::Never)?,
        "REQ" | "REQUEST_HEADER" => {
            let (name, alternative) = header_names(wanted()?)?;
            match (name.as_str(), &alternative) {
                (":method", None) => Operator::Method,
                (":authority", None) => Operator::Authority,
                (":path", None) => Operator::Path {
                    query: true,
                    of: PathOf::Sent,
                },
                _ => Operator::Req { name, alternative },
            }
        }
        "RESP" | "RESPONSE_HEADER" => match header_names(wanted()?)? {
            (name, None) if name == "x-envoy-upstream-service-time" => Operator::UpstreamServiceTime,
            (name, alternative) => Operator::Resp { name, alternative },
        },
        "TRAILER" | "RESPONSE_TRAILER" => {
            let (name, alternative) = header_names(wanted()?)?;
            Operator::Trailer { name, alternative }
        }
        "REQ_WITHOUT_QUERY" if reading.brought.without_query => {
            let (name, alternative) = header_names(wanted()?)?;
            Operator::ReqWithoutQuery { name, alternative }
        }
        "QUERY_PARAM" => Operator::QueryParam(wanted()?.to_owned()),
        "COMMON_DURATION" => span(wanted()?)?,
        "COALESCE" => {
            let named = |name: &str, argument: Option<&str>| operator(name, argument, reading, depth + 1);
            coalesce::operator(wanted()?, depth, named)?
        }
        "CEL" | "TYPED_CEL" => {
            let program = Program::parse(wanted()?, reading.brought.expressions);
            Operator::Cel {
                program: Arc::new(
                    program.map_err(|why| format!("%{name}({})%: {why}", wanted().unwrap_or("")))?,
                ),
                typed: name == "TYPED_CEL",
            }
        }
        _ => return Err(format!("unknown command operator %{name}%")),
    })
}

/// Those without an argument.
fn plain(name: &str, reading: &Reading<'_>) -> Option<Operator> {
    use AddressForm::{EndpointId, Port, Whole};
    use Operator as O;
    use Side::{Downstream, Upstream};
    if let Some(found) = tls(name).or_else(|| wire(name)) {
        return Some(found);
    }
    Some(match name {
        "METHOD" => O::Method,
        "PROTOCOL" => O::Protocol,
        "RESPONSE_CODE" => O::ResponseCode,
        "RESPONSE_FLAGS" => O::ResponseFlags,
        "RESPONSE_FLAGS_LONG" => O::ResponseFlagsLong,
        "GRPC_STATUS_NUMBER" => O::GrpcStatus(GrpcForm::Number),
        "ACCESS_LOG_TYPE" => O::AccessLogType,
        "LOCAL_REPLY_BODY" => O::LocalReplyBody,
        "STREAM_ID" => O::StreamId,
        "REQUEST_HEADERS_BYTES" => O::HeadersBytes(Message::Request),
        "RESPONSE_HEADERS_BYTES" => O::HeadersBytes(Message::Response),
        "RESPONSE_TRAILERS_BYTES" => O::HeadersBytes(Message::Trailers),
        "CONNECTION_TERMINATION_DETAILS" => O::ConnectionTerminationDetails,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => O::TransportFailureReason(Upstream),
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON" => O::TransportFailureReason(Downstream),
        "UPSTREAM_LOCAL_CLOSE_REASON" => O::LocalCloseReason(Upstream),
        "DOWNSTREAM_LOCAL_CLOSE_REASON" => O::LocalCloseReason(Downstream),
        "UPSTREAM_DETECTED_CLOSE_TYPE" => O::CloseType(Upstream),
        "DOWNSTREAM_DETECTED_CLOSE_TYPE" => O::CloseType(Downstream),
        "BYTES_RECEIVED" => O::BytesReceived,
        "BYTES_SENT" => O::BytesSent,
        // HTTP/3's.
        "BYTES_RETRANSMITTED" | "PACKETS_RETRANSMITTED" => O::Fixed(0),
        "ROUNDTRIP_DURATION" => O::Never,
        "DURATION" => O::Duration,
        "REQUEST_DURATION" => O::RequestDuration,
        "RESPONSE_DURATION" => O::ResponseDuration,
        "REQUEST_TX_DURATION" => milliseconds(Point::RequestBegins, Point::SendingEnds),
        "RESPONSE_TX_DURATION" => milliseconds(Point::AnswerBegins, Point::AnsweringEnds),
        "DOWNSTREAM_HANDSHAKE_DURATION" => {
            milliseconds(Point::ConnectionBegins, Point::DownstreamHandshakeEnds)
        }
        "UPSTREAM_CONNECTION_POOL_READY_DURATION" => milliseconds(Point::TryBegins, Point::PoolReady),
        "UPSTREAM_HOST" => O::Address(Whose::UpstreamHost, Whole),
        "UPSTREAM_REMOTE_ADDRESS" => O::Address(Whose::UpstreamRemote, Whole),
        "UPSTREAM_REMOTE_PORT" => O::Address(Whose::UpstreamRemote, Port),
        "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID" => O::Address(Whose::UpstreamRemote, EndpointId),
        "UPSTREAM_LOCAL_ADDRESS" => O::Address(Whose::UpstreamLocal, Whole),
        "UPSTREAM_LOCAL_PORT" => O::Address(Whose::UpstreamLocal, Port),
        "DOWNSTREAM_LOCAL_ADDRESS" => O::Address(Whose::DownstreamLocal, Whole),
        "DOWNSTREAM_LOCAL_PORT" => O::Address(Whose::DownstreamLocal, Port),
        "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID" => O::Address(Whose::DownstreamLocal, EndpointId),
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS" => O::Address(Whose::DownstreamDirectLocal, Whole),
        "DOWNSTREAM_DIRECT_LOCAL_PORT" => O::Address(Whose::DownstreamDirectLocal, Port),
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID" => O::Address(Whose::DownstreamDirectLocal, EndpointId),
        "DOWNSTREAM_REMOTE_ADDRESS" => O::Address(Whose::DownstreamRemote, Whole),
        "DOWNSTREAM_REMOTE_PORT" => O::Address(Whose::DownstreamRemote, Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => O::Address(Whose::DownstreamDirectRemote, Whole),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => O::Address(Whose::DownstreamDirectRemote, Port),
        "UPSTREAM_HOST_NAME" => O::UpstreamHostName { port: true },
        "UPSTREAM_HOST_NAME_WITHOUT_PORT" => O::UpstreamHostName { port: false },
        "UPSTREAM_HOSTS_ATTEMPTED" => O::Attempted(Attempted::Addresses { port: true }),
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT" => O::Attempted(Attempted::Addresses { port: false }),
        "UPSTREAM_HOST_NAMES_ATTEMPTED" => O::Attempted(Attempted::Names { port: true }),
        "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT" => O::Attempted(Attempted::Names { port: false }),
        "UPSTREAM_CONNECTION_IDS_ATTEMPTED" => O::Attempted(Attempted::Connections),
        "UPSTREAM_CLUSTER" => O::UpstreamCluster { raw: false },
        "UPSTREAM_CLUSTER_RAW" => O::UpstreamCluster { raw: true },
        "UPSTREAM_PROTOCOL" => O::UpstreamProtocol,
        "UPSTREAM_CONNECTION_ID" => O::UpstreamConnectionId,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => O::UpstreamRequestAttemptCount,
        "UPSTREAM_SERVER_NAME" => O::UpstreamServerName,
        "CONNECTION_ID" => O::ConnectionId,
        "ROUTE_NAME" => O::RouteName,
        "VIRTUAL_CLUSTER_NAME" => O::VirtualClusterName,
        "FILTER_CHAIN_NAME" => O::FilterChainName,
        "TRACE_ID" => O::TraceId,
        "SPAN_ID" => O::SpanId,
        "UNIQUE_ID" => O::UniqueId,
        "HOSTNAME" => O::Hostname(reading.hostname.map(str::to_owned)),
        "CUSTOM_FLAGS" => O::CustomFlags,
        // Of what only an inspector that fingerprints sets, and none does.
        "TLS_JA3_FINGERPRINT" => O::HelloFingerprint(HelloHash::Ja3),
        "TLS_JA4_FINGERPRINT" => O::HelloFingerprint(HelloHash::Ja4),
        _ => return None,
    })
}

fn milliseconds(from: Point, to: Point) -> Operator {
    Operator::Span {
        from,
        to,
        unit: Unit::Milliseconds,
    }
}

/// Those that may have an argument.
fn optional(name: &str, argument: Option<&str>, reading: &Reading<'_>) -> Result<Option<Operator>, String> {
    use Operator as O;
    let said = argument.unwrap_or_default();
    let time = argument.filter(|format| !format.is_empty()).map(str::to_owned);
    if let Some(whose) = without_port(name) {
        let bits = match argument {
            None => None,
            Some(bits) => Some(
                bits.parse()
                    .ok()
                    .filter(|bits| *bits <= 128)
                    .ok_or_else(|| format!("%{name}({bits})%: not a number of bits"))?,
            ),
        };
        return Ok(Some(O::Address(whose, AddressForm::WithoutPort { bits })));
    }
    Ok(Some(match name {
        "START_TIME" => O::StartTime(Clock {
            format: time,
            zone: None,
        }),
        "EMIT_TIME" => O::EmitTime(Clock {
            format: time,
            zone: None,
        }),
        "START_TIME_LOCAL" => O::StartTime(Clock {
            format: time,
            zone: Some((reading.time_zone)()),
        }),
        "EMIT_TIME_LOCAL" => O::EmitTime(Clock {
            format: time,
            zone: Some((reading.time_zone)()),
        }),
        "DOWNSTREAM_PEER_CERT_V_START" => O::Tls(Side::Downstream, TlsFact::ValidFrom(time)),
        "DOWNSTREAM_PEER_CERT_V_END" => O::Tls(Side::Downstream, TlsFact::ValidUntil(time)),
        "UPSTREAM_PEER_CERT_V_START" => O::Tls(Side::Upstream, TlsFact::ValidFrom(time)),
        "UPSTREAM_PEER_CERT_V_END" => O::Tls(Side::Upstream, TlsFact::ValidUntil(time)),
        "RESPONSE_CODE_DETAILS" => O::ResponseCodeDetails {
            spaces: said == "ALLOW_WHITESPACES",
        },
        "GRPC_STATUS" => O::GrpcStatus(match said {
            "" | "CAMEL_STRING" => GrpcForm::Camel,
            "SNAKE_STRING" => GrpcForm::Snake,
            "NUMBER" => GrpcForm::Number,
            other => {
                return Err(format!(
                    "%GRPC_STATUS({other})%: CAMEL_STRING, SNAKE_STRING or NUMBER"
                ));
            }
        }),
        "PATH" => {
            let (query, of) = said.split_once(':').unwrap_or((said, ""));
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
        "QUERY_PARAMS" => O::QueryParams {
            decoded: match said {
                "" | "ORIG" => false,
                "DECODED" => true,
                other => return Err(format!("%QUERY_PARAMS({other})%: ORIG or DECODED")),
            },
        },
        "REQUESTED_SERVER_NAME" => {
            let (prefer, of) = said.split_once(':').unwrap_or((said, ""));
            O::RequestedServerName {
                prefer: match prefer {
                    "" | "SNI_ONLY" => ServerName::SniOnly,
                    "SNI_FIRST" => ServerName::SniFirst,
                    "HOST_FIRST" => ServerName::HostFirst,
                    other => {
                        return Err(format!(
                            "%REQUESTED_SERVER_NAME({other}…)%: SNI_ONLY, SNI_FIRST or HOST_FIRST"
                        ));
                    }
                },
                of: match of {
                    "" | "ORIG_OR_HOST" => HostOf::Either,
                    "ORIG" => HostOf::Original,
                    "HOST" => HostOf::Sent,
                    other => {
                        return Err(format!(
                            "%REQUESTED_SERVER_NAME(…:{other})%: ORIG, HOST or ORIG_OR_HOST"
                        ));
                    }
                },
            }
        }
        _ => return Ok(None),
    }))
}

fn without_port(name: &str) -> Option<Whose> {
    Some(match name.strip_suffix("_ADDRESS_WITHOUT_PORT")? {
        "UPSTREAM_LOCAL" => Whose::UpstreamLocal,
        "UPSTREAM_REMOTE" => Whose::UpstreamRemote,
        "DOWNSTREAM_REMOTE" => Whose::DownstreamRemote,
        "DOWNSTREAM_DIRECT_REMOTE" => Whose::DownstreamDirectRemote,
        "DOWNSTREAM_LOCAL" => Whose::DownstreamLocal,
        "DOWNSTREAM_DIRECT_LOCAL" => Whose::DownstreamDirectLocal,
        _ => return None,
    })
}

fn metadata(kind: MetadataKind, argument: &str) -> Operator {
    let mut names = argument.split(':').map(str::to_owned);
    Operator::Metadata {
        kind,
        namespace: names.next().unwrap_or_default(),
        path: names.collect(),
    }
}

fn metadata_kind(name: &str) -> Result<MetadataKind, String> {
    Ok(match name {
        "DYNAMIC" => MetadataKind::Dynamic,
        "CLUSTER" => MetadataKind::Cluster,
        "ROUTE" => MetadataKind::Route,
        "UPSTREAM_HOST" => MetadataKind::UpstreamHost,
        "LISTENER" => MetadataKind::Listener,
        "LISTENER_FILTER_CHAIN" => MetadataKind::FilterChain,
        "VIRTUAL_HOST" => MetadataKind::VirtualHost,
        other => {
            return Err(format!(
                "%METADATA({other}:…)%: DYNAMIC, CLUSTER, ROUTE, UPSTREAM_HOST, LISTENER, \
                 LISTENER_FILTER_CHAIN or VIRTUAL_HOST"
            ));
        }
    })
}

fn filter_state(name: &str, argument: &str) -> Result<Operator, String> {
    let (key, form) = argument.split_once(':').unwrap_or((argument, ""));
    let (form, field) = form.split_once(':').unwrap_or((form, ""));
    if key.is_empty() {
        return Err(format!("%{name}(…)% needs a key"));
    }
    Ok(Operator::FilterState {
        key: key.to_owned(),
        form: match (form, field) {
            ("" | "TYPED", "") => StateForm::Typed,
            ("PLAIN", "") => StateForm::Plain,
            ("FIELD", field) if !field.is_empty() => StateForm::Field(field.to_owned()),
            (other, _) => {
                return Err(format!(
                    "%{name}(…:{other})%: PLAIN, TYPED, or FIELD with a field"
                ));
            }
        },
    })
}

/// `FROM:TO:UNIT`
fn span(argument: &str) -> Result<Operator, String> {
    let parts: Vec<&str> = argument.split(':').collect();
    let [from, to, unit] = parts.as_slice() else {
        return Err(format!(
            "%COMMON_DURATION({argument})%: from, to and a unit are needed"
        ));
    };
    Ok(Operator::Span {
        from: point(from),
        to: point(to),
        unit: match *unit {
            "ms" => Unit::Milliseconds,
            "us" => Unit::Microseconds,
            "ns" => Unit::Nanoseconds,
            other => return Err(format!("%COMMON_DURATION(…:{other})%: ms, us or ns")),
        },
    })
}

fn point(name: &str) -> Point {
    match name {
        "DS_RX_BEG" => Point::RequestBegins,
        "DS_RX_END" => Point::RequestEnds,
        "US_CX_BEG" => Point::ConnectBegins,
        "US_CX_END" => Point::ConnectEnds,
        "US_HS_END" => Point::HandshakeEnds,
        "US_TX_BEG" => Point::SendingBegins,
        "US_TX_END" => Point::SendingEnds,
        "US_RX_BEG" => Point::AnswerBegins,
        "US_RX_BODY_BEG" => Point::AnswerBodyBegins,
        "US_RX_END" => Point::AnswerEnds,
        "DS_TX_BEG" => Point::AnsweringBegins,
        "DS_TX_END" => Point::AnsweringEnds,
        "DS_CX_BEG" => Point::ConnectionBegins,
        "DS_CX_END" => Point::ConnectionEnds,
        _ => Point::Unknown,
    }
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
