//! What is asked of a verified token's claims, as matchers of the metadata that the JWT filter writes.

use crate::pb::matcher;

/// Where that filter writes.
pub(crate) const JWT: &str = "envoy.filters.http.jwt_authn";
/// There: all of a token's claims.
pub(crate) const PAYLOAD: &str = "payload";

/// The claim at this path is a text that matches, or a list with one.
pub(crate) fn claim(path: &[String], wanted: &matcher::ValueMatcher) -> matcher::MetadataMatcher {
    let whole = [&[PAYLOAD.to_owned()], path].concat();
    metadata(JWT, &whole, either(vec![one_of(wanted.clone()), wanted.clone()]))
}

pub(crate) fn metadata(
    filter: &str,
    path: &[String],
    value: matcher::ValueMatcher,
) -> matcher::MetadataMatcher {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    matcher::MetadataMatcher {
        filter: filter.into(),
        path: path
            .iter()
            .map(|name| PathSegment {
                segment: Some(Segment::Key(name.clone())),
            })
            .collect(),
        value: Some(value),
        ..Default::default()
    }
}

pub(crate) fn value(text: matcher::StringMatcher) -> matcher::ValueMatcher {
    matcher::ValueMatcher {
        match_pattern: Some(matcher::value_matcher::MatchPattern::StringMatch(text)),
    }
}

/// Whatever it is.
pub(crate) fn present() -> matcher::ValueMatcher {
    matcher::ValueMatcher {
        match_pattern: Some(matcher::value_matcher::MatchPattern::PresentMatch(true)),
    }
}

pub(crate) fn either(mut values: Vec<matcher::ValueMatcher>) -> matcher::ValueMatcher {
    if values.len() == 1
        && let Some(only) = values.pop()
    {
        return only;
    }
    matcher::ValueMatcher {
        match_pattern: Some(matcher::value_matcher::MatchPattern::OrMatch(
            matcher::OrMatcher {
                value_matchers: values,
            },
        )),
    }
}

pub(crate) fn one_of(value: matcher::ValueMatcher) -> matcher::ValueMatcher {
    use matcher::list_matcher::MatchPattern;
    matcher::ValueMatcher {
        match_pattern: Some(matcher::value_matcher::MatchPattern::ListMatch(Box::new(
            matcher::ListMatcher {
                match_pattern: Some(MatchPattern::OneOf(Box::new(value))),
            },
        ))),
    }
}
