//! Matchers that routes, policies and TLS share.

use regex::bytes::Regex;

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
    /// None: present.
    pub value: Option<StringMatcher>,
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

/// `envoy.config.rbac.v3.RBAC` is refused by name until authorization policies exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rbac {}
