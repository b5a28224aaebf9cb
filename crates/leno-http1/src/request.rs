//! Requests (RFC 9112 §3).

use std::ops::Range;

use bytes::Bytes;
use leno_engine::message::{RequestHead, Version};

use crate::connection::{Control, Named, keep_trailers_of_te};
use crate::fields::{Fields, line_end};
use crate::known::Known;
use crate::target::{self, Target};
use crate::{Error, Framing, Settings, syntax};

/// A request's head, and what its connection has to know of it.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: RequestHead,
    pub framing: Framing,
    /// The client lets the connection serve another request.
    pub persistent: bool,
    /// `Expect: 100-continue`, which ends here.
    pub expects_continue: bool,
}

/// The methods that Envoy knows without `allow_custom_methods`.
const METHODS: [&[u8]; 34] = [
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"MSEARCH",
    b"NOTIFY",
    b"OPTIONS",
    b"PATCH",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"PUT",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"TRACE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

/// The three parts of a first line.
struct FirstLine {
    method: Range<usize>,
    target: Range<usize>,
    version: Range<usize>,
}

/// Reads a whole head, from its first line to its empty one. `secure`: the connection is TLS's.
pub fn parse_request(head: &[u8], secure: bool, settings: &Settings) -> Result<Request, Error> {
    if head.len() > settings.limits.head_bytes {
        return Err(Error::TooLarge);
    }
    let end = line_end(head, 0);
    let line = first_line(head.get(..end).unwrap_or_default())?;
    let part = |range: &Range<usize>| head.get(range.clone()).unwrap_or_default();
    let method = part(&line.method);
    if !is_method(method, settings.any_method) {
        return Err(Error::Syntax("an unknown method"));
    }
    let connect = method == b"CONNECT";
    let target = target::parse(part(&line.target), method)?;
    let version = version(part(&line.version))?;
    let mut fields = Fields::of(head);
    fields.parse(head, end, &settings.limits)?;
    if version != Version::Http11 && !settings.http10 {
        return Err(Error::Version);
    }
    let control = Control::read(&fields, settings.chunked_length)?;
    let upgrade = upgrade(&fields, &control);
    if control.names && upgrade.is_none() && !Control::may_be_named(&fields) {
        return Err(Error::ConnectionHeader);
    }
    if connect && control.length.is_some_and(|length| length > 0) {
        return Err(Error::BodyDisallowed);
    }
    let named = Named::of(&fields, &control);
    if control.te {
        keep_trailers_of_te(&mut fields);
    }
    let target = target.shifted(line.target.start);
    let authority = match authority(&target, &fields, &control, &named) {
        Err(Error::NoHost) if settings.hostless_http10 && version == Version::Http10 => 0..0,
        authority => authority?,
    };
    let (text, headers) = fields.finish_with_text(|field, name| {
        let ends_here = match field.known {
            Known::Te => field.value.is_empty(),
            Known::Host => true,
            Known::ContentLength => control.chunked || named.has(name),
            Known::Expect => control.expects_continue || named.has(name),
            known => known.is_of_connection() || named.has(name),
        };
        !ends_here
    });
    Ok(Request {
        framing: framing(&control, upgrade.is_some()),
        persistent: match version {
            Version::Http10 => control.keep_alive && !control.close,
            _ => !control.close,
        },
        expects_continue: control.expects_continue && version == Version::Http11,
        head: RequestHead {
            version,
            method: known_method(text.slice(line.method)),
            scheme: Bytes::from_static(match target.https.unwrap_or(secure) {
                true => b"https",
                false => b"http",
            }),
            authority: text.slice(authority),
            path: match target.path {
                Some(path) => text.slice(path),
                None => Bytes::from_static(if connect { b"" } else { b"/" }),
            },
            headers,
            upgrade: upgrade.map(|range| text.slice(range)),
        },
    })
}

/// Whom the request is for: the target has precedence over `Host` (RFC 9112 §3.2.2).
fn authority(
    target: &Target,
    fields: &Fields,
    control: &Control,
    named: &Named,
) -> Result<Range<usize>, Error> {
    // A host that the client itself takes away is none.
    let host = control.host.as_ref().filter(|_| !named.has(b"host"));
    let authority = match (&target.authority, host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => host.value.range(),
        (None, None) => return Err(Error::NoHost),
    };
    match fields.text.get(authority.clone()) {
        Some(text) if syntax::is_authority(text) => Ok(authority),
        _ => Err(Error::InvalidAuthority),
    }
}

/// An upgrade has no framing of its own: what follows its head is the new protocol's, unless there is a length.
fn framing(control: &Control, upgrades: bool) -> Framing {
    match control.length {
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None if control.chunked && !upgrades => Framing::Chunked,
        None => Framing::None,
    }
}

/// `Upgrade`, when `Connection` asks for it. Upgrading to h2c this way is obsolete (RFC 9113 §3.1) and is ignored.
fn upgrade(fields: &Fields, control: &Control) -> Option<Range<usize>> {
    let field = control.upgrade.as_ref().filter(|_| control.upgrades)?;
    let wanted = fields.value_of(field);
    (!wanted.is_empty() && !wanted.eq_ignore_ascii_case(b"h2c")).then(|| field.value.range())
}

/// Parts between blanks, of which there may be several; what follows the second is the version.
fn first_line(line: &[u8]) -> Result<FirstLine, Error> {
    if line.first().is_none_or(|byte| syntax::is_blank(*byte)) {
        return Err(Error::Syntax("a first line that begins with a blank"));
    }
    let blank = |from: usize| until(line, from, syntax::is_blank);
    let text = |from: usize| until(line, from, |byte| !syntax::is_blank(byte));
    let method = 0..blank(0);
    let start = text(method.end);
    let target = start..blank(start);
    let start = text(target.end);
    let tail = line.get(start..).unwrap_or_default();
    let end = tail
        .iter()
        .rposition(|byte| !syntax::is_blank(*byte))
        .map_or(0, |at| at + 1);
    if method.is_empty() || target.is_empty() {
        return Err(Error::Syntax("a first line without a target"));
    }
    Ok(FirstLine {
        method,
        target,
        version: start..start + end,
    })
}

fn until(line: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let rest = line.get(from..).unwrap_or_default();
    rest.iter()
        .position(|byte| wanted(*byte))
        .map_or(line.len(), |at| from + at)
}

/// As Envoy: whatever is not 1.1 is taken for 1.0; what does not say is HTTP/0.9, which has no Host.
fn version(text: &[u8]) -> Result<Version, Error> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"" => Err(Error::NoHost),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Ok(Version::Http10)
        }
        _ => Err(Error::Syntax("no version of HTTP")),
    }
}

/// Whether a request may begin with this byte: known before its line is.
pub fn may_begin_request(byte: u8, settings: &Settings) -> bool {
    byte.is_ascii_uppercase() && METHODS.iter().any(|method| method.first() == Some(&byte))
        || settings.any_method && syntax::is_token(&[byte])
}

fn is_method(method: &[u8], any: bool) -> bool {
    matches!(method, b"GET" | b"POST")
        || METHODS.binary_search(&method).is_ok()
        || any && syntax::is_token(method)
}

/// The commonest need no reference to the head.
fn known_method(method: Bytes) -> Bytes {
    match method.as_ref() {
        b"GET" => Bytes::from_static(b"GET"),
        b"POST" => Bytes::from_static(b"POST"),
        _ => method,
    }
}
