//! What a forwarded request and its answer become: header edits and rewrites, level by level.

use std::net::IpAddr;

use bytes::Bytes;

use super::hash::{Hashed, hash_by};
use super::rewrite::{redirect_location, replace_prefix, substitute, substitute_path};
use super::route::{Decision, Forwarding, RouteContext, is_secure};
use crate::compile::access_log::{Format, FormatValues, Heads};
use crate::compile::metadata::Fields;
use crate::compile::route::{Action, HeaderOps, HostRewrite, Redirect};
use crate::message::{RequestHead, ResponseHead};

/// Envoy's name for the authority that a rewrite has replaced.
const ORIGINAL_HOST: &str = "x-envoy-original-host";
const ORIGINAL_PATH: &str = "x-envoy-original-path";

impl Forwarding<'_> {
    /// What the endpoint must have that takes the request: its subset.
    #[inline]
    pub fn metadata(&self) -> &Fields {
        self.weighted
            .map_or(&self.forward.metadata, |weighted| &weighted.metadata)
    }

    /// By the route's policies; see [`hash_by`].
    pub fn hash(&self, head: &RequestHead, source: Option<IpAddr>, random: u64) -> Hashed {
        hash_by(&self.forward.hash, head, source, None, random)
    }

    /// Header edits and rewrites, before the request goes upstream. Envoy's order: a weighted cluster's own, always; then
    /// the most specific edits first, so that the table's win, or the other way round; then host, then path. `tells`: what
    /// was there before goes into `x-envoy-original-…`.
    pub fn edit_request(&self, head: &mut RequestHead, values: &dyn FormatValues, tells: bool) {
        if let Some(weighted) = self.weighted {
            weighted.request_headers.edit_request(head, values);
            if let Some(host) = &weighted.host_rewrite {
                head.authority = Bytes::copy_from_slice(host.as_bytes());
            }
        }
        let levels = [
            &self.route.request_headers,
            &self.host.request_headers,
            &self.table.request_headers,
        ];
        for ops in in_order(levels, self.table.most_specific_wins) {
            ops.edit_request(head, values);
        }
        self.rewrite_host(head, values, tells);
        self.rewrite_path(head, values, tells);
    }

    /// Header edits of an answer, in the same order.
    pub fn edit_response(&self, request: &RequestHead, head: &mut ResponseHead, values: &dyn FormatValues) {
        if let Some(weighted) = self.weighted {
            weighted.response_headers.edit_response(request, head, values);
        }
        let levels = [
            &self.route.response_headers,
            &self.host.response_headers,
            &self.table.response_headers,
        ];
        for ops in in_order(levels, self.table.most_specific_wins) {
            ops.edit_response(request, head, values);
        }
    }

    /// [`HostRewrite::Auto`] is the caller's, once it knows the endpoint: [`Self::auto_host`].
    fn rewrite_host(&self, head: &mut RequestHead, values: &dyn FormatValues, tells: bool) {
        match &self.forward.host_rewrite {
            HostRewrite::None | HostRewrite::Auto => {}
            HostRewrite::Literal(host) => self.set_host(head, host.as_bytes(), tells),
            HostRewrite::Format(format) => {
                let mut host = Vec::new();
                // What is not known is `-`, unlike in a path, as in Envoy.
                format.write(heads(head), values, &mut host);
                if !host.is_empty() {
                    self.set_host(head, &host, tells);
                }
            }
            HostRewrite::Header(name) => {
                let host = head.headers.get(name).filter(|host| !host.is_empty());
                if let Some(host) = host.map(<[u8]>::to_vec) {
                    self.set_host(head, &host, tells);
                }
            }
            HostRewrite::Path(regex) => {
                let host = substitute(regex, head.path_only());
                self.set_host(head, &host, tells);
            }
        }
    }

    /// Another authority, and what it was where somebody may want to know.
    pub fn set_host(&self, head: &mut RequestHead, host: &[u8], tells: bool) {
        let before = std::mem::replace(&mut head.authority, Bytes::copy_from_slice(host));
        if tells {
            head.headers.set(ORIGINAL_HOST, &before);
        }
        if self.forward.forwarded_host {
            let told: Vec<&[u8]> = head
                .headers
                .get_all("x-forwarded-host")
                .chain([&before[..]])
                .collect();
            let told = told.join(&b","[..]);
            head.headers.set("x-forwarded-host", told);
        }
    }

    /// Whether the authority becomes the chosen endpoint's hostname.
    #[inline]
    pub fn auto_host(&self) -> bool {
        matches!(self.forward.host_rewrite, HostRewrite::Auto)
    }

    fn rewrite_path(&self, head: &mut RequestHead, values: &dyn FormatValues, tells: bool) {
        let rewritten = if let Some(prefix) = &self.forward.prefix_rewrite {
            replace_prefix(&self.route.matches, head, prefix)
        } else if let Some(format) = &self.forward.path_format {
            format_path(format, head, values)
        } else {
            let regex = self.forward.regex_rewrite.as_ref();
            regex.map(|regex| substitute_path(regex, head))
        };
        let Some(rewritten) = rewritten else { return };
        let original = std::mem::replace(&mut head.path, rewritten);
        if tells {
            head.headers.set(ORIGINAL_PATH, original);
        }
    }
}

impl Decision<'_> {
    /// A redirect that rewrites a part of the path has rewritten the request itself: what its answer and the access log
    /// say of the path is the new one.
    pub fn rewrite_request(&self, head: &mut RequestHead, tells: bool) {
        let Self::Redirect {
            route: Some(route), ..
        } = self
        else {
            return;
        };
        let Action::Redirect(redirect) = &route.action else {
            return;
        };
        let rewritten = match (&redirect.prefix, &redirect.regex) {
            (Some(prefix), _) => replace_prefix(&route.matches, head, prefix),
            (None, Some(regex)) => Some(substitute_path(regex, head)),
            (None, None) => None,
        };
        let Some(rewritten) = rewritten else { return };
        let original = std::mem::replace(&mut head.path, rewritten);
        if tells {
            head.headers.set(ORIGINAL_PATH, original);
        }
    }

    /// Where a redirect leads whose path is a format. None: it has none, or nothing came of it.
    pub fn formatted_location(&self, head: &RequestHead, values: &dyn FormatValues) -> Option<Bytes> {
        let Self::Redirect {
            route: Some(route), ..
        } = self
        else {
            return None;
        };
        let Action::Redirect(redirect) = &route.action else {
            return None;
        };
        let path = formatted(redirect.format.as_deref()?, head, values);
        let path = String::from_utf8(path).ok().filter(|path| !path.is_empty())?;
        let redirect = Redirect {
            path: Some(path),
            ..redirect.clone()
        };
        let secure = is_secure(head, &RouteContext::default());
        Some(redirect_location(&redirect, &route.matches, head, secure))
    }

    /// Header edits of an answer that the proxy gives because a route says so.
    pub fn edit_response(&self, request: &RequestHead, head: &mut ResponseHead, values: &dyn FormatValues) {
        let (Self::Redirect { table, .. } | Self::Respond { table, .. }) = self else {
            return;
        };
        // Without a route, the host itself has redirected: nothing of it is the answer's.
        if let (Some(route), Some(host)) = (self.route(), self.host()) {
            let levels = [
                &route.response_headers,
                &host.response_headers,
                &table.response_headers,
            ];
            for ops in in_order(levels, table.most_specific_wins) {
                ops.edit_response(request, head, values);
            }
        }
    }
}

/// What a format comes to; empty where nothing of it is known.
fn formatted(format: &Format, head: &RequestHead, values: &dyn FormatValues) -> Vec<u8> {
    let mut out = Vec::new();
    format.write_omitting(heads(head), values, &mut out);
    out
}

fn heads(request: &RequestHead) -> Heads<'_> {
    Heads {
        request: Some(request),
        ..Heads::default()
    }
}

/// The path with its query, which stays. None: nothing came of it.
fn format_path(format: &Format, head: &RequestHead, values: &dyn FormatValues) -> Option<Bytes> {
    let mut path = formatted(format, head, values);
    if path.is_empty() {
        return None;
    }
    let query_at = head.path_only().len();
    path.extend_from_slice(head.path.get(query_at..).unwrap_or_default());
    Some(path.into())
}

/// The most specific first, or last.
fn in_order(levels: [&HeaderOps; 3], reversed: bool) -> impl Iterator<Item = &HeaderOps> {
    let at = move |i: usize| if reversed { 2 - i } else { i };
    (0..3).map(move |i| levels[at(i)])
}
