//! `tunneling_config` of the TCP proxy: a connection inside a stream of HTTP (CONNECT, RFC 9110 §9.3.6; HBONE).

use crate::compile::Rejection;
use crate::compile::access_log::{Format, format};
use crate::compile::at::{At, refuse};
use crate::compile::header::{self, HeaderOps};
use crate::compile::pb::tcp_proxy as pb;

#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// Where the far end is to connect to: the CONNECT's target.
    pub authority: Format,
    /// A POST of this path in place of CONNECT, for proxies that know no CONNECT.
    pub post: Option<String>,
    pub headers: HeaderOps,
}

pub(super) fn tunnel(at: &At<'_>, message: &pb::tcp_proxy::TunnelingConfig) -> Result<Tunnel, Rejection> {
    let pb::tcp_proxy::TunnelingConfig {
        hostname,
        use_post,
        headers_to_add,
        propagate_response_headers,
        post_path,
        propagate_response_trailers,
        request_id_extension,
        request_id_header,
        request_id_metadata_key,
        formatters,
    } = message;
    refuse!(at; propagate_response_headers, propagate_response_trailers, request_id_extension, request_id_header,
        request_id_metadata_key, formatters);
    at.not_empty("hostname", hostname)?;
    let post = match (use_post, post_path.as_str()) {
        (true, "") => Some("/".to_owned()),
        (true, path) => Some(path.to_owned()),
        (false, "") => None,
        (false, _) => return Err(at.field("post_path").reject("it is for use_post only")),
    };
    Ok(Tunnel {
        authority: format(&at.field("hostname"), hostname)?,
        post,
        headers: header::edits(at, &header::added("headers_to_add", headers_to_add))?,
    })
}
