//! RFC 9110 §7.8 and §9.3.6: Upgrade and CONNECT. Only `websocket` is allowed by the bootstrap.

use super::super::case::{Case, Subject, case};

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "Upgrade",
            cases: upgrade(),
        },
        Subject {
            name: "CONNECT",
            cases: connect(),
        },
    ]
}

fn with(name: &'static str, lines: &str) -> Case {
    case(name, format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n")).answered(SWITCHED)
}

fn upgrade() -> Vec<Case> {
    let asked = "connection: upgrade\r\nupgrade: websocket";
    vec![
        with("an upgrade", asked),
        with("an upgrade in capitals", "Connection: Upgrade\r\nUpgrade: WebSocket"),
        with("an upgrade beside keep-alive", "connection: keep-alive, Upgrade\r\nupgrade: websocket"),
        with("an upgrade that is not taken up", asked).answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        with("an upgrade that is refused", asked).answered("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"),
        with("101 with a length", asked)
            .answered("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\n"),
        with("101 with chunked", asked)
            .answered("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n\r\n"),
        with("101 without Upgrade", asked).answered("HTTP/1.1 101 S\r\n\r\n"),
        with("101 to another protocol", asked).answered("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        with("101 that was not asked for", "accept: x"),
        with("Upgrade without Connection", "upgrade: websocket").answered("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        with("Connection: upgrade without Upgrade", "connection: upgrade")
            .answered("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        with("an upgrade that is not allowed", "connection: upgrade\r\nupgrade: x"),
        with("a list of upgrades", "connection: upgrade\r\nupgrade: websocket, x"),
        with("an upgrade to h2c", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__")
            .answered("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        with("an upgrade to TLS", "connection: upgrade\r\nupgrade: TLS/1.3"),
        with("an upgrade with length 0", &format!("{asked}\r\ncontent-length: 0")),
        case(
            "an upgrade with chunks",
            format!("POST / HTTP/1.1\r\nhost: a\r\n{asked}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        )
        .answered(SWITCHED),
        case("an upgrade by HTTP/1.0", format!("GET / HTTP/1.0\r\nhost: a\r\n{asked}\r\n\r\n")).answered(SWITCHED),
    ]
}

fn connect() -> Vec<Case> {
    vec![
        case("CONNECT", "CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n"),
        case("CONNECT without a port", "CONNECT b HTTP/1.1\r\nhost: b\r\n\r\n"),
        case("CONNECT without Host", "CONNECT b:443 HTTP/1.1\r\n\r\n"),
        case("CONNECT of a path", "CONNECT /b HTTP/1.1\r\nhost: b\r\n\r\n"),
        case(
            "CONNECT of a URL",
            "CONNECT http://b/ HTTP/1.1\r\nhost: b\r\n\r\n",
        ),
        case(
            "CONNECT with a length",
            "CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\ncontent-length: 2\r\n\r\nab",
        ),
        case("CONNECT by HTTP/1.0", "CONNECT b:443 HTTP/1.0\r\n\r\n"),
    ]
}
