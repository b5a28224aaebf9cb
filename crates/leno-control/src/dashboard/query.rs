//! The part of a URL after the question mark.

use std::collections::HashMap;

/// Values by name; of several of the same name the last.
#[derive(Debug, Default)]
pub(super) struct Query(HashMap<String, String>);

impl Query {
    pub(super) fn new(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (decoded(name), decoded(value)))
                .collect(),
        )
    }

    /// Empty: it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// As URLSearchParams writes: `+` for a space, percent signs before two hexadecimal digits.
fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut rest = bytes.clone();
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (byte, digit(rest.next()), digit(rest.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                bytes = rest;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_writes_is_read_and_nonsense_is_harmless() {
        let query = Query::new("a=x%2Fy+z&b=%C3%A4&c=%zz%&d&=&a=last");
        assert_eq!(
            (query.get("a"), query.get("b"), query.get("c")),
            ("last", "ä", "%zz%")
        );
        assert_eq!((query.get("d"), query.get("e")), ("", ""));
        assert_eq!(Query::new("a=x%2Fy+z").get("a"), "x/y z");
    }
}
