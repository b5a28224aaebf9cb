//! RFC 9112 §3: the request line, its target, and Host.

use super::super::case::{Case, End, Subject, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "request line: method",
            cases: method(),
        },
        Subject {
            name: "request line: separators",
            cases: separators(),
        },
        Subject {
            name: "request line: version",
            cases: version(),
        },
        Subject {
            name: "request line: target",
            cases: target(),
        },
        Subject {
            name: "absolute form",
            cases: absolute(),
        },
        Subject {
            name: "Host",
            cases: host(),
        },
    ]
}

fn method() -> Vec<Case> {
    vec![
        case("GET", "GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a lower-case method", "get / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a method nobody knows", "FOO / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a method with a dash", "M-SEARCH / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "a method with token characters",
            "!#$%&'*+-.^_`|~ / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a parenthesis in the method",
            "GE(T / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("a colon in the method", "GET: / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("NUL in the method", "GE\0T / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("no method", " / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "PRI without the rest of the preface",
            "PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("TRACE", "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "a method of 1,000 bytes",
            format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "M".repeat(1000)),
        ),
    ]
}

fn separators() -> Vec<Case> {
    vec![
        case(
            "two spaces before the target",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "two spaces before the version",
            "GET /  HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("a tab before the target", "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a tab before the version", "GET /\tHTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a space behind the version", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n"),
        case("a word behind the version", "GET / HTTP/1.1 x\r\nhost: a\r\n\r\n"),
        case(
            "a CRLF before the request",
            "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "three CRLF before the request",
            "\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("an LF before the request", "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a CR before the request", "\rGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("an LF ends the request line", "GET / HTTP/1.1\nhost: a\r\n\r\n"),
        case("a CR ends the request line", "GET / HTTP/1.1\rhost: a\r\n\r\n"),
        case(
            "two CR end the request line",
            "GET / HTTP/1.1\r\r\nhost: a\r\n\r\n",
        ),
        case("a CR in the request line", "GET /\r HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("LF ends every line", "GET / HTTP/1.1\nhost: a\n\n"),
        case(
            "TLS where HTTP is spoken",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ),
        case("a request line alone", "GET / HTTP/1.1\r\n").unfinished(End::Close),
        case("half a request line", "GET / HT").unfinished(End::Close),
        case("a head without its last line", "GET / HTTP/1.1\r\nhost: a\r\n").unfinished(End::Close),
        case("nothing at all", "").unfinished(End::Close),
        case("an empty line alone", "\r\n").unfinished(End::Close),
    ]
}

fn version() -> Vec<Case> {
    vec![
        case("HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n"),
        case("HTTP/1.2", "GET / HTTP/1.2\r\nhost: a\r\n\r\n"),
        case("HTTP/1.9", "GET / HTTP/1.9\r\nhost: a\r\n\r\n"),
        case("HTTP/1.10", "GET / HTTP/1.10\r\nhost: a\r\n\r\n"),
        case("HTTP/01.1", "GET / HTTP/01.1\r\nhost: a\r\n\r\n"),
        case("HTTP/0.9", "GET / HTTP/0.9\r\nhost: a\r\n\r\n"),
        case("HTTP/2.0", "GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
        case("HTTP/3.0", "GET / HTTP/3.0\r\nhost: a\r\n\r\n"),
        case("HTTP/1", "GET / HTTP/1\r\nhost: a\r\n\r\n"),
        case("HTTP/1.", "GET / HTTP/1.\r\nhost: a\r\n\r\n"),
        case("HTTP/11", "GET / HTTP/11\r\nhost: a\r\n\r\n"),
        case("HTTP/1.1x", "GET / HTTP/1.1x\r\nhost: a\r\n\r\n"),
        case("HTTP/-1.1", "GET / HTTP/-1.1\r\nhost: a\r\n\r\n"),
        case("http/1.1 in lower case", "GET / http/1.1\r\nhost: a\r\n\r\n"),
        case("another protocol", "GET / ICE/1.1\r\nhost: a\r\n\r\n"),
        case("a simple request of HTTP/0.9", "GET /\r\n\r\n"),
        case("HTTP/0.9 with a header", "GET /\r\nhost: a\r\n\r\n"),
    ]
}

fn target() -> Vec<Case> {
    vec![
        case("a space in the path", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a tab in the path", "GET /a\tb HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("NUL in the path", "GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("DEL in the path", "GET /a\x7fb HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "a control character in the path",
            "GET /a\x01b HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("UTF-8 in the path", "GET /\u{e4} HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("0xff in the path", b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "a fragment behind a query",
            "GET /a?b#c HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "characters that a URI has not",
            "GET /\"<>[]^`{|} HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("a backslash in the path", "GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "a bad escape in the path",
            "GET /%zz%4 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "an escaped NUL in the path",
            "GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("two slashes", "GET //b/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("dot segments", "GET /a/../b HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a query alone", "GET ?a HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a relative path", "GET a/b HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("OPTIONS *", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("GET *", "GET * HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "an authority as target of GET",
            "GET b:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ]
}

fn absolute() -> Vec<Case> {
    vec![
        case("a URL", "GET http://b/c?d HTTP/1.1\r\nhost: b\r\n\r\n"),
        case(
            "a URL of another host",
            "GET http://b/c HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("a URL without Host", "GET http://b/c HTTP/1.1\r\n\r\n"),
        case(
            "a URL with an empty Host",
            "GET http://b/c HTTP/1.1\r\nhost:\r\n\r\n",
        ),
        case(
            "a URL and two Host",
            "GET http://b/c HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        ),
        case("a URL without path", "GET http://b HTTP/1.1\r\nhost: b\r\n\r\n"),
        case("a URL of a query", "GET http://b?c HTTP/1.1\r\nhost: b\r\n\r\n"),
        case(
            "a URL with a port",
            "GET http://b:81/c HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a URL with an unreal port",
            "GET http://b:99999/c HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a URL with a user",
            "GET http://u:p@b/c HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "a URL with a fragment",
            "GET http://b/c#d HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("a URL of https", "GET https://b/c HTTP/1.1\r\nhost: b\r\n\r\n"),
        case("a URL in capitals", "GET HTTP://B/C HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a URL of ftp", "GET ftp://b/c HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a URL without host", "GET http:///c HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a URL of nothing", "GET http:// HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a URL with one slash", "GET http:/c HTTP/1.1\r\nhost: a\r\n\r\n"),
        case(
            "a URL of an IPv6 host",
            "GET http://[::1]:80/c HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case(
            "OPTIONS of a URL without path",
            "OPTIONS http://b HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        case("a URL by HTTP/1.0", "GET http://b/c HTTP/1.0\r\n\r\n"),
    ]
}

fn host() -> Vec<Case> {
    vec![
        case("no Host", "GET / HTTP/1.1\r\naccept: x\r\n\r\n"),
        case("no Host in HTTP/1.0", "GET / HTTP/1.0\r\naccept: x\r\n\r\n"),
        case("an empty Host", "GET / HTTP/1.1\r\nhost:\r\n\r\n"),
        case("Host of spaces", "GET / HTTP/1.1\r\nhost:  \r\n\r\n"),
        case("two equal Host", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        case(
            "two different Host",
            "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n",
        ),
        case(
            "Host behind other headers",
            "GET / HTTP/1.1\r\naccept: x\r\nhost: a\r\n\r\n",
        ),
        case("Host with a port", "GET / HTTP/1.1\r\nhost: a:8080\r\n\r\n"),
        case("Host with an unreal port", "GET / HTTP/1.1\r\nhost: a:x\r\n\r\n"),
        case("Host with an empty port", "GET / HTTP/1.1\r\nhost: a:\r\n\r\n"),
        case("Host in capitals", "GET / HTTP/1.1\r\nHOST: A.Example\r\n\r\n"),
        case(
            "Host with a dot at its end",
            "GET / HTTP/1.1\r\nhost: a.example.\r\n\r\n",
        ),
        case("Host with a space", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
        case("Host with a comma", "GET / HTTP/1.1\r\nhost: a,b\r\n\r\n"),
        case("Host with a slash", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        case("Host with a user", "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n"),
        case("Host with a question mark", "GET / HTTP/1.1\r\nhost: a?b\r\n\r\n"),
        case("Host with an underscore", "GET / HTTP/1.1\r\nhost: a_b\r\n\r\n"),
        case("Host with an escape", "GET / HTTP/1.1\r\nhost: a%20b\r\n\r\n"),
        case(
            "Host with a quotation mark",
            "GET / HTTP/1.1\r\nhost: \"a\"\r\n\r\n",
        ),
        case("Host in UTF-8", "GET / HTTP/1.1\r\nhost: \u{e4}\r\n\r\n"),
        case(
            "Host of an IPv6 address",
            "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        ),
    ]
}
