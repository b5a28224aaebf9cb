//! gRPC's status codes, where HTTP's are meant and the other way round.

use bytes::Bytes;

use crate::message::{LocalReply, RequestHead};

/// gRPC: "HTTP to gRPC status code mapping".
pub fn from_http(status: u16) -> u32 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The other way, as google.rpc.Code says and Envoy does.
pub fn to_http(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Turns an answer of the proxy's own into one that a gRPC client understands: only trailers, status 200.
pub fn answer(reply: &mut LocalReply, status: u32) {
    let body = std::mem::take(&mut reply.body);
    reply.status = 200;
    reply.headers.set("content-type", "application/grpc");
    reply.headers.set("grpc-status", status.to_string());
    if !body.is_empty() {
        reply.headers.set("grpc-message", percent_encoded(&body));
    }
}

/// gRPC over HTTP/2, `Status-Message`: printable ASCII as it is, the rest and `%` encoded.
fn percent_encoded(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => out.push(*byte),
        }
    }
    out.into()
}

/// By content type, as Envoy's `Grpc::Common::isGrpcRequestHeaders`.
pub fn is_grpc(head: &RequestHead) -> bool {
    let Some(content_type) = head.headers.get("content-type") else {
        return false;
    };
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}
