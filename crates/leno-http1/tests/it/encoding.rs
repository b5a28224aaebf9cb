//! Messages as they are written.

use bytes::Bytes;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_http1::{BodyWriter, EncodeError, ResponseTo, encode_request, encode_response};

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.append(name, value);
    }
    headers
}

fn request(method: &'static str, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        version: Version::Http11,
        method: method.into(),
        scheme: "http".into(),
        authority: "a".into(),
        path: "/".into(),
        headers: headers(fields),
        upgrade: None,
    }
}

fn written(head: &RequestHead, length: Option<u64>) -> (String, BodyWriter) {
    let mut out = Vec::new();
    let writer = encode_request(head, length, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), writer)
}

#[test]
fn a_request_says_how_long_its_body_is() {
    for (method, fields, length, lines, writer) in [
        ("GET", &[("x", "1")][..], Some(0), "x: 1\r\n", BodyWriter::None),
        ("POST", &[], Some(0), "content-length: 0\r\n", BodyWriter::None),
        (
            "POST",
            &[],
            Some(3),
            "content-length: 3\r\n",
            BodyWriter::Length(3),
        ),
        (
            "POST",
            &[("content-length", "003")],
            Some(3),
            "content-length: 003\r\n",
            BodyWriter::Length(3),
        ),
        // Somebody has changed the body.
        (
            "POST",
            &[("content-length", "9")],
            Some(3),
            "content-length: 3\r\n",
            BodyWriter::Length(3),
        ),
        (
            "GET",
            &[],
            None,
            "transfer-encoding: chunked\r\n",
            BodyWriter::Chunked,
        ),
    ] {
        let got = written(&request(method, fields), length);
        assert_eq!(
            got,
            (format!("{method} / HTTP/1.1\r\nhost: a\r\n{lines}\r\n"), writer)
        );
    }
}

#[test]
fn an_upgrade_and_a_tunnel_have_no_framing() {
    let mut head = request("POST", &[]);
    head.upgrade = Some("websocket".into());
    let (text, writer) = written(&head, Some(0));
    assert_eq!(
        text,
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    assert_eq!(writer, BodyWriter::None);
    let (text, _) = written(&request("CONNECT", &[]), Some(0));
    assert_eq!(text, "CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[test]
fn nothing_ends_a_line_early() {
    let mut out = Vec::new();
    for fields in [
        &[("x", "a\r\nb: c")][..],
        &[("x", "a\nb")],
        &[("x\r\ny", "a")],
        &[("", "a")],
        &[("x:", "a")],
    ] {
        let head = request("GET", fields);
        assert!(encode_request(&head, Some(0), &mut out).is_err(), "{fields:?}");
    }
    let mut head = request("GET", &[]);
    head.path = Bytes::from_static(b"/a b");
    assert_eq!(
        encode_request(&head, Some(0), &mut out),
        Err(EncodeError::Invalid("method or path"))
    );
}

fn response(
    status: u16,
    fields: &[(&str, &str)],
    length: Option<u64>,
    to: &ResponseTo<'_>,
) -> (String, BodyWriter, bool) {
    let head = ResponseHead {
        version: Version::Http11,
        status,
        headers: headers(fields),
    };
    let mut out = Vec::new();
    let encoded = encode_response(&head, length, to, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text.split_once("\r\n").unwrap().1.trim_end().replace("\r\n", "|");
    (lines, encoded.body, encoded.close)
}

#[test]
fn a_response_is_framed_for_whoever_asked() {
    let to = ResponseTo {
        version: Version::Http11,
        head: false,
        tunnel: false,
        close: false,
        date: b"now",
    };
    let head = ResponseTo { head: true, ..to };
    let old = ResponseTo {
        version: Version::Http10,
        ..to
    };
    let length = &[("content-length", "2")][..];
    for (status, fields, known, to, lines, writer, close) in [
        (
            200,
            length,
            Some(2),
            to,
            "content-length: 2|date: now",
            BodyWriter::Length(2),
            false,
        ),
        (
            200,
            &[("date", "x")],
            Some(0),
            to,
            "date: x|content-length: 0",
            BodyWriter::None,
            false,
        ),
        (
            200,
            &[],
            None,
            to,
            "date: now|transfer-encoding: chunked",
            BodyWriter::Chunked,
            false,
        ),
        (
            200,
            length,
            Some(0),
            head,
            "content-length: 2|date: now",
            BodyWriter::Withheld,
            false,
        ),
        (
            200,
            &[],
            None,
            old,
            "date: now|connection: close",
            BodyWriter::UntilClose,
            true,
        ),
        (
            200,
            length,
            Some(2),
            old,
            "content-length: 2|date: now|connection: keep-alive",
            BodyWriter::Length(2),
            false,
        ),
        (204, length, Some(0), to, "date: now", BodyWriter::None, false),
        (
            304,
            length,
            Some(0),
            to,
            "content-length: 2|date: now",
            BodyWriter::Withheld,
            false,
        ),
        (304, &[], Some(0), to, "date: now", BodyWriter::Withheld, false),
    ] {
        let got = response(status, fields, known, &to);
        assert_eq!(
            got,
            (lines.to_owned(), writer, close),
            "{status} {fields:?} {known:?}"
        );
    }
}

#[test]
fn a_body_is_as_long_as_was_said() {
    let mut before = Vec::new();
    let mut writer = BodyWriter::Length(3);
    assert_eq!(writer.data(4, false, &mut before), Err(EncodeError::TooLong));
    assert_eq!(writer.data(2, false, &mut before), Ok(&b""[..]));
    assert_eq!(writer.end(None, &mut before), Err(EncodeError::TooShort));
    assert_eq!(writer.data(1, true, &mut before), Ok(&b""[..]));
    assert_eq!(writer.end(None, &mut before), Ok(()));
    assert_eq!(
        BodyWriter::None.data(1, true, &mut before),
        Err(EncodeError::TooLong)
    );
    assert!(before.is_empty());
}

#[test]
fn chunks_and_trailers_are_framed() {
    let mut writer = BodyWriter::Chunked;
    let mut out = Vec::new();
    let after = writer.data(26, false, &mut out).unwrap();
    assert_eq!((out.as_slice(), after), (&b"1a\r\n"[..], &b"\r\n"[..]));
    // No bytes are no chunk, which would be the last.
    out.clear();
    assert_eq!(writer.data(0, false, &mut out), Ok(&b""[..]));
    assert!(out.is_empty());
    let mut ended = writer;
    assert_eq!(ended.data(1, true, &mut out), Ok(&b"\r\n0\r\n\r\n"[..]));
    assert_eq!(out, b"1\r\n");
    out.clear();
    writer.end(Some(&headers(&[("x", "1")])), &mut out).unwrap();
    assert_eq!(out, b"0\r\nx: 1\r\n\r\n");
}
