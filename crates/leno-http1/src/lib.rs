//! HTTP/1.1 (RFC 9112) without IO: bytes in, messages in the engine's form out, and the other way.
//!
//! What is accepted, what is refused and what is mended is as in Envoy 1.40 with its defaults, because a mesh changes
//! proxies under applications that nobody tests again. Where Envoy is lax in a way in which a request can be smuggled
//! past somebody, this codec refuses:
//!
//! - more than one `Host` (RFC 9112 §3.2; Envoy joins them with a comma);
//! - bytes between a chunk's data and its end of line (§7.1; Envoy skips them);
//! - a carriage return inside of a field that says how long the body is (§2.2; Envoy reads such a field in two ways);
//! - a status of other than three digits (§4), and an upgrade that was not asked for or does not say to what;
//! - trailers that frame, route or authenticate (RFC 9110 §6.5.1; Envoy passes them on);
//! - fields that a response's `Connection` names end here (RFC 9110 §7.6.1; Envoy passes them on).
//!
//! What is mended can be relied upon by whoever is next: a message is always written from its parts, never passed on
//! as it came.

mod body;
mod chunked;
mod connection;
mod encode;
mod error;
mod fields;
mod known;
mod request;
mod respell;
mod response;
mod syntax;
mod target;

pub use body::{Decoded, Decoder, Framing};
pub use encode::{BodyWriter, EncodeError, Encoded, ResponseTo, encode_request, encode_response, reason};
pub use error::Error;
pub use fields::{HeadScanner, leading_empty_lines};
pub use request::{Request, may_begin_request, parse_request};
pub use respell::respell;
pub use response::{Asked, Response, parse_response};

/// What a message may cost before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a head with its first line, of trailers, and of one chunk's size with its extensions.
    pub head_bytes: usize,
    /// Header fields of a head, or of trailers.
    pub fields: usize,
}

/// What Envoy leaves to its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// HTTP/1.0 requests are served (`accept_http_10`).
    pub http10: bool,
    /// HTTP/1.0 requests need no host: somebody else knows it.
    pub hostless_http10: bool,
    /// Methods outside of the list that Envoy knows (`allow_custom_methods`).
    pub any_method: bool,
    /// Requests with both `Content-Length` and `Transfer-Encoding`: the length is left out (`allow_chunked_length`).
    pub chunked_length: bool,
}
