//! Evaluation of the matchers.

mod metadata;
mod node;
pub mod tree;

use std::borrow::Cow;

use regex::bytes::Regex;

use crate::compile::matcher::{
    CookieMatcher, HeaderMatcher, HeaderTest, Pattern, QueryMatcher, QueryTest, StringMatcher,
};
use crate::message::{Decimal, Headers, RequestHead, ResponseHead};

impl StringMatcher {
    pub fn matches(&self, value: &[u8]) -> bool {
        let fold = self.ignore_case;
        match &self.pattern {
            Pattern::Exact(text) => equal(value, text.as_bytes(), fold),
            Pattern::Prefix(text) => starts_with(value, text.as_bytes(), fold),
            Pattern::Suffix(text) => {
                let start = value.len().checked_sub(text.len());
                start.is_some_and(|start| equal(&value[start..], text.as_bytes(), fold))
            }
            Pattern::Contains(text) => contains(value, text.as_bytes(), fold),
            Pattern::Regex(regex) => regex.is_match(value) || matches_beyond_text(regex, value),
            Pattern::Present => true,
        }
    }
}

impl HeaderMatcher {
    /// Of a header that is there, whatever it says.
    pub fn present(name: &str) -> Self {
        Self {
            name: name.to_ascii_lowercase(),
            test: HeaderTest::Present(true),
            invert: false,
            missing_as_empty: false,
        }
    }

    pub fn matches_request(&self, head: &RequestHead) -> bool {
        match is_field(&self.name) {
            true => self.holds(head.field(&self.name)),
            false => self.matches_headers(&head.headers),
        }
    }

    pub fn matches_response(&self, head: &ResponseHead) -> bool {
        match self.name.as_str() {
            ":status" => self.holds([Decimal::from(u64::from(head.status)).as_ref()]),
            _ => self.matches_headers(&head.headers),
        }
    }

    pub fn matches_headers(&self, headers: &Headers) -> bool {
        self.holds(headers.get_all(&self.name))
    }

    /// Any of the values, each by itself (Envoy since 1.39: `match_headers_individually`), or with `invert` none.
    fn holds<'h>(&self, values: impl IntoIterator<Item = &'h [u8]>) -> bool {
        let mut values = values.into_iter().peekable();
        if let HeaderTest::Present(wanted) = self.test {
            let there = values.peek().is_some() || self.missing_as_empty;
            return (there == wanted) != self.invert;
        }
        if values.peek().is_none() {
            // Presence is the only test that a missing header can pass; the others fail, inverted or not.
            return self.missing_as_empty && (self.passes(b"") != self.invert);
        }
        values.any(|value| self.passes(value)) != self.invert
    }

    fn passes(&self, value: &[u8]) -> bool {
        match &self.test {
            HeaderTest::Present(wanted) => *wanted,
            HeaderTest::Value(matcher) => matcher.matches(value),
            HeaderTest::Range { start, end } => {
                let text = std::str::from_utf8(value).ok();
                let number: Option<i64> = text.and_then(|text| text.parse().ok());
                number.is_some_and(|n| (*start..*end).contains(&n))
            }
        }
    }
}

impl CookieMatcher {
    pub fn matches(&self, head: &RequestHead) -> bool {
        let value = head.cookie(&self.name);
        value.is_some_and(|value| self.value.matches(value)) != self.invert
    }
}

impl QueryMatcher {
    pub fn matches(&self, query: &[u8]) -> bool {
        self.takes(query_parameter(query, self.name.as_bytes()))
    }

    /// As rate limits see a query: decoded.
    pub fn matches_decoded(&self, query: &[u8]) -> bool {
        self.takes(decoded_parameter(query, self.name.as_bytes()).as_deref())
    }

    fn takes(&self, value: Option<&[u8]>) -> bool {
        match &self.test {
            QueryTest::Present(wanted) => value.is_some() == *wanted,
            QueryTest::Value(matcher) => value.is_some_and(|value| matcher.matches(value)),
        }
    }
}

/// The first value of a query parameter, as it is written (Envoy's routes do not decode either).
pub fn query_parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    parameters(query).find_map(|(key, value)| (key == name).then_some(value))
}

/// The first value of a query parameter; `%XX` in it and in its name is what it stands for.
pub fn decoded_parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<Cow<'q, [u8]>> {
    parameters(query).find_map(|(key, value)| (*decoded(key) == *name).then(|| decoded(value)))
}

/// Names and values, up to a fragment.
pub(crate) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let end = query.iter().position(|b| *b == b'#').unwrap_or(query.len());
    query[..end].split(|b| *b == b'&').map(|pair| {
        let cut = pair.iter().position(|b| *b == b'=');
        match cut {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        }
    })
}

pub(crate) fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let pair = match after {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}

/// A value may hold bytes that are no UTF-8 (RFC 9110 §5.5: obs-text), and expressions know characters only. Each piece of
/// such bytes counts as one character, so that nobody gets past `.*` by a byte that it cannot name.
fn matches_beyond_text(regex: &Regex, value: &[u8]) -> bool {
    std::str::from_utf8(value).is_err() && regex.is_match(String::from_utf8_lossy(value).as_bytes())
}

pub(crate) fn starts_with(value: &[u8], prefix: &[u8], ignore_case: bool) -> bool {
    value.len() >= prefix.len() && equal(&value[..prefix.len()], prefix, ignore_case)
}

pub(crate) fn equal(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case {
        a.eq_ignore_ascii_case(b)
    } else {
        a == b
    }
}

fn contains(value: &[u8], part: &[u8], ignore_case: bool) -> bool {
    part.is_empty()
        || value
            .windows(part.len())
            .any(|window| equal(window, part, ignore_case))
}

fn is_field(name: &str) -> bool {
    name.starts_with(':') || name == "host"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_do_not_get_past_an_expression() {
        let matches = |pattern: &str, value: &[u8]| {
            let matcher = StringMatcher {
                pattern: Pattern::Regex(Regex::new(&format!("^(?:{pattern})$")).unwrap()),
                ignore_case: false,
            };
            matcher.matches(value)
        };
        for value in [&b"\xff"[..], b"\xffadmin", b"ad\xc3", b"a\xe9b"] {
            assert!(matches(".+", value), "{value:?}");
        }
        assert!(matches(".*admin.*", b"\xff\xfeadmin\xff"));
        assert!(matches("/admin/[^/]+", b"/admin/\x80"));
        assert!(!matches("admin", b"admin\xff"));
        assert!(!matches("[a-z]+", b"admin\xff"));
    }
}
