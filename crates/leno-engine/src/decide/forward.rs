//! What a forwarded request and its answer become: header edits and rewrites, level by level.

use bytes::Bytes;

use super::rewrite::{replace_prefix, substitute};
use super::route::Forwarding;
use crate::compile::access_log::FormatValues;
use crate::compile::route::HostRewrite;
use crate::message::{RequestHead, ResponseHead};

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
