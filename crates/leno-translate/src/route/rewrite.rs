//! Paths rewritten, for forwarding and for redirects.
//!
//! Envoy replaces a matched prefix by characters. The Gateway API replaces it by path elements: `/foo/bar` under
//! prefix `/foo` replaced by `/` is `/bar`, where Envoy alone would make `//bar`.

use leno_model::route::{PathMatch, PathRewrite};

use crate::parts::regex;
use crate::pb::matcher::RegexMatchAndSubstitute;

pub(super) enum Rewritten {
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

/// `matched` is how the route's path was matched.
pub(super) fn path(rewrite: &PathRewrite, matched: Option<&PathMatch>) -> Rewritten {
    match (rewrite, matched) {
        (PathRewrite::Prefix(new), Some(PathMatch::ElementPrefix(old))) => elements(old, new),
        (PathRewrite::Prefix(new), _) => Rewritten::Prefix(new.clone()),
        (PathRewrite::Full(path), _) => substitute("/.*".into(), literal(path)),
        (
            PathRewrite::Regex {
                pattern,
                substitution,
            },
            _,
        ) => substitute(pattern.clone(), substitution.clone()),
    }
}

fn elements(old: &str, new: &str) -> Rewritten {
    let (old, new) = (old.trim_end_matches('/'), new.trim_end_matches('/'));
    if old.is_empty() {
        // Matched by the root's slash, which is therefore replaced.
        return Rewritten::Prefix(format!("{new}/"));
    }
    if new.is_empty() {
        return substitute(format!("^{}(/?)(.*)", escaped(old)), r"/\2".into());
    }
    Rewritten::Prefix(new.into())
}

fn substitute(pattern: String, substitution: String) -> Rewritten {
    Rewritten::Regex(RegexMatchAndSubstitute {
        pattern: Some(regex(pattern)),
        substitution,
    })
}

/// A substitution in which nothing refers to a group.
fn literal(text: &str) -> String {
    text.replace('\\', r"\\")
}

/// An expression that matches the text itself.
pub(crate) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_alphanumeric() && !matches!(c, '/' | '-' | '_' | '~') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
