//! Responses (RFC 9112 §4, and §6.3 for the length of their bodies).

use leno_engine::message::{ResponseHead, Version};

use crate::connection::{Control, Named, keep_trailers_of_te};
use crate::fields::{Fields, line_end};
use crate::known::Known;
use crate::{Error, Framing, Limits, syntax};

/// A response's head, and what its connection has to know of it.
#[derive(Clone, Debug)]
pub struct Response {
    pub head: ResponseHead,
    pub framing: Framing,
    /// The upstream lets the connection carry another request.
    pub persistent: bool,
}

/// What of the request decides how its response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Head,
    Upgrade,
    /// A tunnel (RFC 9110 §9.3.6): behind a good answer nothing is of HTTP.
    Connect,
    Other,
}

/// Reads a whole head, from its first line to its empty one.
pub fn parse_response(head: &[u8], asked: Asked, limits: &Limits) -> Result<Response, Error> {
    if head.len() > limits.head_bytes {
        return Err(Error::TooLarge);
    }
    let end = line_end(head, 0);
    let (version, status) = status_line(head.get(..end).unwrap_or_default())?;
    let mut fields = Fields::of(head);
    fields.parse(head, end, limits)?;
    let control = Control::read(&fields, false)?;
    if status == 101 && control.upgrade.is_none() {
        return Err(Error::Syntax("an upgrade to nothing"));
    }
    let framing = framing(status, asked, &control)?;
    let named = Named::of(&fields, &control);
    if control.te {
        keep_trailers_of_te(&mut fields);
    }
    let headers = fields.finish(|field, name| {
        let ends_here = match field.known {
            Known::Connection | Known::Upgrade if status == 101 => named.has(name),
            Known::Te => field.value.is_empty() || named.has(name),
            // What has no body has no length to tell (RFC 9110 §8.6).
            Known::ContentLength => status == 204 || named.has(name),
            known => known.is_of_connection() || named.has(name),
        };
        !ends_here
    });
    let asks_to_stay = match version {
        Version::Http10 => control.keep_alive && !control.close,
        _ => !control.close,
    };
    Ok(Response {
        persistent: asks_to_stay && framing != Framing::UntilClose,
        framing,
        head: ResponseHead {
            version,
            status,
            headers,
        },
    })
}

fn framing(status: u16, asked: Asked, control: &Control) -> Result<Framing, Error> {
    if status == 101 && asked != Asked::Upgrade {
        return Err(Error::Syntax("an upgrade that was not asked for"));
    }
    let bodiless = status < 200 || status == 204;
    if bodiless && (control.chunked || control.length.is_some_and(|length| length > 0)) {
        return Err(Error::BodyDisallowed);
    }
    let opens_tunnel = asked == Asked::Connect && (200..300).contains(&status);
    if bodiless || status == 304 || asked == Asked::Head || opens_tunnel {
        return Ok(Framing::None);
    }
    Ok(match control.length {
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None if control.chunked => Framing::Chunked,
        None => Framing::UntilClose,
    })
}

/// The reason is read over (§4: "SHOULD ignore the reason-phrase content").
fn status_line(line: &[u8]) -> Result<(Version, u16), Error> {
    let broken = Error::Syntax("no status line");
    let (version, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, rest @ ..]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            let http10 = (*major, *minor) < (b'1', b'1');
            (if http10 { Version::Http10 } else { Version::Http11 }, rest)
        }
        _ => return Err(broken),
    };
    let blanks = rest.iter().take_while(|byte| syntax::is_blank(**byte)).count();
    let rest = rest.get(blanks..).unwrap_or_default();
    let (status, after) = match rest {
        [a, b, c, after @ ..] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => (
            [a, b, c]
                .iter()
                .fold(0, |n, digit| n * 10 + u16::from(**digit - b'0')),
            after,
        ),
        _ => return Err(broken),
    };
    let reads_over = after
        .trim_ascii_end()
        .split(|byte| *byte == b'\r')
        .all(syntax::is_value);
    if blanks == 0
        || status < 100
        || !reads_over
        || after.first().is_some_and(|byte| !syntax::is_blank(*byte))
    {
        return Err(broken);
    }
    Ok((version, status))
}
