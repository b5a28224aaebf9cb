//! The fields that are of one connection only (RFC 9110 §7.6.1) and the length of a body (RFC 9112 §6), found in one
//! pass over the fields.

use crate::fields::{Field, Fields};
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
    /// `Connection` names fields beside its own words.
    pub(crate) names: bool,
}

impl Control {
    pub(crate) fn read(fields: &Fields) -> Result<Self, Error> {
        let mut control = Self::default();
        let mut encoded = None;
        for field in &fields.list {
            let value = fields.value_of(field);
            match fields.name(field) {
                b"content-length" => control.content_length(value, field)?,
                b"transfer-encoding" => {
                    // "chunked" alone: another coding would have to be taken off here.
                    if field.mended {
                        return Err(Error::Syntax("a carriage return in Transfer-Encoding"));
                    }
                    encoded = Some(value.eq_ignore_ascii_case(b"chunked") && encoded.is_none());
                }
                b"connection" => control.connection(value),
                b"proxy-connection" => control.close |= value.eq_ignore_ascii_case(b"close"),
                b"upgrade" => control.upgrade = Some(field.clone()),
                b"host" if control.host.is_some() => return Err(Error::Syntax("more than one Host")),
                b"host" => control.host = Some(field.clone()),
                b"expect" => control.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
                _ => {}
            }
        }
        match encoded {
            Some(_) if control.length.is_some() => return Err(Error::LengthAndChunked),
            Some(false) => return Err(Error::TransferEncoding),
            Some(true) => control.chunked = true,
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
        let connections = fields.list.iter().filter(|f| fields.name(f) == b"connection");
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
        let connections = fields.list.iter().filter(|f| fields.name(f) == b"connection");
        let named = connections.flat_map(|f| syntax::elements(fields.value_of(f)));
        Self(named.map(<[u8]>::to_ascii_lowercase).collect())
    }

    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|named| named == name)
    }
}

/// Fields that end here whoever names them.
pub(crate) fn is_of_connection(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"upgrade"
            | b"transfer-encoding"
            | b"keep-alive"
            | b"proxy-connection"
            | b"http2-settings"
    )
}

/// What is left of `TE`, which offers transfer codings of this connection: `trailers`, which gRPC needs, or nothing.
pub(crate) fn keep_trailers_of_te(fields: &mut Fields) {
    let wanted = |element: &[u8]| element.trim_ascii() == b"trailers";
    for i in 0..fields.list.len() {
        let Some(field) = fields.list.get(i).cloned() else {
            return;
        };
        if fields.name(&field) != b"te" {
            continue;
        }
        let value = fields.value_of(&field);
        let mut at = field.value.start;
        let mut kept = field.value.start..field.value.start;
        for element in value.split(|byte| *byte == b',') {
            if wanted(element) {
                let blanks = element.len() - element.trim_ascii_start().len();
                kept = at + blanks..at + blanks + b"trailers".len();
            }
            at += element.len() + 1;
        }
        if let Some(field) = fields.list.get_mut(i) {
            field.value = kept;
        }
    }
}
