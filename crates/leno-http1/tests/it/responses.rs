//! Heads of responses, and what they say of their bodies.

use leno_http1::{Asked, Error, Framing, Response, parse_response};

use crate::{LIMITS, shown};

fn parse(head: &str, asked: Asked) -> Result<Response, Error> {
    parse_response(format!("{head}\r\n").as_bytes(), asked, &LIMITS)
}

#[test]
fn a_body_ends_as_its_head_says() {
    use Asked::{Head, Other};
    for (head, asked, framing, persistent) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
            Other,
            Framing::Length(2),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
            Head,
            Framing::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
            Other,
            Framing::Chunked,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n", Other, Framing::UntilClose, false),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n",
            Other,
            Framing::Length(2),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n",
            Other,
            Framing::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n",
            Other,
            Framing::None,
            false,
        ),
        ("HTTP/1.1 204 No Content\r\n", Other, Framing::None, true),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n",
            Other,
            Framing::None,
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n",
            Other,
            Framing::None,
            true,
        ),
        ("HTTP/1.1 100 Continue\r\n", Other, Framing::None, true),
    ] {
        let response = parse(head, asked).unwrap();
        assert_eq!(
            (response.framing, response.persistent),
            (framing, persistent),
            "{head:?}"
        );
    }
}

#[test]
fn what_is_no_response_is_refused() {
    for head in [
        "garbage\r\n",
        "http/1.1 200 OK\r\n",
        "HTTP/1.1 abc OK\r\n",
        "HTTP/1.1 99 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 +200 OK\r\n",
        "HTTP/1.1 000 OK\r\n",
        "HTTP/1.1 200 a\0b\r\n",
        "HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n",
        "HTTP/1.1 204 N\r\ncontent-length: 2\r\n",
        "HTTP/1.1 204 N\r\ntransfer-encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n",
    ] {
        assert!(parse(head, Asked::Other).is_err(), "{head:?}");
    }
    assert!(parse("HTTP/1.1 101 S\r\n", Asked::Upgrade).is_err(), "to what?");
}

#[test]
fn first_lines_are_read_as_envoy_reads_them() {
    for line in [
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.1  200  OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.1 200 a\rb",
    ] {
        let response = parse(&format!("{line}\r\ncontent-length: 0\r\n"), Asked::Other).unwrap();
        assert_eq!(response.head.status, 200, "{line:?}");
    }
}

#[test]
fn fields_of_the_connection_end_here_but_for_an_upgrade() {
    let head =
        "HTTP/1.1 200 OK\r\nconnection: x\r\nx: 1\r\nkeep-alive: 5\r\nupgrade: h2c\r\ncontent-length: 0\r\n";
    assert_eq!(
        shown(&parse(head, Asked::Other).unwrap().head.headers),
        "content-length: 0"
    );
    let head = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nkeep-alive: 5\r\n";
    let upgraded = parse(head, Asked::Upgrade).unwrap();
    assert_eq!(
        shown(&upgraded.head.headers),
        "connection: upgrade|upgrade: websocket"
    );
    let head = "HTTP/1.1 204 N\r\ncontent-length: 0\r\n";
    assert_eq!(shown(&parse(head, Asked::Other).unwrap().head.headers), "");
}
