//! The fields that are of one connection only (RFC 9110 §7.6.1) and the length of a body (RFC 9112 §6), found in one
//! pass over the fields.

use crate::fields::{Field, Fields, Span};
use crate::known::Known;
use crate::{Error, syntax};

/// As Envoy: a client that names more fields, or as many, is up to something.
const MAX_NAMED: usize = 10;

/// Removed for the reason that they say something else to the next proxy; a client must not take them away.
const NOT_TO_BE_NAMED: [&[u8]; 4] = [
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-port",
];

/// What a head says of its connection and its body.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade`.
    pub(crate) upgrades: bool,
    /// Which field has the protocol that is wanted.
    pub(crate) upgrade: Option<Field>,
    pub(crate) host: Option<Field>,
    pub(crate) expects_continue: bool,
    /// There is `TE`.
    pub(crate) te: bool,
    /// `Connection` names fields beside its own words.
    pub(crate) names: bool,
}

impl Control {
    /// `chunked_length`: where a length stands beside chunks, the chunks count (RFC 9112 §6.3).
    pub(crate) fn read(fields: &Fields, chunked_length: bool) -> Result<Self, Error> {
        let mut control = Self::default();
        let mut encoded = None;
        for field in &fields.list {
            let value = fields.value_of(field);
            match field.known {
                Known::ContentLength => control.content_length(value, field)?,
                Known::TransferEncoding => {
                    // "chunked" alone: another coding would have to be taken off here.
                    if field.mended {
                        return Err(Error::Syntax("a carriage return in Transfer-Encoding"));
                    }
                    encoded = Some(value.eq_ignore_ascii_case(b"chunked") && encoded.is_none());
                }
                Known::Connection => control.connection(value),
                Known::ProxyConnection => control.close |= value.eq_ignore_ascii_case(b"close"),
                Known::Upgrade => control.upgrade = Some(*field),
                Known::Host if control.host.is_some() => return Err(Error::Syntax("more than one Host")),
                Known::Host => control.host = Some(*field),
                Known::Expect => control.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
                Known::Te => control.te = true,
                Known::KeepAlive | Known::Http2Settings | Known::Other => {}
            }
        }
        match encoded {
            Some(_) if control.length.is_some() && !chunked_length => return Err(Error::LengthAndChunked),
            Some(false) => return Err(Error::TransferEncoding),
            Some(true) => {
                control.chunked = true;
                control.length = None;
            }
            None => {}
        }
        Ok(control)
    }

    /// Digits and nothing else, once (RFC 9110 §8.6).
    fn content_length(&mut self, value: &[u8], field: &Field) -> Result<(), Error> {
        if self.length.is_some() || field.mended {
            return Err(Error::Syntax("more than one Content-Length"));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Error::Syntax("a Content-Length that is no number"));
        }
        let length = value.iter().try_fold(0_u64, |length, digit| {
            length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        self.length = Some(length.ok_or(Error::Syntax("a Content-Length that is too large"))?);
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        match value {
            b"keep-alive" => return self.keep_alive = true,
            b"close" => return self.close = true,
            _ => {}
        }
        for option in syntax::elements(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrades = true;
            } else {
                self.names = true;
            }
        }
    }

    /// Whether the client names only what it may (Envoy: "nominated headers").
    pub(crate) fn may_be_named(fields: &Fields) -> bool {
        let mut named = 0;
        let connections = fields.list.iter().filter(|f| f.known == Known::Connection);
        for option in connections.flat_map(|f| syntax::elements(fields.value_of(f))) {
            named += 1;
            let forbidden = |name: &&[u8]| option.eq_ignore_ascii_case(name);
            if named >= MAX_NAMED || option.starts_with(b":") || NOT_TO_BE_NAMED.iter().any(forbidden) {
                return false;
            }
        }
        true
    }
}

/// The fields that `Connection` names.
#[derive(Debug)]
pub(crate) struct Named(Vec<Vec<u8>>);

impl Named {
    pub(crate) fn of(fields: &Fields, control: &Control) -> Self {
        if !control.names {
            return Self(Vec::new());
        }
        let connections = fields.list.iter().filter(|f| f.known == Known::Connection);
        let named = connections.flat_map(|f| syntax::elements(fields.value_of(f)));
        Self(named.map(<[u8]>::to_ascii_lowercase).collect())
    }

    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|named| named == name)
    }
}

/// What is left of `TE`, which offers transfer codings of this connection: `trailers`, which gRPC needs, or nothing.
pub(crate) fn keep_trailers_of_te(fields: &mut Fields) {
    let wanted = |element: &[u8]| element.trim_ascii() == b"trailers";
    let Fields { text, list } = fields;
    for field in list.iter_mut().filter(|field| field.known == Known::Te) {
        let range = field.value.range();
        let mut at = range.start;
        let mut kept = range.start..range.start;
        for element in text.get(range).unwrap_or_default().split(|byte| *byte == b',') {
            if wanted(element) {
                let blanks = element.len() - element.trim_ascii_start().len();
                kept = at + blanks..at + blanks + b"trailers".len();
            }
            at += element.len() + 1;
        }
        field.value = Span::of(kept.start, kept.end);
    }
}
