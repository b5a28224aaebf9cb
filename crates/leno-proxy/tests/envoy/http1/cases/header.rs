//! RFC 9112 §5 and RFC 9110 §5: lines, names and values; what is for the next hop only.

use super::super::case::{Case, End, Subject, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "header names",
            cases: names(),
        },
        Subject {
            name: "header values",
            cases: values(),
        },
        Subject {
            name: "line folding and line ends",
            cases: lines(),
        },
        Subject {
            name: "headers of one hop, and of the proxy",
            cases: hop(),
        },
    ]
}

/// A request with this line among its headers.
fn with(name: &'static str, line: impl AsRef<[u8]>) -> Case {
    let line = line.as_ref();
    case(
        name,
        [b"GET / HTTP/1.1\r\nhost: a\r\n", line, b"\r\nlast: 1\r\n\r\n"].concat(),
    )
}

fn names() -> Vec<Case> {
    vec![
        with("a name in capitals", "X-Foo: Bar"),
        with("the same name thrice", "x: 1\r\ny: 2\r\nX: 3\r\nx: 1"),
        with("a name of token characters", "!#$%&'*+-.^_`|~09aZ: 1"),
        with("a name with an underscore", "x_y: 1"),
        with("a space before the colon", "x : 1"),
        with("a tab before the colon", "x\t: 1"),
        with("a space before the colon of Host", "Host : b"),
        with("a space in the name", "x y: 1"),
        with("an empty name", ": 1"),
        with("a line without a colon", "xyz"),
        with("a colon alone", ":"),
        with("a pseudo header", ":path: /x"),
        with("a slash in the name", "x/y: 1"),
        with("a parenthesis in the name", "x(y): 1"),
        with("a quotation mark in the name", "\"x\": 1"),
        with("a comma in the name", "x,y: 1"),
        with("NUL in the name", "x\0y: 1"),
        with("DEL in the name", "x\x7fy: 1"),
        with("0x80 in the name", b"x\x80y: 1"),
        with("UTF-8 in the name", "\u{e4}: 1"),
        with("a CR in the name", "x\ry: 1"),
        with("a name of 1,000 bytes", format!("{}: 1", "n".repeat(1000))),
        case(
            "a space before the first name",
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
        ),
        case(
            "a first line without a colon",
            "GET / HTTP/1.1\r\nxyz\r\nhost: a\r\n\r\n",
        ),
    ]
}

fn values() -> Vec<Case> {
    vec![
        with("an empty value", "x:"),
        with("a value of spaces", "x:   \t "),
        with("no space before the value", "x:1"),
        with("spaces around the value", "x: \t 1 \t "),
        with("a tab in the value", "x: 1\t2"),
        with("spaces in the value", "x: 1  2"),
        with("a colon in the value", "x: 1: 2"),
        with("a quoted value", "x: \"1, 2\""),
        with("NUL in the value", "x: 1\x002"),
        with("NUL ends the value", "x: 1\0"),
        with("0x01 in the value", "x: 1\x012"),
        with("a vertical tab in the value", "x: 1\x0b2"),
        with("a form feed before the value", "x: \x0c1"),
        with("an escape in the value", "x: 1\x1b2"),
        with("DEL in the value", "x: 1\x7f2"),
        with("0x80 in the value", b"x: 1\x802"),
        with("0xff in the value", b"x: 1\xff2"),
        with("UTF-8 in the value", "x: \u{e4}"),
        with("a CR in the value", "x: 1\r2"),
        with("a CR before the line's end", "x: 1\r"),
        with("a CR begins the value", "x: \r1"),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        with("a folded line", "x: 1\r\n 2"),
        with("a line folded with a tab", "x: 1\r\n\t2"),
        with("a fold that brings a header", "x: 1\r\n content-length: 5"),
        with("a folded Transfer-Encoding", "transfer-encoding:\r\n chunked"),
        with("a folded Content-Length", "content-length:\r\n 0"),
        with("a fold of nothing", "x: 1\r\n "),
        with("a fold with LF", "x: 1\n 2"),
        with("a line of a space", " "),
        with("an LF ends a header line", "x: 1\ny: 2"),
        with("a CR for a line's end", "x: 1\ry: 2"),
        with("LF and CR turned round", "x: 1\n\ry: 2"),
        case("an LF for the empty line", "GET / HTTP/1.1\r\nhost: a\r\n\n"),
        case("an LF before the empty line", "GET / HTTP/1.1\r\nhost: a\n\r\n"),
        case("a CR for the empty line", "GET / HTTP/1.1\r\nhost: a\r\n\r").unfinished(End::Close),
        case(
            "CR CR LF for the empty line",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\r\n",
        ),
    ]
}

fn hop() -> Vec<Case> {
    vec![
        with("TE: trailers", "te: trailers"),
        with("TE: gzip", "te: gzip"),
        with("Keep-Alive", "keep-alive: timeout=5"),
        with("Proxy-Connection: keep-alive", "proxy-connection: keep-alive"),
        with("Proxy-Authorization", "proxy-authorization: Basic eA=="),
        with("Trailer", "trailer: x"),
        with("a header that Connection names", "connection: x-foo\r\nx-foo: 1"),
        with("Connection names Host", "connection: host"),
        with(
            "Connection names Content-Length",
            "connection: content-length\r\ncontent-length: 0",
        ),
        with(
            "Connection names a header of the proxy",
            "connection: x-forwarded-proto",
        ),
        with("X-Forwarded-For", "x-forwarded-for: 10.0.0.1"),
        with("X-Forwarded-Proto", "x-forwarded-proto: https"),
        with("X-Forwarded-Proto of nonsense", "x-forwarded-proto: ftp"),
        with("X-Forwarded-Host", "x-forwarded-host: b"),
        with("X-Request-Id", "x-request-id: 1"),
        with(
            "X-Envoy-Expected-Rq-Timeout-Ms",
            "x-envoy-expected-rq-timeout-ms: 5",
        ),
        with("X-Envoy-Internal", "x-envoy-internal: true"),
        with("Cookie twice", "cookie: a=1\r\ncookie: b=2"),
    ]
}
