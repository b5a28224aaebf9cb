//! `tunneling_config` of the TCP proxy: a connection inside a stream of HTTP (CONNECT, RFC 9110 §9.3.6; HBONE).

use crate::compile::access_log::{Format, format, formatters};
use crate::compile::at::{At, no_effect};
use crate::compile::header::{self, HeaderOps};
use crate::compile::pb::tcp_proxy as pb;
use crate::compile::{Rejection, tracing};

#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// Where the far end is to connect to: the CONNECT's target.
    pub authority: Format,
    /// A POST of this path in place of CONNECT, for proxies that know no CONNECT.
    pub post: Option<String>,
    pub headers: HeaderOps,
    /// The answer's headers and trailers are noted of the connection.
    pub notes_headers: bool,
    pub notes_trailers: bool,
    /// Each request has an id of its own.
    pub request_id: Option<RequestId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    pub header: String,
    /// Where it is noted, in the metadata of [`NAMESPACE`].
    pub key: String,
}

/// Of metadata that are noted of a connection that goes through a tunnel.
pub const NAMESPACE: &str = "envoy.filters.network.tcp_proxy";
/// Objects of the filter state.
pub const HEADERS: &str = "envoy.tcp_proxy.propagate_response_headers";
pub const TRAILERS: &str = "envoy.tcp_proxy.propagate_response_trailers";

impl Tunnel {
    /// Whether it may note something of a connection.
    pub fn notes(&self) -> bool {
        self.notes_headers || self.notes_trailers || self.request_id.is_some()
    }
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
    let options = self::formatters(at, formatters)?;
    let request_id = match request_id_extension {
        None => {
            no_effect!(at, "there is no request_id_extension"; request_id_header, request_id_metadata_key);
            None
        }
        Some(extension) => {
            // What it says besides is for tracing, and nothing traces a tunnel.
            tracing::request_ids(at, Some(extension))?;
            let or = |said: &str, default: &str| if said.is_empty() { default } else { said }.to_owned();
            Some(RequestId {
                header: at
                    .field("request_id_header")
                    .header_name(&or(request_id_header, "x-request-id"))?,
                key: or(request_id_metadata_key, "tunnel_request_id"),
            })
        }
    };
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
        headers: header::edits_with(at, &header::added("headers_to_add", headers_to_add), options)?,
        notes_headers: *propagate_response_headers,
        notes_trailers: *propagate_response_trailers,
        request_id,
    })
}
