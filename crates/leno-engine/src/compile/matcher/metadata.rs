//! `envoy.type.matcher.v3.MetadataMatcher` and its kin: what filters have noted of a request.

use super::{StringMatcher, string};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::{matcher as pb, types};

#[derive(Clone, Debug, PartialEq)]
pub struct MetadataMatcher {
    pub namespace: String,
    pub path: Vec<String>,
    pub value: ValueMatcher,
    pub invert: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatcher {
    Null,
    Number(f64),
    /// Half open.
    Range {
        start: f64,
        end: f64,
    },
    Text(StringMatcher),
    Bool(bool),
    /// False: nothing passes, as in Envoy.
    Present(bool),
    /// One of a list's values.
    OneOf(Box<ValueMatcher>),
    Or(Vec<ValueMatcher>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilterStateMatcher {
    pub key: String,
    pub value: StringMatcher,
}

pub(crate) fn metadata(at: &At<'_>, message: &pb::MetadataMatcher) -> Result<MetadataMatcher, Rejection> {
    let pb::MetadataMatcher {
        filter,
        path,
        value: matcher,
        invert,
    } = message;
    at.not_empty("filter", filter)?;
    if path.is_empty() {
        return Err(at.field("path").reject("required"));
    }
    Ok(MetadataMatcher {
        namespace: filter.clone(),
        path: at.each("path", path, |at, segment| {
            use pb::metadata_matcher::{PathSegment, path_segment::Segment};
            let PathSegment { segment } = segment;
            let Segment::Key(key) = at.required("segment", segment)?;
            at.not_empty("key", key)?;
            Ok(key.clone())
        })?,
        value: value(&at.field("value"), at.required("value", matcher)?)?,
        invert: *invert,
    })
}

pub(crate) fn value(at: &At<'_>, message: &pb::ValueMatcher) -> Result<ValueMatcher, Rejection> {
    use pb::value_matcher::{MatchPattern as P, NullMatch};
    let pb::ValueMatcher { match_pattern } = message;
    Ok(match at.required("match_pattern", match_pattern)? {
        P::NullMatch(NullMatch {}) => ValueMatcher::Null,
        P::DoubleMatch(number) => self::number(&at.field("double_match"), number)?,
        P::StringMatch(text) => ValueMatcher::Text(string(&at.field("string_match"), text)?),
        P::BoolMatch(wanted) => ValueMatcher::Bool(*wanted),
        P::PresentMatch(wanted) => ValueMatcher::Present(*wanted),
        P::ListMatch(list) => {
            use pb::list_matcher::MatchPattern;
            let pb::ListMatcher { match_pattern } = list.as_ref();
            let at = at.field("list_match");
            let MatchPattern::OneOf(one) = at.required("match_pattern", match_pattern)?;
            ValueMatcher::OneOf(Box::new(value(&at.field("one_of"), one)?))
        }
        P::OrMatch(pb::OrMatcher { value_matchers }) => {
            let at = at.field("or_match");
            if value_matchers.len() < 2 {
                return Err(at.field("value_matchers").reject("two or more are needed"));
            }
            ValueMatcher::Or(at.each("value_matchers", value_matchers, value)?)
        }
    })
}

fn number(at: &At<'_>, message: &pb::DoubleMatcher) -> Result<ValueMatcher, Rejection> {
    use pb::double_matcher::MatchPattern;
    let pb::DoubleMatcher { match_pattern } = message;
    Ok(match at.required("match_pattern", match_pattern)? {
        MatchPattern::Exact(number) => ValueMatcher::Number(*number),
        MatchPattern::Range(types::DoubleRange { start, end }) => ValueMatcher::Range {
            start: *start,
            end: *end,
        },
    })
}

pub(crate) fn filter_state(
    at: &At<'_>,
    message: &pb::FilterStateMatcher,
) -> Result<FilterStateMatcher, Rejection> {
    use pb::filter_state_matcher::Matcher;
    let pb::FilterStateMatcher { key, matcher } = message;
    at.not_empty("key", key)?;
    match at.required("matcher", matcher)? {
        Matcher::StringMatch(text) => Ok(FilterStateMatcher {
            key: key.clone(),
            value: string(&at.field("string_match"), text)?,
        }),
        Matcher::AddressMatch(_) => Err(at.field("address_match").reject("not supported")),
    }
}
