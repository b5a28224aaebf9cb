//! Messages as they go: always written from their parts, framed for this connection.

use std::io::Write;

use leno_engine::message::{Decimal, Headers, Lines, RequestHead, ResponseHead, Version};

use crate::syntax::{has_colon, is_line_safe};

/// A message that would break its framing, or the next parser's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("a body longer than its Content-Length")]
    TooLong,
    #[error("a body shorter than its Content-Length")]
    TooShort,
}

/// What a response is written for.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTo<'a> {
    /// The request's.
    pub version: Version,
    /// The request was HEAD.
    pub head: bool,
    /// What follows is not HTTP.
    pub tunnel: bool,
    /// The connection ends with this response.
    pub close: bool,
    /// `Date`, for responses that have none; empty where it is known that they have one.
    pub date: &'a [u8],
}

/// A head has been written.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    pub body: BodyWriter,
    /// The connection ends with the message, because it was said or because nothing else can end it.
    pub close: bool,
}

const CONTENT_LENGTH: &[u8] = b"content-length";

/// Frames a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyWriter {
    /// There is none.
    None,
    /// There is none to be sent, whatever the head says of it (HEAD, 304).
    Withheld,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    UntilClose,
}

/// Writes a request's head. `length` of its body: None when that is not known.
pub fn encode_request(
    head: &RequestHead,
    length: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<BodyWriter, EncodeError> {
    let target: &[u8] = match (head.method.as_ref(), head.path.as_ref()) {
        (b"CONNECT", _) => &head.authority,
        (_, b"") => b"/",
        (_, path) => path,
    };
    if head.method.is_empty() || !is_one_word(&head.method) || !is_one_word(target) {
        return Err(EncodeError::Invalid("method or path"));
    }
    put(out, &[&head.method, b" ", target, b" HTTP/1.1\r\nhost: "]);
    value(&head.authority, out)?;
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = &head.upgrade {
        upgrade(protocol, out)?;
    }
    let said = fields(&head.headers, length, out)?;
    let bodiless = matches!(
        head.method.as_ref(),
        b"GET" | b"HEAD" | b"CONNECT" | b"DELETE" | b"TRACE"
    );
    let body = match (said, length) {
        (Some(0), _) => BodyWriter::None,
        (Some(length), _) => BodyWriter::Length(length),
        (None, Some(0)) if bodiless || head.upgrade.is_some() => BodyWriter::None,
        (None, Some(length)) => content_length(length, out),
        (None, None) => chunked(out),
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// Writes a response's head. `length` of its body: None when that is not known.
pub fn encode_response(
    head: &ResponseHead,
    length: Option<u64>,
    to: &ResponseTo<'_>,
    out: &mut Vec<u8>,
) -> Result<Encoded, EncodeError> {
    let http10 = to.version == Version::Http10;
    match (http10, head.status) {
        (false, 200) => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        _ => {
            put(out, &[if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " }]);
            number(head.status.into(), out);
            put(out, &[b" ", reason(head.status).as_bytes(), b"\r\n"]);
        }
    }
    let bodiless = head.status < 200 || head.status == 204 || to.tunnel;
    let withheld = !bodiless && (to.head || head.status == 304);
    // What is said of a body that is not sent is the upstream's to know.
    let length = length.filter(|_| !withheld);
    let said = match bodiless {
        true => each(&head.headers, |name| name != CONTENT_LENGTH, out).map(|()| None),
        false => fields(&head.headers, length, out),
    }?;
    let ends_with_connection = http10 && !bodiless && !withheld && said.is_none() && length.is_none();
    let close = to.close || ends_with_connection;
    if !to.date.is_empty() && head.status >= 200 && !head.headers.contains("date") {
        put(out, &[b"date: ", to.date, b"\r\n"]);
    }
    let upgrades = head.status == 101 || to.tunnel;
    if close && !upgrades {
        out.extend_from_slice(b"connection: close\r\n");
    } else if http10 && !upgrades {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    let body = match (said, length) {
        _ if bodiless => BodyWriter::None,
        (None, _) if withheld => {
            // As Envoy: most bodies of unknown length would be sent this way.
            if to.head && !http10 && head.status != 304 {
                chunked(out);
            }
            BodyWriter::Withheld
        }
        _ if withheld => BodyWriter::Withheld,
        (Some(0), _) => BodyWriter::None,
        (Some(length), _) => BodyWriter::Length(length),
        (None, Some(length)) => content_length(length, out),
        (None, None) if http10 => BodyWriter::UntilClose,
        (None, None) => chunked(out),
    };
    out.extend_from_slice(b"\r\n");
    Ok(Encoded { body, close })
}

/// Writes the fields. `length` of the body, where it is known, is what `Content-Length` says. The result: the length
/// that is said.
fn fields(headers: &Headers, length: Option<u64>, out: &mut Vec<u8>) -> Result<Option<u64>, EncodeError> {
    let mut said = None;
    are_line_safe(headers)?;
    for line in headers.lines(CONTENT_LENGTH) {
        let (name, content) = match line {
            // As a codec of ours has read it, with nothing in it that ends a line early.
            Lines::Received(lines) => {
                out.extend_from_slice(lines);
                continue;
            }
            Lines::Field(name, content) => (name, content),
        };
        if name != CONTENT_LENGTH {
            field(name, content, out)?;
            continue;
        }
        let text = length_of(content);
        match (said, length.or(text)) {
            (None, Some(number)) if text == Some(number) => field(name, content, out)?,
            (None, Some(number)) => {
                content_length(number, out);
            }
            _ => continue,
        }
        said = length.or(text);
    }
    Ok(said)
}

fn length_of(digits: &[u8]) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let add = |number: u64, byte: &u8| number.checked_mul(10)?.checked_add(digit(*byte)?);
    (!digits.is_empty()).then_some(())?;
    digits.iter().try_fold(0, add)
}

fn each(headers: &Headers, wanted: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    are_line_safe(headers)?;
    let mut wanted = headers.iter().filter(|(name, _)| wanted(name));
    wanted.try_for_each(|(name, content)| field(name, content, out))
}

/// Names are tokens and values have no control characters: a codec has read them so. Of what was added since, all at
/// once, what would end a line early is looked for.
fn are_line_safe(headers: &Headers) -> Result<(), EncodeError> {
    match is_line_safe(headers.added()) {
        true => Ok(()),
        false => Err(EncodeError::Invalid("header value")),
    }
}

/// Of fields that [`are_line_safe`].
fn field(name: &[u8], content: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if name.is_empty() || has_colon(name) {
        return Err(EncodeError::Invalid("header name"));
    }
    out.reserve(name.len() + content.len() + 4);
    put(out, &[name, b": ", content, b"\r\n"]);
    Ok(())
}

fn value(content: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if !is_line_safe(content) {
        return Err(EncodeError::Invalid("header value"));
    }
    out.extend_from_slice(content);
    Ok(())
}

fn upgrade(protocol: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(b"connection: upgrade\r\n");
    out.extend_from_slice(b"upgrade: ");
    value(protocol, out)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn content_length(length: u64, out: &mut Vec<u8>) -> BodyWriter {
    out.extend_from_slice(b"content-length: ");
    number(length, out);
    out.extend_from_slice(b"\r\n");
    match length {
        0 => BodyWriter::None,
        length => BodyWriter::Length(length),
    }
}

fn chunked(out: &mut Vec<u8>) -> BodyWriter {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    BodyWriter::Chunked
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Decimal::from(number).as_ref());
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn is_one_word(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

// === impl BodyWriter ===

impl BodyWriter {
    /// Frames the next bytes. What stands before them is written to `before`; the result stands after them. `last`:
    /// nothing comes after them.
    pub fn data(
        &mut self,
        length: usize,
        last: bool,
        before: &mut Vec<u8>,
    ) -> Result<&'static [u8], EncodeError> {
        match self {
            Self::Withheld | Self::UntilClose => {}
            Self::None if length > 0 => return Err(EncodeError::TooLong),
            Self::None => {}
            Self::Length(left) => {
                let rest = left.checked_sub(length as u64).ok_or(EncodeError::TooLong)?;
                *left = rest;
                if last && rest > 0 {
                    return Err(EncodeError::TooShort);
                }
            }
            Self::Chunked => {
                // A chunk of no bytes would be the last one.
                if length > 0 {
                    let _ = write!(before, "{length:x}\r\n");
                }
                return Ok(match (length, last) {
                    (0, false) => b"",
                    (0, true) => self.last_chunk(b"0\r\n\r\n"),
                    (_, false) => b"\r\n",
                    (_, true) => self.last_chunk(b"\r\n0\r\n\r\n"),
                });
            }
        }
        Ok(b"")
    }

    fn last_chunk(&mut self, text: &'static [u8]) -> &'static [u8] {
        *self = Self::None;
        text
    }

    /// The body has ended. Where it can have no trailers they are dropped, as RFC 9110 §6.5.1 allows.
    pub fn end(&mut self, trailers: Option<&Headers>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Length(left) if *left > 0 => return Err(EncodeError::TooShort),
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    each(trailers, |_| true, out)?;
                }
                out.extend_from_slice(b"\r\n");
                *self = Self::None;
            }
            _ => {}
        }
        Ok(())
    }

    /// No byte of the body is to be sent.
    pub fn is_withheld(&self) -> bool {
        matches!(self, Self::Withheld)
    }
}

/// The registered phrases, for people who read what goes over the wire (RFC 9110 §15; IANA).
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}
