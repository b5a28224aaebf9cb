//! RFC 9112 §4 and §5 from the upstream's side: status lines, headers, interim answers.

use super::super::case::{Case, Subject, answer, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "responses: status line",
            cases: status_line(),
        },
        Subject {
            name: "responses: headers",
            cases: headers(),
        },
        Subject {
            name: "responses: interim",
            cases: interim(),
        },
    ]
}

fn status_line() -> Vec<Case> {
    let line = |name, line: &str| answer(name, format!("{line}\r\ncontent-length: 0\r\n\r\n"));
    vec![
        line("a response", "HTTP/1.1 200 OK"),
        line("another reason", "HTTP/1.1 200 All is well"),
        line("an empty reason", "HTTP/1.1 200 "),
        line("no reason", "HTTP/1.1 200"),
        line("0x80 in the reason", "HTTP/1.1 200 \u{e4}"),
        answer(
            "NUL in the reason",
            "HTTP/1.1 200 a\0b\r\ncontent-length: 0\r\n\r\n",
        ),
        answer(
            "a CR in the reason",
            "HTTP/1.1 200 a\rb\r\ncontent-length: 0\r\n\r\n",
        ),
        line("a response of HTTP/1.0", "HTTP/1.0 200 OK"),
        line("a response of HTTP/1.2", "HTTP/1.2 200 OK"),
        line("a response of HTTP/2.0", "HTTP/2.0 200 OK"),
        line("a response of HTTP/0.9", "HTTP/0.9 200 OK"),
        line("a response of http/1.1", "http/1.1 200 OK"),
        line("a response of another protocol", "ICY 200 OK"),
        line("status 99", "HTTP/1.1 99 X"),
        line("status 000", "HTTP/1.1 000 X"),
        line("status 299", "HTTP/1.1 299 X"),
        line("status 600", "HTTP/1.1 600 X"),
        line("status 999", "HTTP/1.1 999 X"),
        line("a status of four digits", "HTTP/1.1 2000 X"),
        line("a status of two digits", "HTTP/1.1 20 X"),
        line("a status of letters", "HTTP/1.1 2OO X"),
        line("a status with a sign", "HTTP/1.1 +200 X"),
        line("no status", "HTTP/1.1  OK"),
        line("two spaces before the status", "HTTP/1.1  200 OK"),
        line("a tab before the status", "HTTP/1.1\t200 OK"),
        line("a space before the response", " HTTP/1.1 200 OK"),
        line("a CRLF before the response", "\r\nHTTP/1.1 200 OK"),
        answer(
            "LF ends every line of a response",
            "HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        ),
        answer("nonsense for a response", "nonsense\r\n\r\n"),
        answer(
            "binary nonsense for a response",
            b"\x16\x03\x01\x00\xff\xff\r\n\r\n",
        ),
        answer("no response", "").then_close(),
        answer("half a status line", "HTTP/1.1 2").then_close(),
        answer("half a head", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n").then_close(),
    ]
}

fn headers() -> Vec<Case> {
    let with = |name, line: &[u8]| {
        answer(
            name,
            [b"HTTP/1.1 200 OK\r\n", line, b"\r\ncontent-length: 0\r\n\r\n"].concat(),
        )
    };
    vec![
        with("a response's name in capitals", b"X-Foo: Bar"),
        with("a response's cookies", b"set-cookie: a=1\r\nset-cookie: b=2"),
        with("a response's server", b"server: x"),
        with("a response's date", b"date: Thu, 01 Jan 1970 00:00:00 GMT"),
        with("a space before a response's colon", b"x : 1"),
        with("a response's line without a colon", b"xyz"),
        with("a response's empty name", b": 1"),
        with("a bad name in a response", b"x(y): 1"),
        with("a pseudo header in a response", b":status: 500"),
        with("NUL in a response's value", b"x: 1\x002"),
        with("a CR in a response's value", b"x: 1\r2"),
        with("0x01 in a response's value", b"x: 1\x012"),
        with("0x80 in a response's value", b"x: 1\x802"),
        with("a folded line of a response", b"x: 1\r\n 2"),
        with("an LF in a response's head", b"x: 1\ny: 2"),
        with("a response's Connection: close", b"connection: close"),
        with(
            "a response's Connection: keep-alive",
            b"connection: keep-alive\r\nkeep-alive: timeout=5",
        ),
        with(
            "a header that a response's Connection names",
            b"connection: x-foo\r\nx-foo: 1",
        ),
        with("a response's Proxy-Connection", b"proxy-connection: keep-alive"),
        with("a response's Upgrade", b"upgrade: h2c"),
        with(
            "a response's Connection: upgrade",
            b"connection: upgrade\r\nupgrade: h2c",
        ),
        with("a response's Trailer", b"trailer: x"),
        with("a response's TE", b"te: trailers"),
        with(
            "a response's x-envoy-upstream-service-time",
            b"x-envoy-upstream-service-time: 1",
        ),
        with("a response's Host", b"host: b"),
    ]
}

fn interim() -> Vec<Case> {
    let then = |name, first: &str| {
        answer(
            name,
            format!("{first}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        )
    };
    vec![
        then("100 before the response", "HTTP/1.1 100 Continue\r\n\r\n"),
        then("100 with headers", "HTTP/1.1 100 Continue\r\nx: 1\r\n\r\n"),
        then(
            "100 twice",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        ),
        then("102 before the response", "HTTP/1.1 102 Processing\r\n\r\n"),
        then(
            "103 before the response",
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        ),
        then("104 before the response", "HTTP/1.1 104 X\r\n\r\n"),
        then("199 before the response", "HTTP/1.1 199 X\r\n\r\n"),
        then(
            "100 with a length",
            "HTTP/1.1 100 Continue\r\ncontent-length: 2\r\n\r\n",
        ),
        then(
            "103 with chunked",
            "HTTP/1.1 103 X\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        then(
            "100 interim responses",
            &"HTTP/1.1 102 Processing\r\n\r\n".repeat(100),
        ),
        answer("100 and nothing else", "HTTP/1.1 100 Continue\r\n\r\n").then_close(),
        case(
            "100 while the request is not all there",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab",
        )
        .answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .early(),
    ]
}
