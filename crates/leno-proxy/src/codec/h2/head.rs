//! Heads, between the wire and the engine's form.

use std::ops::Range;

use bytes::Bytes;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_http2::{Fields, Pseudo, Section};
use smallvec::SmallVec;

/// Bytes of most heads.
const USUAL: usize = 512;
/// Fields of most heads.
const FIELDS: usize = 16;

type Span = Range<u32>;

/// A head as it was received: one buffer, and what stands where in it.
#[derive(Debug, Default)]
pub(super) struct Received {
    wire: Vec<u8>,
    fields: SmallVec<[(Span, Span); FIELDS]>,
    method: Span,
    scheme: Span,
    authority: Span,
    path: Span,
    protocol: Option<Span>,
    host: Span,
    status: u16,
    pub(super) length: Option<u64>,
    /// RFC 9110 §10.1.1.
    pub(super) expects_continue: bool,
    cookies: SmallVec<[usize; 4]>,
}

/// In a place of its own, as every event of a connection has room for one.
impl Section for Box<Received> {
    fn pseudo(&mut self, which: Pseudo, value: &[u8]) {
        if which == Pseudo::Status {
            let digits = value.iter().map(|b| u16::from(b.wrapping_sub(b'0')));
            self.status = digits.fold(0, |status, digit| status * 10 + digit);
            return;
        }
        let span = self.keep(value);
        match which {
            Pseudo::Method => self.method = span,
            Pseudo::Scheme => self.scheme = span,
            Pseudo::Authority => self.authority = span,
            Pseudo::Path => self.path = span,
            Pseudo::Protocol => self.protocol = Some(span),
            Pseudo::Status => {}
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"host" => {
                self.host = self.keep(value);
                return;
            }
            // Answered by the proxy itself, as Envoy does.
            b"expect" => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
                return;
            }
            b"http2-settings" => return,
            b"cookie" => self.cookies.push(self.fields.len()),
            b"content-length" => self.length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()),
            _ => {}
        }
        let name = self.keep(name);
        let value = self.keep(value);
        self.fields.push((name, value));
    }
}

impl Received {
    fn keep(&mut self, text: &[u8]) -> Span {
        if self.wire.capacity() == 0 {
            self.wire.reserve(USUAL);
        }
        let at = self.wire.len() as u32;
        self.wire.extend_from_slice(text);
        at..at + text.len() as u32
    }

    fn text(&self, span: &Span) -> &[u8] {
        self.wire
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    /// A cookie that came in pieces is one field to everybody else (RFC 9113 §8.2.3).
    fn join_cookies(&mut self) {
        let [first, rest @ ..] = self.cookies.as_slice() else {
            return;
        };
        if rest.is_empty() {
            return;
        }
        let values = self.cookies.iter().filter_map(|at| self.fields.get(*at));
        let values: Vec<&[u8]> = values.map(|(_, value)| self.text(value)).collect();
        let joined = values.join(&b"; "[..]);
        let (first, rest) = (*first, rest.to_vec());
        let value = self.keep(&joined);
        if let Some(field) = self.fields.get_mut(first) {
            field.1 = value;
        }
        for at in rest.into_iter().rev() {
            self.fields.remove(at);
        }
    }

    fn headers(fields: &[(Span, Span)], wire: Bytes) -> Headers {
        if fields.is_empty() {
            return Headers::default();
        }
        let range = |span: &Span| span.start as usize..span.end as usize;
        let fields = fields.iter().map(|(name, value)| (range(name), range(value)));
        Headers::from_wire(wire, fields)
    }

    /// `secure`: the connection is, where the client does not say.
    pub(super) fn request(mut self: Box<Self>, secure: bool) -> RequestHead {
        self.join_cookies();
        let scheme = match self.text(&self.scheme) {
            b"https" => "https",
            b"http" => "http",
            _ if secure => "https",
            _ => "http",
        };
        let method = match self.text(&self.method) {
            // An extended CONNECT (RFC 8441 §4) is what HTTP/1 says with `Upgrade`, to everybody behind the codec.
            b"CONNECT" if self.protocol.is_some() => Some("GET"),
            b"GET" => Some("GET"),
            b"POST" => Some("POST"),
            _ => None,
        };
        let authority = if self.authority.is_empty() {
            self.host
        } else {
            self.authority
        };
        let wire = Bytes::from(self.wire);
        let share = |span: Span| wire.slice(span.start as usize..span.end as usize);
        RequestHead {
            version: Version::Http2,
            method: method.map_or_else(
                || share(self.method.clone()),
                |method| Bytes::from_static(method.as_bytes()),
            ),
            scheme: Bytes::from_static(scheme.as_bytes()),
            authority: share(authority),
            path: share(self.path),
            upgrade: self.protocol.map(share),
            headers: Self::headers(&self.fields, wire),
        }
    }

    /// With the length that it gives its body.
    pub(super) fn response(mut self: Box<Self>) -> (ResponseHead, Option<u64>) {
        // `host` means nothing in a response, but is not ours to drop.
        if !self.host.is_empty() {
            let name = self.keep(b"host");
            self.fields.push((name, self.host.clone()));
        }
        let head = ResponseHead {
            version: Version::Http2,
            status: self.status,
            headers: Self::headers(&self.fields, Bytes::from(self.wire)),
        };
        (head, self.length)
    }

    pub(super) fn trailers(self: Box<Self>) -> Headers {
        Self::headers(&self.fields, Bytes::from(self.wire))
    }
}

pub(super) fn write_request(head: &RequestHead, fields: &mut Fields<'_>) {
    let path: &[u8] = if head.path.is_empty() { b"/" } else { &head.path };
    // An upgrade is an extended CONNECT (RFC 8441 §4).
    let method: &[u8] = if head.upgrade.is_some() {
        b"CONNECT"
    } else {
        &head.method
    };
    fields.pseudo(":method", method);
    fields.pseudo(":authority", &head.authority);
    if let Some(protocol) = &head.upgrade {
        fields.pseudo(":protocol", protocol);
    }
    // RFC 9113 §8.5.
    if method != b"CONNECT" || head.upgrade.is_some() {
        fields.pseudo(":scheme", &head.scheme);
        fields.pseudo(":path", path);
    }
    write_headers(&head.headers, fields);
}

/// `date`: where the head has none.
pub(super) fn write_response(head: &ResponseHead, date: &str, fields: &mut Fields<'_>) {
    write_status(head.status, fields);
    write_headers(&head.headers, fields);
    if !head.headers.contains("date") {
        fields.field(b"date", date.as_bytes());
    }
}

pub(super) fn write_status(status: u16, fields: &mut Fields<'_>) {
    let digit = |n: u16| b'0' + (n % 10) as u8;
    fields.pseudo(
        ":status",
        &[digit(status / 100), digit(status / 10), digit(status)],
    );
}

pub(super) fn write_headers(headers: &Headers, fields: &mut Fields<'_>) {
    for (name, value) in headers.iter() {
        if !is_of_http1(name, value) {
            fields.field(name, value);
        }
    }
}

/// What has no place in HTTP/2 (RFC 9113 §8.2.2), should somebody have added it.
fn is_of_http1(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"connection" | b"host" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            true
        }
        b"te" => value != b"trailers",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(fields: &[(&str, &str)]) -> Box<Received> {
        let mut received = Box::<Received>::default();
        for (pseudo, value) in [
            (Pseudo::Method, "PUT"),
            (Pseudo::Scheme, "https"),
            (Pseudo::Path, "/a?b"),
        ] {
            received.pseudo(pseudo, value.as_bytes());
        }
        for (name, value) in fields {
            received.field(name.as_bytes(), value.as_bytes());
        }
        received
    }

    #[test]
    fn a_cookie_in_pieces_is_one_field_in_its_place() {
        let head = received(&[
            ("cookie", "a=1"),
            ("accept", "x"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
        ]);
        let head = head.request(false);
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(
            fields,
            [(&b"cookie"[..], &b"a=1; b=2; c=3"[..]), (b"accept", b"x")]
        );
    }

    #[test]
    fn the_authority_is_the_host_where_there_is_none() {
        assert_eq!(received(&[("host", "h:1")]).request(false).authority, "h:1");
        let mut both = received(&[("host", "other")]);
        both.pseudo(Pseudo::Authority, b"a:1");
        let head = both.request(false);
        assert_eq!(head.authority, "a:1");
        assert!(head.headers.is_empty());
    }

    #[test]
    fn what_is_answered_here_does_not_pass() {
        let received = received(&[("expect", "100-Continue"), ("te", "trailers")]);
        assert!(received.expects_continue);
        let head = received.request(false);
        assert_eq!(head.headers.len(), 1);
        assert_eq!(
            (head.method, head.scheme, head.path),
            ("PUT".into(), "https".into(), "/a?b".into())
        );
    }

    #[test]
    fn a_status_is_read() {
        let mut received = Box::<Received>::default();
        received.pseudo(Pseudo::Status, b"503");
        assert_eq!(received.response().0.status, 503);
    }
}
