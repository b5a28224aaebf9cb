//! A path as a route rewrites it, and where a redirect points.

use bytes::Bytes;

use super::authority::without_port;
use super::matcher::starts_with;
use crate::compile::matcher::{PathMatcher, RegexRewrite};
use crate::compile::route::{Redirect, RouteMatch};
use crate::message::RequestHead;

/// The path with the matched part replaced. An exact match is replaced whole; the query stays. None: the path does not
/// begin with what has matched, which was found without its parameters.
pub(crate) fn replace_prefix(matches: &RouteMatch, head: &RequestHead, prefix: &str) -> Option<Bytes> {
    let matched = match &matches.path {
        PathMatcher::Prefix(p) | PathMatcher::SeparatedPrefix(p) | PathMatcher::Exact(p) => {
            if !starts_with(&head.path, p.as_bytes(), !matches.case_sensitive) {
                return None;
            }
            p.len()
        }
        PathMatcher::Regex(_) | PathMatcher::Template(_) => head.path_only().len(),
        PathMatcher::Connect => 0,
    };
    let rest = head.path.get(matched..).unwrap_or_default();
    let mut path = Vec::with_capacity(prefix.len() + rest.len());
    path.extend_from_slice(prefix.as_bytes());
    path.extend_from_slice(rest);
    Some(path.into())
}

pub(crate) fn substitute(rewrite: &RegexRewrite, text: &[u8]) -> Vec<u8> {
    let replaced = rewrite.pattern.replace_all(text, rewrite.substitution.as_slice());
    replaced.into_owned()
}

/// The path without its query, which stays.
pub(crate) fn substitute_path(rewrite: &RegexRewrite, head: &RequestHead) -> Bytes {
    let path = head.path_only();
    let mut whole = substitute(rewrite, path);
    whole.extend_from_slice(&head.path[path.len()..]);
    whole.into()
}

/// Envoy's `newUri`: what the redirect does not say stays as the request has it; a default port of the other scheme
/// is dropped.
pub(crate) fn redirect_location(
    redirect: &Redirect,
    matches: &RouteMatch,
    head: &RequestHead,
    tls: bool,
) -> Bytes {
    let own_scheme = if tls { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own_scheme);
    let mut location = scheme.as_bytes().to_vec();
    location.extend_from_slice(b"://");
    location.extend_from_slice(&redirect_authority(redirect, head, scheme, own_scheme));
    location.extend_from_slice(&redirect_path(redirect, matches, head));
    location.into()
}

fn redirect_authority(redirect: &Redirect, head: &RequestHead, scheme: &str, own_scheme: &str) -> Vec<u8> {
    let own = without_port(&head.authority);
    let own_port = head.authority.get(own.len() + 1..).unwrap_or_default();
    let name = redirect.host.as_ref().map_or(own, |host| host.as_bytes());
    let mut authority = name.to_vec();
    if let Some(port) = redirect.port {
        authority.extend_from_slice(format!(":{port}").as_bytes());
    } else if redirect.host.is_none() && !own_port.is_empty() {
        let default_of_old = matches!((own_scheme, own_port), ("http", b"80") | ("https", b"443"));
        if scheme == own_scheme || !default_of_old {
            authority.push(b':');
            authority.extend_from_slice(own_port);
        }
    }
    authority
}

fn redirect_path(redirect: &Redirect, matches: &RouteMatch, head: &RequestHead) -> Vec<u8> {
    let own_query_at = head.path_only().len();
    let query: &[u8] = if redirect.strip_query {
        b""
    } else {
        &head.path[own_query_at..]
    };
    if let Some(path) = &redirect.path {
        // A path that brings its own query replaces the request's.
        let mut whole = path.as_bytes().to_vec();
        if !path.contains('?') {
            whole.extend_from_slice(query);
        }
        return whole;
    }
    let whole = if let Some(prefix) = &redirect.prefix {
        replace_prefix(matches, head, prefix).unwrap_or_else(|| head.path.clone())
    } else if let Some(regex) = &redirect.regex {
        substitute_path(regex, head)
    } else {
        head.path.clone()
    };
    let path_end = whole.len() - (head.path.len() - own_query_at);
    let mut path = whole[..path_end].to_vec();
    path.extend_from_slice(query);
    path
}
