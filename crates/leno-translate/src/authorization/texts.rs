//! What a value of a policy matches: itself, or with a star at one end what begins or ends so.

use crate::parts::{exact, regex};
use crate::pb::matcher::{self, string_matcher::MatchPattern};

pub(super) fn text(value: &str) -> matcher::StringMatcher {
    text_after("", value)
}

/// The value stands behind a prefix; but `*` alone is any text that is not empty.
pub(super) fn text_after(prefix: &str, value: &str) -> matcher::StringMatcher {
    if value == "*" {
        return pattern(".+".to_owned());
    }
    let pattern = match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(end), _) if prefix.is_empty() => MatchPattern::Suffix(end.to_owned()),
        (Some(end), _) => return self::pattern(format!("{prefix}.*{}", quoted(end))),
        (None, Some(start)) => MatchPattern::Prefix(format!("{prefix}{start}")),
        (None, None) => return exact(format!("{prefix}{value}")),
    };
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}

fn pattern(pattern: String) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(regex(pattern))),
        ..Default::default()
    }
}

/// An identity of a namespace, in which a star may stand anywhere.
pub(super) fn namespace(value: &str) -> matcher::StringMatcher {
    pattern(format!(".*/ns/{}/.*", starred(value, ".*")))
}

/// `namespace/account`, or an account of the policy's own namespace.
pub(super) fn service_account(own: &str, value: &str) -> matcher::StringMatcher {
    let (namespace, account) = value.split_once('/').unwrap_or((own, value));
    let (namespace, account) = (quoted(namespace), quoted(account));
    pattern(format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"))
}

pub(super) fn trust_domain(value: &str) -> matcher::StringMatcher {
    if value.contains('*') {
        return pattern(format!("spiffe://{}/.*", starred(value, "[^/]*")));
    }
    matcher::StringMatcher {
        match_pattern: Some(MatchPattern::Prefix(format!("spiffe://{value}/"))),
        ..Default::default()
    }
}

/// A path template as an expression.
pub(super) fn template(path: &str) -> matcher::StringMatcher {
    let any = |part: &str| starred_by(part, "{*}", "[^/]+");
    let parts: Vec<String> = path.split("{**}").map(any).collect();
    pattern(parts.join(".*"))
}

fn starred_by(value: &str, star: &str, pattern: &str) -> String {
    let parts: Vec<String> = value.split(star).map(quoted).collect();
    parts.join(pattern)
}

fn starred(value: &str, star: &str) -> String {
    starred_by(value, "*", star)
}

/// As RE2 quotes: what means something in an expression is written for itself.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Principals with the trust domain's other names: one that names the mesh's own, an alias of it, or `cluster.local`
/// (which always means the mesh's own) is all of them.
pub(super) fn with_aliases(principals: &[String], trust_domains: &[String]) -> Vec<String> {
    let mut all = Vec::with_capacity(principals.len());
    for principal in principals {
        let parts: Vec<&str> = principal.split('/').collect();
        let named = match parts.as_slice() {
            [domain, rest @ ..] if rest.len() == 4 && *domain != "*" => Some((*domain, rest)),
            _ => None,
        };
        let known = named.filter(|(domain, _)| {
            *domain == "cluster.local" || trust_domains.iter().any(|known| is_meant(known, domain))
        });
        let Some((domain, rest)) = known else {
            all.push(principal.clone());
            continue;
        };
        let mut own: Vec<String> = Vec::new();
        for known in trust_domains {
            let name = match ends_as(known, domain) {
                true => principal.clone(),
                false => format!("{known}/{}", rest.join("/")),
            };
            if !own.contains(&name) {
                own.push(name);
            }
        }
        all.extend(own);
    }
    all
}

/// `*-td` is every domain that ends so, `td-*` every one that begins so.
fn is_meant(known: &str, written: &str) -> bool {
    let begins = written
        .strip_suffix('*')
        .is_some_and(|start| known.starts_with(start));
    known == written || begins || ends_as(known, written)
}

fn ends_as(known: &str, written: &str) -> bool {
    written.strip_prefix('*').is_some_and(|end| known.ends_with(end))
}

/// Trust domains with their other names.
pub(super) fn domains(values: &[String], trust_domains: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for value in values {
        let same = match trust_domains.contains(value) {
            true => trust_domains,
            false => std::slice::from_ref(value),
        };
        for domain in same {
            if !all.contains(domain) {
                all.push(domain.clone());
            }
        }
    }
    all
}
