//! Between the `http` crate's types and the engine's: the one place.
//!
//! Connection-specific fields (RFC 9110 §7.6.1) end here in both directions: framing belongs to each connection.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};

use crate::outcome::StreamError;

/// The message of one direction with its upgrade, if it asks for one.
pub(super) fn request_head(parts: &http::request::Parts, secure: bool) -> RequestHead {
    let headers = &parts.headers;
    let authority = match parts.uri.authority() {
        Some(authority) => Bytes::copy_from_slice(authority.as_str().as_bytes()),
        None => headers
            .get(header::HOST)
            .map(|v| Bytes::copy_from_slice(v.as_bytes()))
            .unwrap_or_default(),
    };
    let path = match parts.uri.path_and_query() {
        Some(path) => Bytes::copy_from_slice(path.as_str().as_bytes()),
        None => Bytes::new(),
    };
    let scheme = match parts.uri.scheme_str() {
        Some("https") => Bytes::from_static(b"https"),
        Some("http") => Bytes::from_static(b"http"),
        _ if secure => Bytes::from_static(b"https"),
        _ => Bytes::from_static(b"http"),
    };
    let upgrade = match parts.extensions.get::<h2::ext::Protocol>() {
        Some(protocol) => Some(Bytes::copy_from_slice(protocol.as_str().as_bytes())),
        None => upgrade_of(headers),
    };
    RequestHead {
        version: version(parts.version),
        method: method_bytes(&parts.method),
        scheme,
        authority,
        path,
        headers: from_map(headers, true),
        upgrade,
    }
}

pub(super) fn response_head(parts: &http::response::Parts) -> ResponseHead {
    ResponseHead {
        version: version(parts.version),
        status: parts.status.as_u16(),
        headers: from_map(&parts.headers, false),
    }
}

/// A request for an HTTP/2 upstream: scheme and authority as pseudo-headers.
pub(super) fn to_h2_request(head: RequestHead) -> Result<http::Request<()>, StreamError> {
    let uri = http::Uri::builder()
        .scheme(head.scheme.as_ref())
        .authority(head.authority.as_ref())
        .path_and_query(if head.path.is_empty() {
            b"/"
        } else {
            head.path.as_ref()
        })
        .build()
        .map_err(|_| invalid("authority or path"))?;
    let mut request = http::Request::new(());
    *request.method_mut() = method(&head.method)?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    into_map(head.headers, request.headers_mut())?;
    Ok(request)
}

pub(super) fn to_response<B>(head: ResponseHead, body: B) -> Result<http::Response<B>, StreamError> {
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(head.status).map_err(|_| invalid("status"))?;
    into_map(head.headers, response.headers_mut())?;
    Ok(response)
}

pub(super) fn trailers_from(map: &HeaderMap) -> Headers {
    from_map(map, false)
}

pub(super) fn trailers_to(headers: Headers) -> Result<HeaderMap, StreamError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    into_map(headers, &mut map)?;
    Ok(map)
}

/// Copies into one allocation, which every name and value then shares.
fn from_map(map: &HeaderMap, request: bool) -> Headers {
    let size = map.iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
    let mut arena = BytesMut::with_capacity(size);
    let mut fields = Vec::with_capacity(map.len());
    for (name, value) in map {
        let is_field_of_the_head = request && *name == header::HOST;
        if is_field_of_the_head || is_hop_by_hop(name, map) {
            continue;
        }
        let start = arena.len();
        arena.extend_from_slice(name.as_str().as_bytes());
        let middle = arena.len();
        arena.extend_from_slice(value.as_bytes());
        fields.push((start..middle, middle..arena.len()));
    }
    Headers::from_wire(arena.freeze(), fields)
}

fn into_map(headers: Headers, map: &mut HeaderMap) -> Result<(), StreamError> {
    map.reserve(headers.len());
    for (name, content) in headers.iter_shared() {
        let name = HeaderName::from_bytes(&name).map_err(|_| invalid("header name"))?;
        map.append(name, value(content)?);
    }
    Ok(())
}

fn is_hop_by_hop(name: &HeaderName, map: &HeaderMap) -> bool {
    if *name == header::CONNECTION
        || *name == header::UPGRADE
        || *name == header::TRANSFER_ENCODING
        || *name == header::EXPECT
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        )
    {
        return true;
    }
    if *name == header::TE {
        // gRPC needs `te: trailers`; nothing else may pass.
        return !map
            .get_all(header::TE)
            .iter()
            .any(|v| v.as_bytes().eq_ignore_ascii_case(b"trailers"));
    }
    map.contains_key(header::CONNECTION) && connection_names(map, name.as_str())
}

/// Whether `Connection` lists this token.
fn connection_names(map: &HeaderMap, token: &str) -> bool {
    map.get_all(header::CONNECTION)
        .iter()
        .flat_map(|v| v.as_bytes().split(|b| *b == b','))
        .any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// `Upgrade`, when `Connection` asks for it. Upgrading to h2c this way is obsolete (RFC 9113 §3.1) and is ignored.
fn upgrade_of(headers: &HeaderMap) -> Option<Bytes> {
    let wanted = headers.get(header::UPGRADE)?;
    if !connection_names(headers, "upgrade") || wanted.as_bytes().eq_ignore_ascii_case(b"h2c") {
        return None;
    }
    Some(Bytes::copy_from_slice(wanted.as_bytes()))
}

fn version(version: http::Version) -> Version {
    match version {
        http::Version::HTTP_2 => Version::Http2,
        http::Version::HTTP_10 | http::Version::HTTP_09 => Version::Http10,
        _ => Version::Http11,
    }
}

fn method_bytes(method: &http::Method) -> Bytes {
    match *method {
        http::Method::GET => Bytes::from_static(b"GET"),
        http::Method::POST => Bytes::from_static(b"POST"),
        _ => Bytes::copy_from_slice(method.as_str().as_bytes()),
    }
}

fn method(bytes: &[u8]) -> Result<http::Method, StreamError> {
    http::Method::from_bytes(bytes).map_err(|_| invalid("method"))
}

fn value(bytes: Bytes) -> Result<HeaderValue, StreamError> {
    HeaderValue::from_maybe_shared(bytes).map_err(|_| invalid("header value"))
}

fn invalid(what: &'static str) -> StreamError {
    StreamError::Invalid(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> http::request::Parts {
        let mut builder = http::Request::builder().uri("/a?b=c");
        for (n, v) in headers {
            builder = builder.header(*n, *v);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn fields_that_connection_names_do_not_pass() {
        let head = request_head(
            &parts(&[
                ("host", "h:1"),
                ("connection", "X-Private, keep-alive"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "gzip"),
                ("accept", "x"),
            ]),
            false,
        );
        let names: Vec<_> = head.headers.iter().map(|(n, _)| n).collect();
        assert_eq!(names, [&b"accept"[..]]);
        assert_eq!(head.authority, "h:1");
        assert_eq!(head.path, "/a?b=c");
    }

    #[test]
    fn te_trailers_passes_for_grpc() {
        let head = request_head(&parts(&[("te", "trailers")]), false);
        assert_eq!(head.headers.get("te"), Some(&b"trailers"[..]));
    }

    #[test]
    fn an_upgrade_is_seen_only_when_connection_says_so() {
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(
            request_head(&parts(&websocket), false).upgrade.as_deref(),
            Some(&b"websocket"[..])
        );
        assert_eq!(
            request_head(&parts(&[("upgrade", "websocket")]), false).upgrade,
            None
        );
        let h2c = [
            ("connection", "upgrade, http2-settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AA"),
        ];
        let head = request_head(&parts(&h2c), false);
        assert_eq!(head.upgrade, None);
        assert!(head.headers.is_empty());
    }
}
