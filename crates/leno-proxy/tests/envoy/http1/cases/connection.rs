//! RFC 9112 §9: how long a connection lives, HTTP/1.0, pipelining; RFC 9110 §10.1.1: Expect.

use super::super::case::{Case, End, Subject, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "Connection",
            cases: connection(),
        },
        Subject {
            name: "HTTP/1.0",
            cases: http10(),
        },
        Subject {
            name: "pipelining",
            cases: pipelining(),
        },
        Subject {
            name: "Expect",
            cases: expect(),
        },
        Subject {
            name: "HEAD",
            cases: head(),
        },
    ]
}

fn connection() -> Vec<Case> {
    let with = |name, line: &str| case(name, format!("GET / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n"));
    vec![
        with("Connection: close", "connection: close"),
        with("Connection: Close", "Connection: Close"),
        with("Connection: keep-alive", "connection: keep-alive"),
        with("Connection: keep-alive, close", "connection: keep-alive, close"),
        with("Connection: x, close", "connection: x, close"),
        with("Connection twice", "connection: keep-alive\r\nconnection: close"),
        with("an empty Connection", "connection:"),
        with("Connection of commas", "connection: ,,"),
        with("Connection of nonsense", "connection: \"close\""),
        with("Proxy-Connection: close", "proxy-connection: close"),
        with("Connection: te", "connection: te\r\nte: trailers"),
    ]
}

fn http10() -> Vec<Case> {
    let get = |name, line: &str| case(name, format!("GET / HTTP/1.0\r\nhost: a\r\n{line}\r\n"));
    vec![
        get("HTTP/1.0 with keep-alive", "connection: keep-alive\r\n"),
        get(
            "HTTP/1.0 with Keep-Alive",
            "Connection: Keep-Alive\r\nkeep-alive: timeout=5\r\n",
        ),
        get("HTTP/1.0 with close", "connection: close\r\n"),
        get(
            "HTTP/1.0 with Proxy-Connection",
            "proxy-connection: keep-alive\r\n",
        ),
        get("HTTP/1.0 and a chunked answer", "")
            .answered("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        get(
            "HTTP/1.0 with keep-alive and a chunked answer",
            "connection: keep-alive\r\n",
        )
        .answered("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        get("HTTP/1.0 and trailers in the answer", "")
            .answered("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: 1\r\n\r\n"),
        get("HTTP/1.0 and an answer that ends with its connection", "")
            .answered("HTTP/1.1 200 OK\r\n\r\nab")
            .then_close(),
        get("HTTP/1.0 and 103 in the answer", "").answered(
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        get(
            "HTTP/1.0 with Expect",
            "expect: 100-continue\r\ncontent-length: 0\r\n",
        ),
    ]
}

fn pipelining() -> Vec<Case> {
    vec![
        case(
            "three requests",
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a body between requests",
            "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "chunks between requests",
            "POST /1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a line end between requests",
            "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a bad request behind a good one",
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nbad header\r\n\r\n",
        ),
        case(
            "nonsense behind a request",
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n\0\0\0\0\r\n\r\n",
        ),
        case(
            "close in the first of two",
            "GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "HTTP/1.0 first of two",
            "GET /1 HTTP/1.0\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "half a request behind a good one",
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nho",
        )
        .unfinished(End::CloseOnceAnswered),
        case("50 requests", "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50)),
    ]
}

fn expect() -> Vec<Case> {
    let post = |name, lines: &str| {
        case(
            name,
            format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\ncontent-length: 2\r\n\r\nab"),
        )
    };
    vec![
        post("Expect: 100-continue", "expect: 100-continue"),
        post("Expect: 100-Continue", "Expect: 100-Continue"),
        post("Expect twice", "expect: 100-continue\r\nexpect: 100-continue"),
        post("Expect of something else", "expect: x"),
        post("Expect of a list", "expect: 100-continue, x"),
        post("an empty Expect", "expect:"),
        case(
            "Expect without a body",
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
        ),
        case(
            "Expect with chunks",
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        post("Expect answered by the upstream too", "expect: 100-continue")
            .answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        post("Expect and a final answer at once", "expect: 100-continue")
            .answered("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
            .early(),
    ]
}

fn head() -> Vec<Case> {
    let with = |name, answer: &str| {
        case(name, "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
            .answered(answer)
            .head()
    };
    vec![
        with(
            "HEAD and a length",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        with(
            "HEAD and length 0",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        with("HEAD and no length", "HTTP/1.1 200 OK\r\nx: 1\r\n\r\n"),
        with(
            "HEAD and chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        with(
            "HEAD and a body all the same",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345",
        ),
        with(
            "HEAD and 404",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\n",
        ),
        with(
            "HEAD and a bad answer",
            "HTTP/1.1 2OO OK\r\ncontent-length: 5\r\n\r\n",
        ),
        case(
            "HEAD with a body",
            "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab",
        )
        .answered("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        .head(),
        case("HEAD without Host", "HEAD / HTTP/1.1\r\n\r\n").head(),
        case("HEAD in HTTP/1.0", "HEAD / HTTP/1.0\r\nhost: a\r\n\r\n")
            .answered("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
            .head(),
    ]
}
