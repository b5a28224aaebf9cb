//! Evaluation of the matchers.

use std::borrow::Cow;

use crate::compile::matcher::{HeaderMatcher, HeaderTest, Pattern, QueryMatcher, StringMatcher};
use crate::message::{Headers, RequestHead};

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
            Pattern::Regex(regex) => regex.is_match(value),
            Pattern::Present => true,
        }
    }
}

impl HeaderMatcher {
    pub fn matches_request(&self, head: &RequestHead) -> bool {
        self.holds(
            || {
                head.field(&self.name)
                    .map(Cow::Borrowed)
                    .filter(|_| is_field(&self.name))
            },
            &head.headers,
        )
    }

    pub fn matches_headers(&self, headers: &Headers) -> bool {
        self.holds(|| None, headers)
    }

    fn holds<'h>(&self, field: impl FnOnce() -> Option<Cow<'h, [u8]>>, headers: &'h Headers) -> bool {
        let value = field().or_else(|| joined(headers, &self.name));
        let value = match value {
            None if self.missing_as_empty => Some(Cow::Borrowed(&b""[..])),
            value => value,
        };
        match (&self.test, value) {
            // Presence is the only test that a missing header can pass; the others fail, inverted or not.
            (HeaderTest::Present(wanted), value) => (value.is_some() == *wanted) != self.invert,
            (_, None) => false,
            (HeaderTest::Value(matcher), Some(value)) => matcher.matches(&value) != self.invert,
            (HeaderTest::Range { start, end }, Some(value)) => {
                let number: Option<i64> = std::str::from_utf8(&value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                number.is_some_and(|n| (*start..*end).contains(&n)) != self.invert
            }
        }
    }
}

impl QueryMatcher {
    pub fn matches(&self, query: &[u8]) -> bool {
        let Some(value) = query_parameter(query, self.name.as_bytes()) else {
            return false;
        };
        self.value.as_ref().is_none_or(|matcher| matcher.matches(value))
    }
}

/// The first value of a query parameter, as it is written (Envoy does not decode either).
pub fn query_parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    let end = query.iter().position(|b| *b == b'#').unwrap_or(query.len());
    query[..end].split(|b| *b == b'&').find_map(|pair| {
        let cut = pair.iter().position(|b| *b == b'=');
        let (key, value) = match cut {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        (key == name).then_some(value)
    })
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

/// All values of a header, with commas between them, as Envoy's matchers see repeated headers.
pub(crate) fn joined<'h>(headers: &'h Headers, name: &str) -> Option<Cow<'h, [u8]>> {
    let mut found: Option<Cow<'h, [u8]>> = None;
    for (_, value) in headers.iter().filter(|(key, _)| *key == name.as_bytes()) {
        match &mut found {
            None => found = Some(Cow::Borrowed(value)),
            Some(so_far) => {
                let so_far = so_far.to_mut();
                so_far.push(b',');
                so_far.extend_from_slice(value);
            }
        }
    }
    found
}
