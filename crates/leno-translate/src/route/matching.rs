//! When a rule holds: the part that is about the caller here, the part that is about the request in Envoy's words.

use leno_model::route::{HeaderMatch, PathMatch};
use leno_model::{HttpMatch, HttpRoute, HttpRule, StringMatch};

use crate::Proxy;
use crate::claims;
use crate::parts::{bool_value, exact, regex};
use crate::pb::matcher;
use crate::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::pb::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};

/// Whether a route is meant for callers of this namespace at all. A consumer's route (Gateway API) is for those of its
/// own only; to others the service is as if there were no such route.
pub(super) fn concerns(route: &HttpRoute, proxy: &Proxy) -> bool {
    let meant = |matches: &HttpMatch| {
        let namespace = matches.source_namespace.as_ref();
        namespace.is_none_or(|wanted| *wanted == proxy.namespace)
    };
    let mut rules = route.rules.iter();
    route.rules.is_empty() || rules.any(|rule| rule.matches.is_empty() || rule.matches.iter().any(meant))
}

/// The rule's matches that can hold for requests of this proxy to this port, without the conditions so decided.
pub(super) fn for_caller(rule: &HttpRule, proxy: &Proxy, port: u16) -> Vec<HttpMatch> {
    if rule.matches.is_empty() {
        return vec![HttpMatch::default()];
    }
    let applies = |matches: &&HttpMatch| {
        let mut labels = matches.source_labels.iter();
        matches.port.is_none_or(|wanted| wanted == port)
            && matches
                .source_namespace
                .as_ref()
                .is_none_or(|wanted| *wanted == proxy.namespace)
            && labels.all(|(name, value)| proxy.labels.get(name) == Some(value))
    };
    rule.matches
        .iter()
        .filter(applies)
        .map(|matches| HttpMatch {
            port: None,
            source_namespace: None,
            source_labels: Default::default(),
            ..matches.clone()
        })
        .collect()
}

/// Every request falls under it.
pub(super) fn takes_all(matches: &HttpMatch) -> bool {
    let any_path = match &matches.path {
        None => true,
        Some(PathMatch::Prefix(prefix) | PathMatch::ElementPrefix(prefix)) => prefix == "/",
        Some(PathMatch::Regex(pattern)) => pattern == ".*",
        Some(PathMatch::Exact(_)) => false,
    };
    let conditions = [
        matches.method.as_ref(),
        matches.scheme.as_ref(),
        matches.authority.as_ref(),
    ];
    any_path
        && conditions.iter().all(Option::is_none)
        && matches.headers.is_empty()
        && matches.claims.is_empty()
        && matches.query.is_empty()
}

pub(super) fn route_match(matches: &HttpMatch) -> RouteMatch {
    let pseudo = [
        (":method", &matches.method),
        (":scheme", &matches.scheme),
        (":authority", &matches.authority),
    ];
    let pseudo = pseudo
        .into_iter()
        .filter_map(|(name, wanted)| Some(header(name, &HeaderMatch::Value(wanted.clone()?))));
    let named = matches.headers.iter().map(|(name, wanted)| header(name, wanted));
    RouteMatch {
        path_specifier: Some(path(matches.path.as_ref())),
        // Only where it is said, and never for expressions, which have flags of their own.
        case_sensitive: match (&matches.path, matches.ignore_uri_case) {
            (Some(PathMatch::Regex(_)) | None, _) | (_, false) => None,
            (Some(_), true) => bool_value(false),
        },
        headers: named.chain(pseudo).collect(),
        dynamic_metadata: matches
            .claims
            .iter()
            .map(|(path, wanted)| claim(path, wanted))
            .collect(),
        query_parameters: matches
            .query
            .iter()
            .map(|(name, wanted)| QueryParameterMatcher {
                name: name.clone(),
                query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(text(
                    wanted,
                ))),
            })
            .collect(),
        ..Default::default()
    }
}

fn path(path: Option<&PathMatch>) -> PathSpecifier {
    match path {
        None => PathSpecifier::Prefix("/".into()),
        Some(PathMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(PathMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(PathMatch::Regex(pattern)) => PathSpecifier::SafeRegex(regex(pattern)),
        Some(PathMatch::ElementPrefix(prefix)) => match prefix.trim_end_matches('/') {
            "" => PathSpecifier::Prefix("/".into()),
            // Itself, or itself and a slash; Envoy refuses a slash at its end.
            trimmed => PathSpecifier::PathSeparatedPrefix(trimmed.into()),
        },
    }
}

fn header(name: &str, wanted: &HeaderMatch) -> HeaderMatcher {
    let matcher = HeaderMatcher {
        name: name.into(),
        ..Default::default()
    };
    let value = |wanted: &StringMatch| Some(HeaderMatchSpecifier::StringMatch(text(wanted)));
    match wanted {
        HeaderMatch::Value(wanted) => HeaderMatcher {
            header_match_specifier: value(wanted),
            ..matcher
        },
        HeaderMatch::Present => HeaderMatcher {
            header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
            ..matcher
        },
        // Without the last word a request that lacks the header would match neither way.
        HeaderMatch::Not(unwanted) => HeaderMatcher {
            header_match_specifier: value(unwanted),
            invert_match: true,
            treat_missing_header_as_empty: true,
            ..matcher
        },
        HeaderMatch::Absent => HeaderMatcher {
            header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
            invert_match: true,
            ..matcher
        },
    }
}

/// In metadata what is not there matches nothing, and the contrary of anything.
fn claim(path: &[String], wanted: &HeaderMatch) -> matcher::MetadataMatcher {
    let (value, invert) = match wanted {
        HeaderMatch::Value(wanted) => (claims::value(text(wanted)), false),
        HeaderMatch::Present => (claims::present(), false),
        HeaderMatch::Not(unwanted) => (claims::value(text(unwanted)), true),
        HeaderMatch::Absent => (claims::present(), true),
    };
    matcher::MetadataMatcher {
        invert,
        ..claims::claim(path, &value)
    }
}

pub(super) fn text(wanted: &StringMatch) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let pattern = match wanted {
        StringMatch::Exact(value) => return exact(value),
        StringMatch::Prefix(value) => MatchPattern::Prefix(value.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
    };
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}
