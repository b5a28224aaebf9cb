//! Envoy's defaults: 100 headers, 60 KiB of them.

use super::super::case::{Case, End, Subject, answer, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "number of headers",
            cases: count(),
        },
        Subject {
            name: "bytes of headers",
            cases: bytes(),
        },
        Subject {
            name: "limits of responses",
            cases: responses(),
        },
    ]
}

/// As many in all, Host among them.
fn headers(name: &'static str, all: usize) -> Case {
    case(
        name,
        format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(all - 1)),
    )
}

fn count() -> Vec<Case> {
    vec![
        headers("99 headers", 99),
        headers("100 headers", 100),
        headers("101 headers", 101),
        headers("1,000 headers", 1000),
        case(
            "101 headers and no end",
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}", "x: 1\r\n".repeat(101)),
        )
        .unfinished(End::Close),
    ]
}

fn bytes() -> Vec<Case> {
    let value = |name, length| {
        case(
            name,
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "v".repeat(length)),
        )
    };
    let path = |name, length| {
        case(
            name,
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(length)),
        )
    };
    let kib = 1024;
    vec![
        value("a value of 59 KiB", 59 * kib),
        value("a value of 61 KiB", 61 * kib),
        value("a value of 1 MiB", 1024 * kib),
        path("a path of 8 KiB", 8 * kib),
        path("a path of 59 KiB", 59 * kib),
        path("a path of 61 KiB", 61 * kib),
        case(
            "a name of 61 KiB",
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}: 1\r\n\r\n", "n".repeat(61 * kib)),
        ),
        case(
            "a method of 61 KiB",
            format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "M".repeat(61 * kib)),
        ),
        case(
            "90 headers of 61 KiB together",
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
                format!("x: {}\r\n", "v".repeat(700)).repeat(90)
            ),
        ),
        case(
            "61 KiB of path without an end",
            format!("GET /{}", "p".repeat(61 * kib)),
        )
        .unfinished(End::CloseOnceAnswered),
        case(
            "61 KiB of value without an end",
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "v".repeat(61 * kib)),
        )
        .unfinished(End::CloseOnceAnswered),
        case("line ends without an end", "\r\n".repeat(40 * kib)).unfinished(End::Close),
    ]
}

fn responses() -> Vec<Case> {
    let headers = |name, number: usize| {
        answer(
            name,
            format!(
                "HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n",
                "x: 1\r\n".repeat(number - 1)
            ),
        )
    };
    let value = |name, length| {
        answer(
            name,
            format!(
                "HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n",
                "v".repeat(length)
            ),
        )
    };
    vec![
        headers("100 headers of a response", 100),
        headers("101 headers of a response", 101),
        value("a value of 59 KiB in a response", 59 * 1024),
        value("a value of 61 KiB in a response", 61 * 1024),
        value("a value of 100 KiB in a response", 100 * 1024),
    ]
}
