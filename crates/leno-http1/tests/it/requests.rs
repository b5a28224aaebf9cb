//! Heads of requests: what is read, what is mended, what is refused and how.

use leno_engine::message::Version;
use leno_http1::{Error, Framing, HeadScanner, Request, Settings, parse_request};

use crate::{SETTINGS, shown};

fn parse(head: &str) -> Result<Request, Error> {
    parse_request(head.as_bytes(), false, &SETTINGS)
}

/// `GET /` of `a`, with these lines.
fn with(lines: &str) -> Result<Request, Error> {
    parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[test]
fn a_request_is_read_into_the_engines_form() {
    let request =
        parse("POST /a?b HTTP/1.1\r\nHost: b:1\r\nX-Two:  2 \r\nContent-Length: 3\r\n\r\n").unwrap();
    let head = &request.head;
    assert_eq!(
        (head.method.as_ref(), head.path.as_ref()),
        (&b"POST"[..], &b"/a?b"[..])
    );
    assert_eq!(
        (head.authority.as_ref(), head.scheme.as_ref()),
        (&b"b:1"[..], &b"http"[..])
    );
    assert_eq!(shown(&head.headers), "x-two: 2|content-length: 3");
    assert_eq!((request.framing, request.persistent), (Framing::Length(3), true));
}

#[test]
fn lines_are_mended_as_envoy_mends_them() {
    for (lines, read) in [
        ("x: a\r\n b\r\n", "x: a b"),
        ("x: a\r\n\t  b  \r\n c\r\n", "x: a\t  b   c"),
        ("x: a\r\n \r\ny: 1\r\n", "x: a|y: 1"),
        ("x: a\rb\r\n", "x: ab"),
        ("x: a\r\r\n", "x: a"),
        ("x:\t a\tb \t\r\n", "x: a\tb"),
        ("x:\r\n", "x: "),
        ("x: 1\ny: 2\n", "x: 1|y: 2"),
        ("x: \u{e9}\r\n", "x: \u{e9}"),
    ] {
        assert_eq!(shown(&with(lines).unwrap().head.headers), read, "{lines:?}");
    }
}

#[test]
fn lines_that_are_no_fields_are_refused() {
    for (lines, details) in [
        ("x : a\r\n", "http1.codec_error"),
        (": a\r\n", "http1.codec_error"),
        ("x\r\n", "http1.codec_error"),
        ("x(y): a\r\n", "http1.codec_error"),
        (":path: /\r\n", "http1.codec_error"),
        ("x: a\0b\r\n", "http1.invalid_characters"),
        ("x: a\u{1}b\r\n", "http1.invalid_characters"),
        ("x: a\u{7f}b\r\n", "http1.invalid_characters"),
        ("host: b\r\n", "http1.codec_error"),
    ] {
        let error = with(lines).unwrap_err();
        assert_eq!((error.status(), error.details()), (400, details), "{lines:?}");
    }
}

#[test]
fn the_length_of_a_body_is_said_once_and_in_one_way() {
    for (lines, framing) in [
        ("", Ok(Framing::None)),
        ("content-length: 003\r\n", Ok(Framing::Length(3))),
        ("transfer-encoding: Chunked\r\n", Ok(Framing::Chunked)),
        ("transfer-encoding:\r\n", Err(501)),
        ("transfer-encoding: gzip, chunked\r\n", Err(501)),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            Err(501),
        ),
        ("transfer-encoding: chun\rked\r\n", Err(400)),
        ("content-length: 3\r\ntransfer-encoding: chunked\r\n", Err(400)),
        ("content-length: 0\r\ntransfer-encoding: x\r\n", Err(400)),
        ("content-length: 3\r\ncontent-length: 3\r\n", Err(400)),
        ("content-length: 3, 3\r\n", Err(400)),
        ("content-length: +3\r\n", Err(400)),
        ("content-length: -3\r\n", Err(400)),
        ("content-length: 0x3\r\n", Err(400)),
        ("content-length:\r\n", Err(400)),
        ("content-length: 1\r2\r\n", Err(400)),
        ("content-length: 18446744073709551616\r\n", Err(400)),
    ] {
        let got = with(lines).map(|request| request.framing).map_err(Error::status);
        assert_eq!(got, framing, "{lines:?}");
    }
}

#[test]
fn first_lines_are_read_as_envoy_reads_them() {
    for line in [
        "GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\r",
    ] {
        let request = parse(&format!("{line}\r\nhost: a\r\n\r\n")).unwrap();
        assert_eq!(request.head.path, "/", "{line:?}");
    }
    for (line, status) in [
        (" GET / HTTP/1.1", 400),
        ("get / HTTP/1.1", 400),
        ("FOO / HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /a\tb HTTP/1.1", 400),
        ("GET foo HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/1.1 x", 400),
        ("GET / HTTP/1.0", 426),
        ("GET / HTTP/1.2", 426),
        ("GET / HTTP/2.0", 426),
        ("GET /", 400),
    ] {
        let error = parse(&format!("{line}\r\nhost: a\r\n\r\n")).unwrap_err();
        assert_eq!(error.status(), status, "{line:?}");
    }
}

#[test]
fn what_is_not_1_1_is_served_as_1_0_where_that_is_allowed() {
    let settings = Settings {
        http10: true,
        hostless_http10: false,
        ..SETTINGS
    };
    for (line, lines, persistent) in [
        ("GET / HTTP/1.0", "", false),
        ("GET / HTTP/1.0", "connection: keep-alive\r\n", true),
        ("GET / HTTP/2.0", "", false),
    ] {
        let head = format!("{line}\r\nhost: a\r\n{lines}\r\n");
        let request = parse_request(head.as_bytes(), false, &settings).unwrap();
        assert_eq!(
            (request.head.version, request.persistent),
            (Version::Http10, persistent),
            "{head:?}"
        );
    }
}

#[test]
fn methods_that_nobody_knows_pass_where_they_are_allowed() {
    let settings = Settings {
        any_method: true,
        ..SETTINGS
    };
    let read = |method: &str| {
        let head = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
        parse_request(head.as_bytes(), false, &settings).map(|request| request.head.method)
    };
    assert_eq!(read("M-SEARCH").unwrap(), "M-SEARCH");
    assert!(read("G@T").is_err());
}

#[test]
fn the_target_has_precedence_over_host() {
    let request = parse("GET https://u:p@b:1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = request.head;
    assert_eq!(
        (head.authority, head.path, head.scheme),
        ("b:1".into(), "/x".into(), "https".into())
    );
    assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").unwrap_err(), Error::NoHost);
    assert_eq!(with("connection: host\r\n").unwrap_err(), Error::NoHost);
    assert_eq!(
        parse("GET / HTTP/1.1\r\nhost: a b\r\n\r\n").unwrap_err(),
        Error::InvalidAuthority
    );
    assert_eq!(
        parse("GET / HTTP/1.1\r\nhost:\r\n\r\n").unwrap().head.authority,
        ""
    );
}

#[test]
fn fields_of_the_connection_end_here() {
    for (lines, left, persistent) in [
        ("connection: x-a, close\r\nx-a: 1\r\nx-b: 2\r\n", "x-b: 2", false),
        (
            "keep-alive: 5\r\nproxy-connection: keep-alive\r\ntrailer: x\r\n",
            "trailer: x",
            true,
        ),
        ("proxy-connection: close\r\n", "", false),
        ("te: trailers\r\n", "te: trailers", true),
        ("te: deflate, trailers\r\n", "te: trailers", true),
        ("te: gzip\r\n", "", true),
        ("connection: te\r\nte: trailers\r\n", "te: trailers", true),
        ("expect: 100-Continue\r\n", "", true),
        ("expect: other\r\n", "expect: other", true),
        ("upgrade: websocket\r\n", "", true),
        (
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n",
            "",
            true,
        ),
    ] {
        let request = with(lines).unwrap();
        assert_eq!(
            (shown(&request.head.headers).as_str(), request.persistent),
            (left, persistent),
            "{lines:?}"
        );
        assert_eq!(request.head.upgrade, None, "{lines:?}");
    }
    for named in ["x-forwarded-for", ":path", "a,b,c,d,e,f,g,h,i,j"] {
        let error = with(&format!("connection: {named}\r\n")).unwrap_err();
        assert_eq!(error, Error::ConnectionHeader, "{named}");
    }
}

#[test]
fn an_upgrade_is_one_when_connection_says_so() {
    let request = with("connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n").unwrap();
    assert_eq!(request.head.upgrade.as_deref(), Some(&b"websocket"[..]));
    assert!(request.head.headers.is_empty());
    // What follows is of the other protocol, whatever the head says of chunks.
    let lines = "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(with(lines).unwrap().framing, Framing::None);
}

#[test]
fn connect_has_an_authority_and_no_body() {
    let request = parse("CONNECT a:1 HTTP/1.1\r\nhost: b\r\n\r\n").unwrap();
    assert_eq!(
        (request.head.authority, request.head.path),
        ("a:1".into(), "".into())
    );
    let error = parse("CONNECT a:1 HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\n\r\n").unwrap_err();
    assert_eq!(error, Error::BodyDisallowed);
}

#[test]
fn heads_are_bounded() {
    let many = |n: usize| (0..n).map(|i| format!("x{i}: 1\r\n")).collect::<String>();
    assert!(with(&many(9)).is_ok());
    assert_eq!(with(&many(10)).unwrap_err(), Error::TooManyFields);
    assert_eq!(
        with(&format!("x: {}\r\n", "a".repeat(1024))).unwrap_err(),
        Error::TooLarge
    );
    assert_eq!(
        (Error::TooLarge.status(), Error::TooManyFields.status()),
        (431, 431)
    );
}

#[test]
fn the_end_of_a_head_is_found_however_it_comes() {
    for head in [
        "a\r\nb\r\n\r\n",
        "a\nb\n\n",
        "a\r\nb\n\r\n",
        "a\nb\r\n\n",
        "a\r\n\rb\r\n\r\n",
    ] {
        let bytes = [head.as_bytes(), b"rest\r\n\r\n"].concat();
        let mut scanner = HeadScanner::default();
        let found = (0..=bytes.len()).find_map(|end| scanner.find(&bytes[..end]));
        assert_eq!(found, Some(head.len()), "{head:?}");
        assert_eq!(HeadScanner::default().find(&bytes), Some(head.len()), "{head:?}");
    }
}
