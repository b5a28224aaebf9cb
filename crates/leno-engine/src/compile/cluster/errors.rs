//! `HttpProtocolOptions.outlier_detection`: which answers count as an endpoint's errors.

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::{self, HeaderMatcher};
use crate::compile::pb::{common_matcher as pb, upstream_http};

/// What an answer's head is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorMatcher {
    Any,
    Or(Vec<ErrorMatcher>),
    And(Vec<ErrorMatcher>),
    Not(Box<ErrorMatcher>),
    /// All of these hold of its headers, `:status` among them.
    Headers(Vec<HeaderMatcher>),
}

/// Of predicates within each other: deeper is nobody's wish.
const DEEPEST: usize = 16;

pub(super) fn errors(
    at: &At<'_>,
    message: &upstream_http::http_protocol_options::OutlierDetection,
) -> Result<ErrorMatcher, Rejection> {
    let upstream_http::http_protocol_options::OutlierDetection { error_matcher } = message;
    let predicate = at.required("error_matcher", error_matcher)?;
    self::predicate(&at.field("error_matcher"), predicate, DEEPEST)
}

fn predicate(at: &At<'_>, message: &pb::MatchPredicate, depth: usize) -> Result<ErrorMatcher, Rejection> {
    use pb::match_predicate::{MatchSet, Rule};
    let Some(depth) = depth.checked_sub(1) else {
        return Err(at.reject("too deep"));
    };
    let pb::MatchPredicate { rule } = message;
    let set = |field: &'static str, MatchSet { rules }: &MatchSet| match rules.len() {
        0 | 1 => Err(at.field(field).field("rules").reject("two or more")),
        _ => at
            .field(field)
            .each("rules", rules, |at, rule| predicate(at, rule, depth)),
    };
    let unread = |field: &'static str| Err(at.field(field).reject("only an answer's headers are looked at"));
    match at.required("rule", rule)? {
        Rule::OrMatch(rules) => Ok(ErrorMatcher::Or(set("or_match", rules)?)),
        Rule::AndMatch(rules) => Ok(ErrorMatcher::And(set("and_match", rules)?)),
        Rule::NotMatch(inner) => {
            let inner = predicate(&at.field("not_match"), inner, depth)?;
            Ok(ErrorMatcher::Not(Box::new(inner)))
        }
        Rule::AnyMatch(true) => Ok(ErrorMatcher::Any),
        Rule::AnyMatch(false) => Err(at.field("any_match").reject("must be true")),
        Rule::HttpResponseHeadersMatch(pb::HttpHeadersMatch { headers }) => {
            let at = at.field("http_response_headers_match");
            Ok(ErrorMatcher::Headers(at.each(
                "headers",
                headers,
                matcher::header,
            )?))
        }
        Rule::HttpRequestHeadersMatch(_) => unread("http_request_headers_match"),
        Rule::HttpRequestTrailersMatch(_) => unread("http_request_trailers_match"),
        Rule::HttpResponseTrailersMatch(_) => unread("http_response_trailers_match"),
        Rule::HttpRequestGenericBodyMatch(_) => unread("http_request_generic_body_match"),
        Rule::HttpResponseGenericBodyMatch(_) => unread("http_response_generic_body_match"),
    }
}
