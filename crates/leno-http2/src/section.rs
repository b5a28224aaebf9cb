//! What a field section may hold (RFC 9113 §8.2, §8.3): checked field by field while it is decompressed, so that a
//! malformed message is never built.

use crate::error::StreamFault;

/// The fields of a head that are not headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    /// Extended CONNECT (RFC 8441).
    Protocol,
    Status,
}

/// A head, or a trailer section, in its driver's own form. Fields come in their order; what is not allowed in a
/// message does not come at all.
pub trait Section: Default {
    fn pseudo(&mut self, which: Pseudo, value: &[u8]);
    /// `name` is a lower-case token; `value` has no control characters and no white space around it.
    fn field(&mut self, name: &[u8], value: &[u8]);
}

/// What a field is to a message. Kept with each entry of the compression table: it is found out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Pseudo(Pseudo),
    ContentLength,
    Invalid(&'static str),
}

/// Reads one section.
pub(crate) struct Reader<H> {
    head: H,
    limit: Limit,
    fault: Option<&'static str>,
    /// A bit for each pseudo-header that was there.
    seen: u8,
    regular: bool,
    method: Method,
    options_star: bool,
    status: u16,
    length: Option<u64>,
}

struct Limit {
    bytes: usize,
    fields: usize,
    passed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Method {
    Connect,
    Options,
    #[default]
    Other,
}

/// A section that is what it should be.
#[derive(Debug)]
pub(crate) struct Read<H> {
    pub(crate) head: H,
    pub(crate) status: u16,
    pub(crate) length: Option<u64>,
    /// Of this nothing more is known than that it was too much.
    pub(crate) too_large: bool,
}

// === impl Kind ===

impl Kind {
    pub(crate) fn of(name: &[u8], value: &[u8]) -> Self {
        if let Some(pseudo) = name.strip_prefix(b":") {
            return match pseudo {
                b"method" => Self::checked(Pseudo::Method, is_token(value)),
                b"scheme" => Self::checked(Pseudo::Scheme, is_scheme(value)),
                b"authority" => Self::checked(Pseudo::Authority, is_authority(value)),
                b"path" => Self::checked(Pseudo::Path, is_path(value)),
                b"protocol" => Self::checked(Pseudo::Protocol, is_token(value)),
                b"status" => Self::checked(Pseudo::Status, status(value).is_some()),
                _ => Self::Invalid("an unknown pseudo-header"),
            };
        }
        if name.is_empty() || !name.iter().all(|b| NAME[usize::from(*b)]) {
            return Self::Invalid("a field's name");
        }
        if !is_value(value) {
            return Self::Invalid("a field's value");
        }
        match name {
            b"content-length" => Self::ContentLength,
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
                Self::Invalid("a field of HTTP/1.1 connections")
            }
            b"te" if !trimmed(value).eq_ignore_ascii_case(b"trailers") => Self::Invalid("TE"),
            _ => Self::Plain,
        }
    }

    fn checked(pseudo: Pseudo, is_valid: bool) -> Self {
        match is_valid {
            true => Self::Pseudo(pseudo),
            false => Self::Invalid("a pseudo-header's value"),
        }
    }
}

// === impl Reader ===

impl<H: Section> Reader<H> {
    pub(crate) fn new(bytes: usize, fields: usize) -> Self {
        Self {
            head: H::default(),
            limit: Limit {
                bytes,
                fields,
                passed: false,
            },
            fault: None,
            seen: 0,
            regular: false,
            method: Method::Other,
            options_star: false,
            status: 0,
            length: None,
        }
    }

    pub(crate) fn field(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        if self.fault.is_some() || !self.limit.take(name.len() + value.len()) {
            return;
        }
        match kind {
            Kind::Plain => {
                self.regular = true;
                self.head.field(name, trimmed(value));
            }
            Kind::Pseudo(which) => self.pseudo(which, value),
            Kind::ContentLength => {
                self.regular = true;
                self.content_length(name, trimmed(value));
            }
            Kind::Invalid(what) => self.fault = Some(what),
        }
    }

    /// Bytes that are still allowed.
    pub(crate) fn left(&self) -> usize {
        self.limit.bytes
    }

    fn pseudo(&mut self, which: Pseudo, value: &[u8]) {
        let bit = 1 << which as u8;
        if self.regular {
            self.fault = Some("a pseudo-header after other fields");
        } else if self.seen & bit != 0 {
            self.fault = Some("a pseudo-header twice");
        }
        self.seen |= bit;
        match which {
            Pseudo::Method => {
                self.method = match value {
                    b"CONNECT" => Method::Connect,
                    b"OPTIONS" => Method::Options,
                    _ => Method::Other,
                }
            }
            Pseudo::Path => self.options_star = value == b"*",
            Pseudo::Status => self.status = status(value).unwrap_or_default(),
            Pseudo::Scheme | Pseudo::Authority | Pseudo::Protocol => {}
        }
        self.head.pseudo(which, value);
    }

    fn content_length(&mut self, name: &[u8], value: &[u8]) {
        let digits = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
        let length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        match length.filter(|_| digits) {
            None => self.fault = Some("Content-Length"),
            Some(length) if self.length.is_some_and(|first| first != length) => {
                self.fault = Some("two different values of Content-Length");
            }
            // The same once more adds nothing.
            Some(_) if self.length.is_some() => {}
            Some(length) => {
                self.length = Some(length);
                self.head.field(name, value);
            }
        }
    }

    fn has(&self, which: Pseudo) -> bool {
        self.seen & (1 << which as u8) != 0
    }

    /// `extended`: CONNECT with `:protocol` was offered.
    pub(crate) fn request(self, extended: bool) -> Result<Read<H>, StreamFault> {
        let plain_connect = self.method == Method::Connect && !self.has(Pseudo::Protocol);
        let fault = if self.has(Pseudo::Status) {
            Some("a response's pseudo-header")
        } else if !self.has(Pseudo::Method) {
            Some("no :method")
        } else if plain_connect {
            // RFC 9113 §8.5.
            let wrong = self.has(Pseudo::Scheme) || self.has(Pseudo::Path) || !self.has(Pseudo::Authority);
            wrong.then_some("a CONNECT with other than :authority")
        } else if !self.has(Pseudo::Scheme) || !self.has(Pseudo::Path) {
            Some("no :scheme or no :path")
        } else if self.has(Pseudo::Protocol) && (!extended || self.method != Method::Connect) {
            Some(":protocol")
        } else if self.options_star && self.method != Method::Options {
            Some(":path")
        } else {
            None
        };
        self.finish(fault)
    }

    pub(crate) fn response(self) -> Result<Read<H>, StreamFault> {
        let others = self.seen & !(1 << Pseudo::Status as u8) != 0;
        let fault = if others {
            Some("a request's pseudo-header")
        } else if !self.has(Pseudo::Status) || self.status == 101 {
            Some(":status")
        } else {
            None
        };
        self.finish(fault)
    }

    pub(crate) fn trailers(self) -> Result<Read<H>, StreamFault> {
        let fault = (self.seen != 0).then_some("a pseudo-header in a trailer section");
        self.finish(fault)
    }

    fn finish(self, fault: Option<&'static str>) -> Result<Read<H>, StreamFault> {
        let too_large = self.limit.passed;
        // What was not read cannot be missed.
        match self.fault.or(fault.filter(|_| !too_large)) {
            Some(reason) => Err(StreamFault::malformed(reason)),
            None => Ok(Read {
                head: self.head,
                status: self.status,
                length: self.length,
                too_large,
            }),
        }
    }
}

impl Limit {
    fn take(&mut self, bytes: usize) -> bool {
        match (self.bytes.checked_sub(bytes), self.fields.checked_sub(1)) {
            (Some(bytes), Some(fields)) if !self.passed => (self.bytes, self.fields) = (bytes, fields),
            _ => self.passed = true,
        }
        !self.passed
    }
}

// === what is allowed in names and values ===

static TOKEN: [bool; 256] = set(b"!#$%&'*+-.^_`|~", true, true);
static NAME: [bool; 256] = set(b"!#$%&'*+-.^_`|~", true, false);
/// Without user information, which is not sent (RFC 9113 §8.3.1).
static AUTHORITY: [bool; 256] = set(b"-._~!$&'()*+,;=:[]%", true, true);

const fn set(others: &[u8], lower: bool, upper: bool) -> [bool; 256] {
    let mut set = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        set[at] = byte.is_ascii_digit()
            || (lower && byte.is_ascii_lowercase())
            || (upper && byte.is_ascii_uppercase());
        at += 1;
    }
    let mut at = 0;
    while at < others.len() {
        set[others[at] as usize] = true;
        at += 1;
    }
    set
}

fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| TOKEN[usize::from(*b)])
}

fn is_scheme(value: &[u8]) -> bool {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    value.first().is_some_and(u8::is_ascii_alphabetic) && value.iter().all(is_part)
}

fn is_authority(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| AUTHORITY[usize::from(*b)])
}

/// A path and a query, which have no fragment; `*` belongs to OPTIONS.
fn is_path(value: &[u8]) -> bool {
    let is_part = |b: &u8| *b > b' ' && *b != 0x7f && *b != b'#';
    value == b"*" || (value.first() == Some(&b'/') && value.iter().all(is_part))
}

fn status(value: &[u8]) -> Option<u16> {
    let digit = |b: &u8| b.is_ascii_digit().then(|| u16::from(b - b'0'));
    let [a, b, c] = value else { return None };
    let status = digit(a)? * 100 + digit(b)? * 10 + digit(c)?;
    (status >= 100).then_some(status)
}

/// As Envoy: no control characters but the tabulator.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|b| *b >= b' ' && *b != 0x7f || *b == b'\t')
}

/// White space around a value is not part of it.
fn trimmed(value: &[u8]) -> &[u8] {
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => value.trim_ascii(),
        _ => value,
    }
}

/// What may be sent as a header.
pub(crate) fn may_be_sent(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| NAME[usize::from(*b)]) && is_value(value)
}

#[cfg(test)]
#[path = "section/tests.rs"]
mod tests;
