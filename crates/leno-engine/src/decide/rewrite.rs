//! What a route does to a request's path and host, and where a redirect points.

use bytes::Bytes;

use super::route::{Forwarding, without_port};
use crate::compile::access_log::FormatValues;
use crate::compile::matcher::{PathMatcher, RegexRewrite};
use crate::compile::route::{HostRewrite, Redirect, RouteMatch};
use crate::message::{RequestHead, ResponseHead};

// === impl Forwarding ===

impl Forwarding<'_> {
    /// Header edits and rewrites, before the request goes upstream. Envoy's order: the most specific edits first,
    /// so that the table's win; then host, then path.
    pub fn edit_request(&self, head: &mut RequestHead, values: &dyn FormatValues) {
        if let Some(weighted) = self.weighted {
            weighted.request_headers.edit_request(head, values);
        }
        self.route.request_headers.edit_request(head, values);
        self.host.request_headers.edit_request(head, values);
        self.table.request_headers.edit_request(head, values);
        self.rewrite_host(head);
        self.rewrite_path(head);
    }

    /// Header edits of an answer, in the same order.
    pub fn edit_response(&self, request: &RequestHead, head: &mut ResponseHead, values: &dyn FormatValues) {
        if let Some(weighted) = self.weighted {
            weighted.response_headers.edit_response(request, head, values);
        }
        self.route.response_headers.edit_response(request, head, values);
        self.host.response_headers.edit_response(request, head, values);
        self.table.response_headers.edit_response(request, head, values);
    }

    /// [`HostRewrite::Auto`] is the caller's, once it knows the endpoint: [`Self::auto_host`].
    fn rewrite_host(&self, head: &mut RequestHead) {
        if let Some(host) = self.weighted.and_then(|w| w.host_rewrite.as_ref()) {
            head.authority = Bytes::copy_from_slice(host.as_bytes());
            return;
        }
        match &self.forward.host_rewrite {
            HostRewrite::None | HostRewrite::Auto => {}
            HostRewrite::Literal(host) => head.authority = Bytes::copy_from_slice(host.as_bytes()),
            HostRewrite::Header(name) => {
                if let Some(host) = head.headers.get(name) {
                    head.authority = Bytes::copy_from_slice(host);
                }
            }
        }
    }

    /// Whether the authority becomes the chosen endpoint's hostname.
    pub fn auto_host(&self) -> bool {
        self.forward.host_rewrite == HostRewrite::Auto
            && self.weighted.is_none_or(|w| w.host_rewrite.is_none())
    }

    fn rewrite_path(&self, head: &mut RequestHead) {
        let rewritten = if let Some(prefix) = &self.forward.prefix_rewrite {
            replace_prefix(&self.route.matches, head, prefix)
        } else if let Some(regex) = &self.forward.regex_rewrite {
            substitute(regex, head)
        } else {
            return;
        };
        if rewritten != head.path {
            let original = std::mem::replace(&mut head.path, rewritten);
            head.headers.set("x-envoy-original-path", original);
        }
    }
}

/// The path with the matched part replaced. An exact match is replaced whole; the query stays.
fn replace_prefix(matches: &RouteMatch, head: &RequestHead, prefix: &str) -> Bytes {
    let matched = match &matches.path {
        PathMatcher::Prefix(p) | PathMatcher::SeparatedPrefix(p) | PathMatcher::Exact(p) => p.len(),
        PathMatcher::Regex(_) => head.path_only().len(),
        PathMatcher::Connect => 0,
    };
    let rest = head.path.get(matched..).unwrap_or_default();
    let mut path = Vec::with_capacity(prefix.len() + rest.len());
    path.extend_from_slice(prefix.as_bytes());
    path.extend_from_slice(rest);
    path.into()
}

fn substitute(rewrite: &RegexRewrite, head: &RequestHead) -> Bytes {
    let path = head.path_only();
    let replaced = rewrite.pattern.replace_all(path, rewrite.substitution.as_slice());
    let mut whole = replaced.into_owned();
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
        replace_prefix(matches, head, prefix)
    } else if let Some(regex) = &redirect.regex {
        substitute(regex, head)
    } else {
        head.path.clone()
    };
    let path_end = whole.len() - (head.path.len() - own_query_at);
    let mut path = whole[..path_end].to_vec();
    path.extend_from_slice(query);
    path
}
