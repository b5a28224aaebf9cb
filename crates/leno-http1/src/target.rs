//! Request targets (RFC 9112 §3.2): origin, absolute, authority and asterisk form.

use std::ops::Range;

use crate::{Error, syntax};

/// What a target says, as ranges of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Absolute and authority form only; it has precedence over `Host` (§3.2.2).
    pub(crate) authority: Option<Range<usize>>,
    /// None: `/`, or with CONNECT nothing.
    pub(crate) path: Option<Range<usize>>,
    pub(crate) https: Option<bool>,
}

// === impl Target ===

impl Target {
    /// As ranges of the head in which the target begins here.
    pub(crate) fn shifted(self, start: usize) -> Self {
        let shift = |range: Range<usize>| range.start + start..range.end + start;
        Self {
            authority: self.authority.map(shift),
            path: self.path.map(shift),
            https: self.https,
        }
    }
}

pub(crate) fn parse(target: &[u8], method: &[u8]) -> Result<Target, Error> {
    match (target, method) {
        (_, b"CONNECT") => authority_form(target),
        (b"*", b"OPTIONS") | ([b'/', ..], _) => origin_form(target),
        ([b'*', ..], _) => Err(Error::InvalidUrl),
        _ => absolute_form(target),
    }
}

fn origin_form(target: &[u8]) -> Result<Target, Error> {
    if !syntax::is_path(target) {
        return Err(bad_character(target));
    }
    Ok(Target {
        path: Some(0..target.len()),
        ..Target::default()
    })
}

/// Bytes that no line may have are told from those that no target may have.
fn bad_character(target: &[u8]) -> Error {
    match target.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
        true => Error::InvalidCharacters,
        false => Error::Syntax("a request target with a character that it may not have"),
    }
}

fn authority_form(target: &[u8]) -> Result<Target, Error> {
    if !syntax::is_authority(target) || !has_port(target) {
        return Err(Error::InvalidUrl);
    }
    Ok(Target {
        authority: Some(0..target.len()),
        ..Target::default()
    })
}

/// A host and, after the last colon, a port.
fn has_port(authority: &[u8]) -> bool {
    let Some(colon) = authority.iter().rposition(|byte| *byte == b':') else {
        return false;
    };
    colon > 0 && is_port(authority.get(colon + 1..).unwrap_or_default())
}

fn is_port(digits: &[u8]) -> bool {
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse::<u16>().ok());
    number.is_some() && digits.iter().all(u8::is_ascii_digit)
}

fn absolute_form(target: &[u8]) -> Result<Target, Error> {
    let no_target = Error::Syntax("a request target of no known form");
    let colon = target.iter().position(|byte| *byte == b':').ok_or(no_target)?;
    let (scheme, rest) = target.split_at(colon);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme || !rest.starts_with(b"://") {
        return Err(no_target);
    }
    let start = colon + 3;
    let rest = target.get(start..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !syntax::is_authority(authority) || !syntax::is_path(path) {
        return Err(bad_character(target));
    }
    let https = scheme.eq_ignore_ascii_case(b"https");
    if !https && !scheme.eq_ignore_ascii_case(b"http") {
        return Err(Error::InvalidScheme);
    }
    // The user's name and password are not for the upstream (RFC 9110 §4.2.4).
    let host = authority
        .iter()
        .rposition(|byte| *byte == b'@')
        .map_or(0, |at| at + 1);
    let named = authority.get(host..).unwrap_or_default();
    if !is_host_and_port(named) {
        return Err(Error::InvalidUrl);
    }
    Ok(Target {
        authority: Some(start + host..start + end),
        path: (!path.is_empty()).then_some(start + end..target.len()),
        https: Some(https),
    })
}

fn is_host_and_port(authority: &[u8]) -> bool {
    let (host, port) = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if authority.last() != Some(&b']') => {
            let (host, port) = authority.split_at(colon);
            (host, port.get(1..).unwrap_or_default())
        }
        _ => (authority, &b"0"[..]),
    };
    !host.is_empty() && is_port(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'t>(target: &'t str, method: &str) -> Result<(Option<&'t str>, Option<&'t str>), Error> {
        let parsed = parse(target.as_bytes(), method.as_bytes())?;
        let of = |range: Option<Range<usize>>| range.and_then(|range| target.get(range));
        Ok((of(parsed.authority), of(parsed.path)))
    }

    #[test]
    fn targets_of_each_form_are_read() {
        for (target, authority, path) in [
            ("/a?b", None, Some("/a?b")),
            ("http://b", Some("b"), None),
            ("http://b?q", Some("b"), Some("?q")),
            ("HTTPS://u:p@b:1/x", Some("b:1"), Some("/x")),
            ("http://[::1]:80/x", Some("[::1]:80"), Some("/x")),
        ] {
            assert_eq!(text(target, "GET"), Ok((authority, path)), "{target}");
        }
        assert_eq!(text("a:1", "CONNECT"), Ok((Some("a:1"), None)));
        assert_eq!(text("*", "OPTIONS"), Ok((None, Some("*"))));
        assert_eq!(text("*", "GET"), Err(Error::InvalidUrl));
    }

    #[test]
    fn targets_of_no_form_are_refused() {
        for (target, method, error) in [
            ("ftp://b/", "GET", Error::InvalidScheme),
            ("http://:80/", "GET", Error::InvalidUrl),
            ("http:///x", "GET", Error::InvalidUrl),
            ("http://b:99999/x", "GET", Error::InvalidUrl),
            ("a", "CONNECT", Error::InvalidUrl),
            ("a:+1", "CONNECT", Error::InvalidUrl),
            ("/", "CONNECT", Error::InvalidUrl),
            ("/\u{7f}", "GET", Error::InvalidCharacters),
        ] {
            assert_eq!(text(target, method), Err(error), "{target}");
        }
        assert!(matches!(text("foo", "GET"), Err(Error::Syntax(_))));
        assert!(matches!(text("/\u{e9}", "GET"), Err(Error::Syntax(_))));
    }
}
