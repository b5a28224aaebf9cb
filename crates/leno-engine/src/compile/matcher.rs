//! Matchers that routes, policies and TLS share.

pub mod input;
pub mod metadata;
pub mod node;
pub mod tree;

use regex::bytes::{Regex, RegexBuilder};

use super::Rejection;
use super::at::{At, silent};
use super::pb::{matcher as pb, route, types};

#[derive(Clone, Debug)]
pub struct StringMatcher {
    pub pattern: Pattern,
    pub ignore_case: bool,
}

#[derive(Clone, Debug)]
pub enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// Anchored at both ends (RE2 full match), size limited.
    Regex(Regex),
    Present,
}

impl PartialEq for StringMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.ignore_case == other.ignore_case && self.pattern == other.pattern
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::Suffix(a), Self::Suffix(b))
            | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present, Self::Present) => true,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum PathMatcher {
    Prefix(String),
    Exact(String),
    /// By whole path elements.
    SeparatedPrefix(String),
    Regex(StringMatcher),
    /// A URI template, as an expression with its variables for groups.
    Template(StringMatcher),
    /// `connect_matcher`
    Connect,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatcher {
    /// Lower case; `:method`, `:authority`, `:path`, `:scheme` name the request head's fields.
    pub name: String,
    pub test: HeaderTest,
    pub invert: bool,
    pub missing_as_empty: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HeaderTest {
    Value(StringMatcher),
    Present(bool),
    /// Half open.
    Range {
        start: i64,
        end: i64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatcher {
    pub name: String,
    pub test: QueryTest,
}

#[derive(Clone, Debug, PartialEq)]
pub enum QueryTest {
    Present(bool),
    Value(StringMatcher),
}

#[derive(Clone, Debug, PartialEq)]
pub struct CookieMatcher {
    pub name: String,
    pub value: StringMatcher,
    pub invert: bool,
}

#[derive(Clone, Debug)]
pub struct RegexRewrite {
    pub pattern: Regex,
    /// RE2 substitution with `\1`, already in the regex crate's form.
    pub substitution: Vec<u8>,
}

impl PartialEq for RegexRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.substitution == other.substitution
    }
}

/// Bytes a compiled expression may take.
const REGEX_LIMIT: usize = 1 << 20;

/// An expression that must match the whole, as Envoy's RE2 does.
pub(crate) fn regex(at: &At<'_>, message: &pb::RegexMatcher) -> Result<Regex, Rejection> {
    let pb::RegexMatcher { regex, engine_type } = message;
    silent!("the engine is always RE2's syntax"; engine_type);
    whole(at, regex)
}

fn whole(at: &At<'_>, regex: &str) -> Result<Regex, Rejection> {
    // By itself first: `a)|(b` is no expression, and must not become one between our own parentheses.
    build(at, regex, regex)?;
    build(at, &format!("^(?:{regex})$"), regex)
}

/// The expression of a URI template.
pub(crate) fn template_regex(at: &At<'_>, pattern: &str) -> Result<Regex, Rejection> {
    build(at, pattern, pattern)
}

fn build(at: &At<'_>, pattern: &str, said: &str) -> Result<Regex, Rejection> {
    if said.is_empty() {
        return Err(at.field("regex").reject("required"));
    }
    // RE2 as Envoy sets it up: UTF-8 patterns, `.` matches a newline too (a path or header has none).
    let built = RegexBuilder::new(pattern)
        .size_limit(REGEX_LIMIT)
        .dfa_size_limit(REGEX_LIMIT)
        .build();
    built.map_err(|error| at.field("regex").reject(error.to_string()))
}

pub(crate) fn string(at: &At<'_>, message: &pb::StringMatcher) -> Result<StringMatcher, Rejection> {
    use pb::string_matcher::MatchPattern as P;
    let pb::StringMatcher {
        ignore_case,
        match_pattern,
    } = message;
    let pattern = match at.required("match_pattern", match_pattern)? {
        P::Exact(text) => Pattern::Exact(text.clone()),
        P::Prefix(text) => Pattern::Prefix(some_text(at, "prefix", text)?),
        P::Suffix(text) => Pattern::Suffix(some_text(at, "suffix", text)?),
        P::Contains(text) => Pattern::Contains(some_text(at, "contains", text)?),
        P::SafeRegex(message) => Pattern::Regex(regex(&at.field("safe_regex"), message)?),
        P::Custom(_) => return Err(at.field("custom").reject("not supported")),
    };
    Ok(StringMatcher {
        // Of an expression case is its own business, as in Envoy.
        ignore_case: *ignore_case && !matches!(pattern, Pattern::Regex(_)),
        pattern,
    })
}

fn some_text(at: &At<'_>, field: &'static str, text: &str) -> Result<String, Rejection> {
    at.not_empty(field, text)?;
    Ok(text.to_owned())
}

pub(crate) fn header(at: &At<'_>, message: &route::HeaderMatcher) -> Result<HeaderMatcher, Rejection> {
    use route::header_matcher::HeaderMatchSpecifier as M;
    let route::HeaderMatcher {
        name,
        invert_match,
        treat_missing_header_as_empty,
        header_match_specifier,
    } = message;
    let value = |pattern| {
        HeaderTest::Value(StringMatcher {
            pattern,
            ignore_case: false,
        })
    };
    let test = match header_match_specifier {
        None => HeaderTest::Present(true),
        Some(M::PresentMatch(present)) => HeaderTest::Present(*present),
        Some(M::ExactMatch(text)) => value(Pattern::Exact(text.clone())),
        Some(M::PrefixMatch(text)) => value(Pattern::Prefix(some_text(at, "prefix_match", text)?)),
        Some(M::SuffixMatch(text)) => value(Pattern::Suffix(some_text(at, "suffix_match", text)?)),
        Some(M::ContainsMatch(text)) => value(Pattern::Contains(some_text(at, "contains_match", text)?)),
        Some(M::SafeRegexMatch(message)) => {
            value(Pattern::Regex(regex(&at.field("safe_regex_match"), message)?))
        }
        Some(M::RangeMatch(types::Int64Range { start, end })) => HeaderTest::Range {
            start: *start,
            end: *end,
        },
        Some(M::StringMatch(message)) => HeaderTest::Value(string(&at.field("string_match"), message)?),
    };
    Ok(HeaderMatcher {
        name: at.field("name").header_name(name)?,
        test,
        invert: *invert_match,
        missing_as_empty: *treat_missing_header_as_empty,
    })
}

pub(crate) fn query(at: &At<'_>, message: &route::QueryParameterMatcher) -> Result<QueryMatcher, Rejection> {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as M;
    let route::QueryParameterMatcher {
        name,
        query_parameter_match_specifier,
    } = message;
    at.not_empty("name", name)?;
    let test = match query_parameter_match_specifier {
        None => QueryTest::Present(true),
        Some(M::PresentMatch(present)) => QueryTest::Present(*present),
        Some(M::StringMatch(message)) => QueryTest::Value(string(&at.field("string_match"), message)?),
    };
    Ok(QueryMatcher {
        name: name.clone(),
        test,
    })
}

pub(crate) fn cookie(at: &At<'_>, message: &route::CookieMatcher) -> Result<CookieMatcher, Rejection> {
    let route::CookieMatcher {
        name,
        string_match,
        invert_match,
    } = message;
    at.not_empty("name", name)?;
    Ok(CookieMatcher {
        name: name.clone(),
        value: string(
            &at.field("string_match"),
            at.required("string_match", string_match)?,
        )?,
        invert: *invert_match,
    })
}

pub(crate) fn substitution(
    at: &At<'_>,
    message: &pb::RegexMatchAndSubstitute,
) -> Result<RegexRewrite, Rejection> {
    let pb::RegexMatchAndSubstitute {
        pattern,
        substitution,
    } = message;
    let pb::RegexMatcher { regex, engine_type } = at.required("pattern", pattern)?;
    silent!("the engine is always RE2's syntax"; engine_type);
    let pattern = build(&at.field("pattern"), regex, regex)?;
    let substitution = references(&at.field("substitution"), substitution, pattern.captures_len())?;
    Ok(RegexRewrite {
        pattern,
        substitution,
    })
}

/// RE2's `\0`…`\9` and `\\` in the regex crate's form.
fn references(at: &At<'_>, text: &str, groups: usize) -> Result<Vec<u8>, Rejection> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'$' => out.extend_from_slice(b"$$"),
            b'\\' => match bytes.next() {
                Some(b'\\') => out.push(b'\\'),
                Some(digit @ b'0'..=b'9') if usize::from(digit - b'0') < groups => {
                    out.extend_from_slice(&[b'$', b'{', digit, b'}']);
                }
                Some(b'0'..=b'9') => return Err(at.reject(format!("no such group in the pattern: {text:?}"))),
                _ => return Err(at.reject(format!("bad escape in {text:?}"))),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}
