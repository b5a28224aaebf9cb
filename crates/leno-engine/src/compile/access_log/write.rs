//! Formats, filled.

use std::borrow::Cow;

use super::attributes::Attributes;
use super::format::{Format, FormatValues, Heads, Piece, request_size, response_size, size};
use super::operator::{HostOf, Message, Operator, PathOf, ServerName, StateForm};
use crate::compile::metadata::Value;
use crate::decide::grpc::is_grpc;
use crate::decide::matcher::{decoded, decoded_parameter};
use crate::message::RequestHead;

impl Format {
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
            Self::ResponseCode => {
                let start = out.len();
                if values.write(self, out) {
                    return true;
                }
                out.truncate(start);
                return heads.response.is_some_and(|head| {
                    out.extend_from_slice(head.status.to_string().as_bytes());
                    true
                });
            }
            Self::Coalesce(operators) => return coalesced(operators, heads, values, out),
            Self::Cel { program, .. } => {
                let known = Attributes::new(heads, values);
                return match program.evaluate(&known) {
                    Ok(value) => {
                        value.print(out);
                        true
                    }
                    Err(_) => false,
                };
            }
            Self::Metadata {
                kind,
                namespace,
                path,
            } => {
                let mut found = false;
                values.metadata(*kind, namespace, &mut |all| {
                    found = match all.at(path) {
                        None | Some(Value::Null) => false,
                        Some(Value::Text(text)) => {
                            out.extend_from_slice(text.as_bytes());
                            true
                        }
                        Some(value) => {
                            value.write_json(out);
                            true
                        }
                    };
                });
                return found;
            }
            Self::RequestedServerName { prefer, of } => {
                return server_name(self, *prefer, *of, heads, values, out);
            }
            // Of what is no gRPC call nothing is said.
            Self::GrpcStatus(_) if !heads.request.is_some_and(is_grpc) => None,
            _ => match self.of_heads(heads) {
                Some(found) => found,
                None => return values.write(self, out),
            },
        };
        match found {
            Some(value) => {
                out.extend_from_slice(&value);
                true
            }
            None => false,
        }
    }

    /// The same as JSON writes it, for what may be more than a text or a number. None: it is not.
    pub fn write_json(&self, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) -> Option<bool> {
        match self {
            Self::Metadata {
                kind,
                namespace,
                path,
            } => {
                let mut found = false;
                values.metadata(*kind, namespace, &mut |all| {
                    if let Some(value) = all.at(path) {
                        value.write_json(out);
                        found = true;
                    }
                });
                Some(found)
            }
            Self::FilterState { form, .. } if *form == StateForm::Typed => Some(values.write(self, out)),
            Self::Cel { program, typed: true } => {
                let known = Attributes::new(heads, values);
                let value = program.evaluate(&known).ok();
                let value = value.and_then(|value| Value::of_expression(&value));
                Some(value.is_some_and(|value| {
                    value.write_json(out);
                    true
                }))
            }
            _ => None,
        }
    }

    /// None: it is not the messages' to say.
    fn of_heads<'h>(&'h self, heads: Heads<'h>) -> Option<Option<Cow<'h, [u8]>>> {
        let borrowed = |value: Option<&'h [u8]>| Some(value.map(Cow::Borrowed));
        let request = heads.request;
        borrowed(match self {
            Self::Req { name, alternative } => {
                request.and_then(|head| first(name, alternative, |name| request_field(head, name)))
            }
            Self::ReqWithoutQuery { name, alternative } => {
                let found =
                    request.and_then(|head| first(name, alternative, |name| request_field(head, name)));
                found.map(without_query)
            }
            Self::Resp { name, alternative } => heads
                .response
                .and_then(|head| first(name, alternative, |name| head.headers.get(name))),
            Self::Trailer { name, alternative } => heads
                .trailers
                .and_then(|trailers| first(name, alternative, |name| trailers.get(name))),
            Self::StreamId => request?.headers.get("x-request-id"),
            Self::Environment { value, .. } | Self::Hostname(value) => value.as_ref().map(String::as_bytes),
            Self::FileContent(text) => Some(text.as_slice()),
            Self::Method => request.and_then(|head| head.field(":method")),
            Self::Path { query, of } => request.and_then(|head| path(head, *query, *of)),
            Self::Authority => request.map(|head| head.authority.as_ref()),
            Self::Protocol => request.map(|head| head.version.as_str().as_bytes()),
            Self::QueryParam(name) => {
                let query = request.and_then(RequestHead::query);
                return Some(query.and_then(|query| decoded_parameter(query, name.as_bytes())));
            }
            Self::QueryParams { decoded } => {
                let query = request.and_then(RequestHead::query);
                return Some(query.map(|query| match decoded {
                    true => Cow::Owned(visible(query)),
                    false => Cow::Borrowed(query),
                }));
            }
            Self::HeadersBytes(message) => {
                let size = match message {
                    Message::Request => request.map_or(0, request_size),
                    Message::Response => heads.response.map_or(0, response_size),
                    Message::Trailers => heads.trailers.map_or(0, size),
                };
                return Some(Some(size.to_string().into_bytes().into()));
            }
            Self::Fixed(number) => return Some(Some(number.to_string().into_bytes().into())),
            Self::CustomFlags => Some(b""),
            Self::Never => None,
            _ => return None,
        })
    }
}

/// The first that says something.
fn coalesced(
    operators: &[(Operator, Option<usize>)],
    heads: Heads<'_>,
    values: &dyn FormatValues,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    operators.iter().any(|(operator, most)| {
        out.truncate(start);
        if !operator.write(heads, values, out) || out.len() == start {
            return false;
        }
        if let Some(most) = most {
            out.truncate(start.saturating_add(*most));
        }
        true
    })
}

fn server_name(
    operator: &Operator,
    prefer: ServerName,
    of: HostOf,
    heads: Heads<'_>,
    values: &dyn FormatValues,
    out: &mut Vec<u8>,
) -> bool {
    if prefer != ServerName::HostFirst && values.write(operator, out) {
        return true;
    }
    if prefer == ServerName::SniOnly {
        return false;
    }
    let Some(head) = heads.request else {
        return false;
    };
    let original = || head.headers.get("x-envoy-original-host");
    let host = match of {
        HostOf::Original => original(),
        HostOf::Sent => Some(head.authority.as_ref()),
        HostOf::Either => original().or(Some(head.authority.as_ref())),
    };
    host.filter(|host| !host.is_empty()).is_some_and(|host| {
        out.extend_from_slice(host);
        true
    })
}

/// By its name, or else by the other.
fn first<'h>(
    name: &str,
    alternative: &Option<String>,
    get: impl Fn(&str) -> Option<&'h [u8]>,
) -> Option<&'h [u8]> {
    get(name).or_else(|| alternative.as_ref().and_then(|name| get(name)))
}

fn path(head: &RequestHead, query: bool, of: PathOf) -> Option<&[u8]> {
    let original = || head.headers.get("x-envoy-original-path");
    let path = match of {
        PathOf::Original => original()?,
        PathOf::Sent => head.field(":path")?,
        PathOf::Either => original().or_else(|| head.field(":path"))?,
    };
    Some(if query { path } else { without_query(path) })
}

/// With `%XX` for what it stands for where that is to be seen, as in Envoy.
fn visible(query: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(query.len());
    let mut rest = query;
    while let Some((first, after)) = rest.split_first() {
        let escaped = rest.get(..3).filter(|_| *first == b'%').map(decoded);
        match escaped.as_deref() {
            // But for quotes.
            Some([byte @ (b'!' | b'#'..=b'~')]) => {
                out.push(*byte);
                rest = rest.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn without_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|b| *b == b'?');
    path.get(..end.unwrap_or(path.len())).unwrap_or(path)
}

fn request_field<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    head.field(name).filter(|value| !value.is_empty())
}
