//! `RouteMatch`.

use super::{RouteMatch, facts};
use crate::compile::at::At;
use crate::compile::matcher::{self, PathMatcher, Pattern, StringMatcher};
use crate::compile::pb::route as pb;
use crate::compile::{Rejection, uri_template};

pub(crate) fn route_match(at: &At<'_>, message: &pb::RouteMatch) -> Result<RouteMatch, Rejection> {
    let pb::RouteMatch {
        case_sensitive,
        runtime_fraction,
        headers,
        query_parameters,
        cookies,
        grpc,
        tls_context,
        dynamic_metadata,
        filter_state,
        path_specifier,
    } = message;
    Ok(RouteMatch {
        path: path(at, at.required("path_specifier", path_specifier)?)?,
        case_sensitive: case_sensitive.is_none_or(|sensitive| sensitive.value),
        headers: at.each("headers", headers, matcher::header)?,
        query: at.each("query_parameters", query_parameters, matcher::query)?,
        cookies: at.each("cookies", cookies, matcher::cookie)?,
        // The table's word.
        ignore_parameters: false,
        grpc: grpc.is_some(),
        facts: facts::facts(at, tls_context.as_ref(), dynamic_metadata, filter_state)?,
        runtime_fraction: match runtime_fraction {
            None => None,
            Some(fraction) => Some(at.field("runtime_fraction").runtime_fraction(fraction)?),
        },
    })
}

fn path(at: &At<'_>, specifier: &pb::route_match::PathSpecifier) -> Result<PathMatcher, Rejection> {
    use pb::route_match::PathSpecifier as P;
    Ok(match specifier {
        P::Prefix(prefix) => PathMatcher::Prefix(prefix.clone()),
        P::Path(path) => PathMatcher::Exact(path.clone()),
        P::PathSeparatedPrefix(prefix) => {
            let at = at.field("path_separated_prefix");
            if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#']) {
                return Err(at.reject(format!("begins with / and does not end with it: {prefix:?}")));
            }
            PathMatcher::SeparatedPrefix(prefix.clone())
        }
        P::SafeRegex(regex) => PathMatcher::Regex(StringMatcher {
            pattern: Pattern::Regex(matcher::regex(&at.field("safe_regex"), regex)?),
            ignore_case: false,
        }),
        P::ConnectMatcher(_) => PathMatcher::Connect,
        P::PathMatchPolicy(policy) => {
            PathMatcher::Template(uri_template::matching(&at.field("path_match_policy"), policy)?)
        }
    })
}
