//! URI templates (`envoy.path.match.uri_template`, `envoy.path.rewrite.uri_template`): `/api/{version}/users/*`.
//!
//! `*` is one segment or a part of one, `**` anything to the end; `{name}` is a `*` that has a name and `{name=pattern}` a
//! pattern that has one. Of `**` and what is like it nothing may come after but text. A template becomes an expression
//! with named groups, and its rewrite a substitution by these names.

use std::fmt::Write;

use regex::bytes::Regex;

use crate::compile::Rejection;
use crate::compile::at::{At, silent};
use crate::compile::matcher::{Pattern, RegexRewrite, StringMatcher, template_regex};
use crate::compile::pb::core;
use crate::compile::pb::{uri_template_match, uri_template_rewrite};

/// What stands in a segment (RFC 3986 §3.3).
const SEGMENT: &str = r"[a-zA-Z0-9\-._~%!$&'()*+,;:@=]";
const MOST_VARIABLES: usize = 5;
const LONGEST_NAME: usize = 16;

/// Paths as a template has them.
pub(crate) fn matching(
    at: &At<'_>,
    message: &core::TypedExtensionConfig,
) -> Result<StringMatcher, Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    let uri_template_match::UriTemplateMatchConfig { path_template } = at.unpack(any)?;
    let at = at.field("path_template");
    let pattern = pattern(&path_template).map_err(|why| at.reject(format!("{path_template:?}: {why}")))?;
    Ok(StringMatcher {
        pattern: Pattern::Regex(template_regex(&at, &pattern)?),
        ignore_case: false,
    })
}

/// `matched`: the expression of the route's own template.
pub(crate) fn rewriting(
    at: &At<'_>,
    message: &core::TypedExtensionConfig,
    matched: Option<&Regex>,
) -> Result<RegexRewrite, Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let Some(matched) = matched else {
        return Err(at.reject("the route does not match by a URI template"));
    };
    let at = at.field("typed_config");
    let uri_template_rewrite::UriTemplateRewriteConfig {
        path_template_rewrite: template,
    } = at.unpack(any)?;
    let at = at.field("path_template_rewrite");
    let substitution =
        substitution(&template, matched).map_err(|why| at.reject(format!("{template:?}: {why}")))?;
    Ok(RegexRewrite {
        pattern: matched.clone(),
        substitution,
    })
}

/// An expression for the whole path.
fn pattern(template: &str) -> Result<String, String> {
    if !template.starts_with('/') {
        return Err("begins with /".into());
    }
    let mut reading = Reading::default();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        if first != '{' {
            rest = reading.operator_or_text(rest)?;
            continue;
        }
        let end = rest.find('}').ok_or("a { without its }")?;
        let inner = &rest[1..end];
        rest = &rest[end + 1..];
        let (name, inside) = inner.split_once('=').unwrap_or((inner, "*"));
        reading.begin(name)?;
        let mut inside = inside;
        if inside.is_empty() {
            return Err(format!("{name} has no pattern"));
        }
        while !inside.is_empty() {
            inside = reading.operator_or_text(inside)?;
        }
        reading.pattern.push(')');
    }
    Ok(format!("^{}$", reading.pattern))
}

#[derive(Default)]
struct Reading {
    pattern: String,
    names: Vec<String>,
    /// `**` has been: nothing but text may follow.
    open: bool,
}

impl Reading {
    fn begin(&mut self, name: &str) -> Result<(), String> {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.len() <= LONGEST_NAME;
        if !is_name {
            return Err(format!("not a variable's name: {name:?}"));
        }
        if self.names.iter().any(|known| known == name) {
            return Err(format!("{name} is there twice"));
        }
        if self.names.len() == MOST_VARIABLES {
            return Err(format!("more than {MOST_VARIABLES} variables"));
        }
        self.names.push(name.to_owned());
        let _ = write!(self.pattern, "(?P<{name}>");
        Ok(())
    }

    /// One operator, or one character of text; what is behind it.
    fn operator_or_text<'t>(&mut self, text: &'t str) -> Result<&'t str, String> {
        if let Some(rest) = text.strip_prefix("**") {
            self.operator()?;
            self.open = true;
            let _ = write!(self.pattern, "(?:{SEGMENT}|/)*");
            return Ok(rest);
        }
        if let Some(rest) = text.strip_prefix('*') {
            self.operator()?;
            let _ = write!(self.pattern, "{SEGMENT}+");
            return Ok(rest);
        }
        let Some(c) = text.chars().next() else {
            return Ok(text);
        };
        if !(c.is_ascii_alphanumeric() || "/-._~%!$&'()+,;:@=".contains(c)) {
            return Err(format!("{c:?} is no part of a template"));
        }
        self.pattern.push_str(&regex::escape(&c.to_string()));
        Ok(&text[c.len_utf8()..])
    }

    fn operator(&self) -> Result<(), String> {
        if self.open {
            return Err("after ** only text may follow".into());
        }
        Ok(())
    }
}

/// In the regex crate's form.
fn substitution(template: &str, matched: &Regex) -> Result<Vec<u8>, String> {
    if !template.starts_with('/') {
        return Err("begins with /".into());
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        if first == '{' {
            let end = rest.find('}').ok_or("a { without its }")?;
            let name = &rest[1..end];
            if !matched.capture_names().flatten().any(|known| known == name) {
                return Err(format!("the match has no variable {name:?}"));
            }
            let _ = write!(out, "${{{name}}}");
            rest = &rest[end + 1..];
            continue;
        }
        match first {
            '}' | '*' => return Err(format!("{first:?} stands by itself")),
            '$' => out.push_str("$$"),
            other => out.push(other),
        }
        rest = &rest[first.len_utf8()..];
    }
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_template_says_why() {
        for (template, why) in [
            ("a", "begins with /"),
            ("/{a", "a { without its }"),
            ("/{a}/{a}", "a is there twice"),
            ("/{1a}", "not a variable's name: \"1a\""),
            ("/{a=}", "a has no pattern"),
            ("/**/*", "after ** only text may follow"),
            ("/a?b", "'?' is no part of a template"),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", "more than 5 variables"),
        ] {
            assert_eq!(pattern(template).unwrap_err(), why, "{template}");
        }
    }

    #[test]
    fn a_rewrite_knows_only_the_variables_of_its_match() {
        let matched = Regex::new(&pattern("/{a}/{b=x/*}").unwrap()).unwrap();
        assert_eq!(substitution("/{b}/$/{a}", &matched).unwrap(), b"/${b}/$$/${a}");
        assert!(substitution("/{c}", &matched).is_err());
        assert!(substitution("/*", &matched).is_err());
    }
}
