//! Which scope a request is of.

use std::sync::Arc;

use crate::compile::http::{FragmentBuilder, FragmentPart, ScopeKey, ScopedRoutes, Scopes};
use crate::compile::route::RouteTable;
use crate::message::{Headers, RequestHead};

impl ScopedRoutes {
    /// None: a header is missing, or has no such part, so that the request is of no scope.
    pub fn key(&self, head: &RequestHead) -> Option<ScopeKey> {
        let fragments = self.fragments.iter();
        let fragments = fragments.map(|fragment| fragment.of(&head.headers));
        fragments.collect::<Option<Vec<_>>>().map(ScopeKey)
    }

    /// The routes that stand in the listener itself.
    pub fn inline(&self, key: &ScopeKey) -> Option<&Arc<RouteTable>> {
        match &self.scopes {
            Scopes::Inline(tables) => tables.get(key),
            Scopes::Discovered { .. } => None,
        }
    }
}

impl FragmentBuilder {
    fn of(&self, headers: &Headers) -> Option<Vec<u8>> {
        let value = headers.get(&self.header)?;
        let mut elements = Elements {
            rest: Some(value),
            separator: &self.separator,
        };
        match &self.part {
            FragmentPart::Index(index) => elements.nth(*index).map(<[u8]>::to_vec),
            FragmentPart::Element { key, separator } => elements.find_map(|element| {
                let (name, value) = cut(element, separator).unwrap_or((element, &[]));
                (name == key.as_slice()).then(|| value.to_vec())
            }),
        }
    }
}

/// What stands between separators; without a separator there is one.
struct Elements<'v> {
    rest: Option<&'v [u8]>,
    separator: &'v [u8],
}

impl<'v> Iterator for Elements<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let rest = self.rest.take()?;
        match cut(rest, self.separator) {
            Some((element, rest)) => {
                self.rest = Some(rest);
                Some(element)
            }
            None => Some(rest),
        }
    }
}

/// At the first separator.
fn cut<'v>(value: &'v [u8], separator: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    if separator.is_empty() {
        return None;
    }
    let at = value
        .windows(separator.len())
        .position(|part| part == separator)?;
    Some((&value[..at], &value[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(separator: &str, part: FragmentPart) -> FragmentBuilder {
        FragmentBuilder {
            header: "x-scope".into(),
            separator: separator.into(),
            part,
        }
    }

    fn of(builder: &FragmentBuilder, value: &'static str) -> Option<String> {
        let mut headers = Headers::default();
        headers.append("x-scope", value);
        builder
            .of(&headers)
            .map(|found| String::from_utf8(found).unwrap())
    }

    #[test]
    fn a_fragment_is_an_element_by_its_place_or_by_its_key() {
        let third = builder(", ", FragmentPart::Index(2));
        assert_eq!(of(&third, "a, b, c, d").as_deref(), Some("c"));
        assert_eq!(of(&third, "a, b"), None);
        assert_eq!(
            of(&builder("", FragmentPart::Index(0)), "a;b").as_deref(),
            Some("a;b")
        );
        let element = FragmentPart::Element {
            key: b"k".to_vec(),
            separator: b"=".to_vec(),
        };
        let keyed = builder(";", element);
        assert_eq!(of(&keyed, "j=1;k=2=3;k=4").as_deref(), Some("2=3"));
        assert_eq!(of(&keyed, "k").as_deref(), Some(""));
        assert_eq!(of(&keyed, "kk=1; k=2"), None);
        assert_eq!(keyed.of(&Headers::default()), None);
    }
}
