//! RFC 9112 §6 from the upstream's side: where a response ends, and what is behind it.

use super::super::case::{Case, End, Subject, answer, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "responses: Content-Length",
            cases: length(),
        },
        Subject {
            name: "responses: Transfer-Encoding",
            cases: encoding(),
        },
        Subject {
            name: "responses: chunks and trailers",
            cases: chunks(),
        },
        Subject {
            name: "responses: no body",
            cases: no_body(),
        },
        Subject {
            name: "responses: their end, and what is behind it",
            cases: end(),
        },
        Subject {
            name: "responses: before the request is over",
            cases: early(),
        },
    ]
}

fn with(name: &'static str, lines: &str, body: &str) -> Case {
    answer(name, format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}"))
}

fn length() -> Vec<Case> {
    vec![
        with("a response of 5 bytes", "content-length: 5", "12345"),
        with(
            "two equal lengths of a response",
            "content-length: 5\r\ncontent-length: 5",
            "12345",
        ),
        with(
            "two different lengths of a response",
            "content-length: 5\r\ncontent-length: 6",
            "12345",
        )
        .then_close(),
        with(
            "a list of equal lengths of a response",
            "content-length: 5, 5",
            "12345",
        ),
        with(
            "a plus sign in a response's length",
            "content-length: +5",
            "12345",
        ),
        with(
            "a minus sign in a response's length",
            "content-length: -5",
            "12345",
        ),
        with(
            "leading zeros in a response's length",
            "content-length: 005",
            "12345",
        ),
        with("an empty length of a response", "content-length:", "12345"),
        with("a word as a response's length", "content-length: x", "12345"),
        with(
            "2^64 as a response's length",
            "content-length: 18446744073709551616",
            "12345",
        ),
        with(
            "a space before the colon of a response's length",
            "content-length : 5",
            "12345",
        ),
        with("a response cut off in its body", "content-length: 9", "12345").then_close(),
        with("a response cut off before its body", "content-length: 9", "").then_close(),
    ]
}

fn encoding() -> Vec<Case> {
    let with = |name, lines| with(name, lines, "5\r\n12345\r\n0\r\n\r\n");
    vec![
        with("a chunked response", "transfer-encoding: chunked"),
        with("a response of Chunked", "Transfer-Encoding: Chunked"),
        with("a response of gzip", "transfer-encoding: gzip").then_close(),
        with("a response of gzip, chunked", "transfer-encoding: gzip, chunked"),
        with("a response of chunked, gzip", "transfer-encoding: chunked, gzip").then_close(),
        with("a response of identity", "transfer-encoding: identity").then_close(),
        with(
            "a response chunked twice",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ),
        with(
            "a response of chunked, chunked",
            "transfer-encoding: chunked, chunked",
        ),
        with("a response of xchunked", "transfer-encoding: xchunked").then_close(),
        with("a response of an empty encoding", "transfer-encoding:").then_close(),
        with(
            "a response with length, then chunked",
            "content-length: 5\r\ntransfer-encoding: chunked",
        ),
        with(
            "a response with chunked, then length",
            "transfer-encoding: chunked\r\ncontent-length: 5",
        ),
        with(
            "a response with length and identity",
            "content-length: 5\r\ntransfer-encoding: identity",
        ),
        answer(
            "a chunked response of HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
        )
        .then_close(),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = |name, body: &str| with(name, "transfer-encoding: chunked", body);
    vec![
        chunked("a response of several chunks", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
        chunked("a response of no chunk", "0\r\n\r\n"),
        chunked("a response with an extension", "2;a=b\r\nab\r\n0\r\n\r\n"),
        chunked("a response with a bad chunk size", "x\r\nab\r\n0\r\n\r\n"),
        chunked("a response with 0x before the size", "0x2\r\nab\r\n0\r\n\r\n"),
        chunked(
            "a response with a size of 2^64",
            "10000000000000000\r\nab\r\n0\r\n\r\n",
        ),
        chunked("a response with too much in a chunk", "2\r\nabc\r\n0\r\n\r\n"),
        chunked("a response with LF behind the size", "2\nab\r\n0\r\n\r\n"),
        chunked("a response cut off in a chunk", "5\r\nab").then_close(),
        chunked("a response cut off between chunks", "2\r\nab\r\n").then_close(),
        chunked("a response cut off before the trailers' end", "2\r\nab\r\n0\r\n").then_close(),
        chunked("a response with a trailer", "2\r\nab\r\n0\r\nX-Foo: 1\r\n\r\n"),
        chunked(
            "a response with Content-Length as trailer",
            "2\r\nab\r\n0\r\ncontent-length: 7\r\n\r\n",
        ),
        chunked("a response with a bad trailer", "2\r\nab\r\n0\r\nx y: 1\r\n\r\n"),
        chunked(
            "a response with a trailer without a colon",
            "2\r\nab\r\n0\r\nxyz\r\n\r\n",
        ),
    ]
}

fn no_body() -> Vec<Case> {
    let with = |name, head: &str| answer(name, format!("HTTP/1.1 {head}\r\n\r\n"));
    vec![
        with("204", "204 No Content"),
        with("204 with length 0", "204 No Content\r\ncontent-length: 0"),
        with("204 with length 2", "204 No Content\r\ncontent-length: 2"),
        with("204 with chunked", "204 No Content\r\ntransfer-encoding: chunked"),
        answer(
            "204 with a body",
            "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nab",
        ),
        with("304", "304 Not Modified\r\netag: x"),
        with("304 with a length", "304 Not Modified\r\ncontent-length: 7"),
        with(
            "304 with chunked",
            "304 Not Modified\r\ntransfer-encoding: chunked",
        ),
        answer(
            "304 with a body",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nab",
        ),
        with("205 with length 0", "205 Reset Content\r\ncontent-length: 0"),
        answer(
            "205 with a body",
            "HTTP/1.1 205 Reset Content\r\ncontent-length: 2\r\n\r\nab",
        ),
    ]
}

fn end() -> Vec<Case> {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    vec![
        answer(
            "a response that ends with its connection",
            "HTTP/1.1 200 OK\r\n\r\nab",
        )
        .then_close(),
        answer(
            "an empty response that ends with its connection",
            "HTTP/1.1 200 OK\r\n\r\n",
        )
        .then_close(),
        answer(
            "a response of HTTP/1.0 that ends with its connection",
            "HTTP/1.0 200 OK\r\n\r\nab",
        )
        .then_close(),
        answer("a response whose connection ends", ok).then_close(),
        answer(
            "a response of HTTP/1.0 with keep-alive",
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        ),
        answer("a line end behind a response", format!("{ok}\r\n")),
        answer("nonsense behind a response", format!("{ok}nonsense")),
        answer(
            "two responses to one request",
            format!("{ok}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"),
        ),
        answer(
            "two responses, the first chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
        ),
        answer(
            "a response behind 204",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
        ),
        answer(
            "400 with a connection that ends",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        )
        .then_close(),
    ]
}

fn early() -> Vec<Case> {
    let half = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n12345";
    vec![
        case("an answer before the body is there", half)
            .answered("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
            .early()
            .unfinished(End::CloseOnceAnswered),
        case("an answer and a close before the body is there", half)
            .answered("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .early()
            .then_close()
            .unfinished(End::CloseOnceAnswered),
        case(
            "an answer before the chunks are there",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        )
        .answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .early()
        .unfinished(End::CloseOnceAnswered),
        case(
            "an answer at once to a request that is all there",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab",
        )
        .answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .early(),
    ]
}
