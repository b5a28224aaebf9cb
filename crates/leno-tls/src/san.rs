//! Matching a peer's subject alternative names, in Envoy's words
//! (`SubjectAltNameMatcher` over `StringMatcher`).

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::Regex;

use crate::certificate::SubjectAltNames;
use crate::spiffe::SpiffeId;

/// A regular expression may not compile to more than this (bytes): a bound
/// against expressions that come over xDS.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// Accepts a peer when one of its names of `kind` matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SanMatcher {
    pub kind: SanKind,
    pub matcher: StringMatch,
}

/// Which kind of name is looked at; `Any` is Envoy's older `match_subject_alt_names`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SanKind {
    Any,
    Uri,
    Dns,
    Email,
    Ip,
    /// `OtherName`, by its OID.
    Other(String),
}

/// How a name is compared. `ignore_case` is ASCII, as in Envoy, and has no
/// meaning for expressions.
#[derive(Debug, Clone)]
pub enum StringMatch {
    Exact { value: String, ignore_case: bool },
    Prefix { value: String, ignore_case: bool },
    Suffix { value: String, ignore_case: bool },
    Contains { value: String, ignore_case: bool },
    Regex(Regex),
}

/// A regular expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression {pattern:?} is not valid RE2: {detail}")]
pub struct PatternError {
    pub pattern: String,
    pub detail: String,
}

// === impl SanMatcher ===

impl SanMatcher {
    /// Exactly this identity.
    pub fn spiffe(id: &SpiffeId) -> SanMatcher {
        SanMatcher {
            kind: SanKind::Uri,
            matcher: StringMatch::exact(id.as_str()),
        }
    }

    pub fn exact(kind: SanKind, value: impl Into<String>) -> SanMatcher {
        SanMatcher {
            kind,
            matcher: StringMatch::exact(value),
        }
    }

    pub fn matches(&self, sans: &SubjectAltNames) -> bool {
        let wants = |kind| self.kind == SanKind::Any || self.kind == kind;
        if let SanKind::Other(oid) = &self.kind {
            let mut others = sans.others.iter();
            return others.any(|name| name.oid == *oid && self.matcher.matches(&name.text));
        }
        let text = |names: &[String]| names.iter().any(|name| self.matcher.matches(name));
        (wants(SanKind::Uri) && text(&sans.uris))
            || (wants(SanKind::Dns) && sans.dns.iter().any(|name| self.matches_dns(name)))
            || (wants(SanKind::Email) && text(&sans.emails))
            || (wants(SanKind::Ip) && sans.ips.iter().any(|ip| self.matcher.matches(&ip.to_string())))
    }

    /// As Envoy's DNS matcher: an exact expectation is compared without case
    /// and honours the certificate's left-most wildcard (RFC 6125 §6.4.3).
    fn matches_dns(&self, name: &str) -> bool {
        let StringMatch::Exact { value, .. } = &self.matcher else {
            return self.matcher.matches(name);
        };
        if value.eq_ignore_ascii_case(name) {
            return true;
        }
        let (Some(suffix), Some((label, rest))) = (name.strip_prefix("*."), value.split_once('.')) else {
            return false;
        };
        !label.is_empty() && suffix.contains('.') && rest.eq_ignore_ascii_case(suffix)
    }
}

impl fmt::Display for SanMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            SanKind::Other(oid) => return write!(f, "{oid} {}", self.matcher),
            SanKind::Any => "",
            SanKind::Uri => "URI ",
            SanKind::Dns => "DNS ",
            SanKind::Email => "email ",
            SanKind::Ip => "IP ",
        };
        write!(f, "{kind}{}", self.matcher)
    }
}

// === impl StringMatch ===

impl StringMatch {
    pub fn exact(value: impl Into<String>) -> StringMatch {
        StringMatch::Exact {
            value: value.into(),
            ignore_case: false,
        }
    }

    /// An expression that must match the whole name, as Envoy's `safe_regex`.
    pub fn regex(pattern: &str) -> Result<StringMatch, PatternError> {
        let compile = |text: &str| {
            regex::RegexBuilder::new(text)
                .size_limit(REGEX_SIZE_LIMIT)
                .build()
        };
        // Alone first: `a)|(b` is only an expression inside of the anchors, and would undo them.
        compile(pattern)
            .and_then(|_| compile(&format!("^(?:{pattern})$")))
            .map(StringMatch::Regex)
            .map_err(|error| PatternError {
                pattern: pattern.to_owned(),
                detail: error.to_string(),
            })
    }

    pub fn matches(&self, text: &str) -> bool {
        match self {
            StringMatch::Exact {
                value,
                ignore_case: false,
            } => text == value,
            StringMatch::Exact {
                value,
                ignore_case: true,
            } => text.eq_ignore_ascii_case(value),
            StringMatch::Prefix { value, ignore_case } => {
                fold(text, *ignore_case).starts_with(&*fold(value, *ignore_case))
            }
            StringMatch::Suffix { value, ignore_case } => {
                fold(text, *ignore_case).ends_with(&*fold(value, *ignore_case))
            }
            StringMatch::Contains { value, ignore_case } => {
                fold(text, *ignore_case).contains(&*fold(value, *ignore_case))
            }
            StringMatch::Regex(regex) => regex.is_match(text),
        }
    }

    fn parts(&self) -> (&'static str, &str, bool) {
        match self {
            StringMatch::Exact { value, ignore_case } => ("", value, *ignore_case),
            StringMatch::Prefix { value, ignore_case } => ("prefix ", value, *ignore_case),
            StringMatch::Suffix { value, ignore_case } => ("suffix ", value, *ignore_case),
            StringMatch::Contains { value, ignore_case } => ("containing ", value, *ignore_case),
            StringMatch::Regex(regex) => ("matching ", regex.as_str(), false),
        }
    }
}

impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for StringMatch {}

impl Hash for StringMatch {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, value, _) = self.parts();
        write!(f, "{how}{value}")
    }
}

fn fold(text: &str, ignore_case: bool) -> std::borrow::Cow<'_, str> {
    match ignore_case {
        true => text.to_ascii_lowercase().into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::OtherName;

    fn dns(names: &[&str]) -> SubjectAltNames {
        SubjectAltNames {
            dns: names.iter().map(|n| (*n).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_kind_looks_only_at_its_names() {
        let sans = dns(&["spiffe://a/b"]);
        assert!(!SanMatcher::exact(SanKind::Uri, "spiffe://a/b").matches(&sans));
        assert!(SanMatcher::exact(SanKind::Any, "spiffe://a/b").matches(&sans));
    }

    #[test]
    fn a_certificate_wildcard_covers_one_label() {
        let sans = dns(&["*.example.com", "*.com"]);
        let matches = |host: &str| SanMatcher::exact(SanKind::Dns, host).matches(&sans);
        assert!(matches("API.example.com"));
        assert!(!matches("a.b.example.com"));
        assert!(!matches("example.com"), "*.com covers no registered domain");
        assert!(!matches(".example.com"));
    }

    /// Neither is a name cut there, nor does what follows belong to another one.
    #[test]
    fn a_nul_ends_no_name() {
        let sans = SubjectAltNames {
            uris: vec!["spiffe://a/ns/b/sa/c\0.evil".to_owned()],
            dns: vec!["a.example\0.evil.example".to_owned()],
            others: vec![OtherName {
                oid: "1.2.3".to_owned(),
                text: "knitter@a\0evil".to_owned(),
            }],
            ..Default::default()
        };
        for (kind, name) in [
            (SanKind::Any, "a.example"),
            (SanKind::Dns, "a.example"),
            (SanKind::Dns, "evil.example"),
            (SanKind::Uri, "spiffe://a/ns/b/sa/c"),
            (SanKind::Other("1.2.3".to_owned()), "knitter@a"),
        ] {
            assert!(!SanMatcher::exact(kind, name).matches(&sans), "{name}");
        }
        assert_eq!(sans.spiffe_id(), None);
    }

    #[test]
    fn expressions_are_anchored() {
        let matcher = StringMatch::regex("spiffe://a/.*|x").unwrap();
        assert!(matcher.matches("spiffe://a/ns"));
        assert!(!matcher.matches("http://spiffe://a/ns"));
        assert!(!matcher.matches("xy"));
        assert!(StringMatch::regex("(").is_err());
        assert!(
            StringMatch::regex("a)|(.*").is_err(),
            "an expression may not close the anchors' group"
        );
    }

    #[test]
    fn prefix_suffix_contains_and_case() {
        let prefix = StringMatch::Prefix {
            value: "spiffe://Cluster.local/".into(),
            ignore_case: true,
        };
        assert!(prefix.matches("spiffe://cluster.local/ns/a/sa/b"));
        let suffix = StringMatch::Suffix {
            value: "/sa/b".into(),
            ignore_case: false,
        };
        assert!(suffix.matches("spiffe://cluster.local/ns/a/sa/b") && !suffix.matches("/SA/B"));
        let contains = StringMatch::Contains {
            value: "/ns/a/".into(),
            ignore_case: false,
        };
        assert!(contains.matches("spiffe://x/ns/a/sa/b") && !contains.matches("spiffe://x/ns/ab/sa/b"));
    }
}
