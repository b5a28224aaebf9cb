//! RFC 9112 §6 and §7: where a request ends.

use super::super::case::{Case, End, Subject, case};

pub(crate) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "Content-Length",
            cases: length(),
        },
        Subject {
            name: "Transfer-Encoding",
            cases: encoding(),
        },
        Subject {
            name: "Content-Length and Transfer-Encoding",
            cases: both(),
        },
        Subject {
            name: "chunks",
            cases: chunks(),
        },
        Subject {
            name: "chunk extensions",
            cases: extensions(),
        },
        Subject {
            name: "trailers",
            cases: trailers(),
        },
    ]
}

/// POST with these header lines and body.
fn post(name: &'static str, lines: &str, body: &str) -> Case {
    case(
        name,
        format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n{body}"),
    )
}

/// POST with this chunked body.
fn chunked(name: &'static str, body: impl AsRef<[u8]>) -> Case {
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    case(name, [head, body.as_ref()].concat())
}

fn length() -> Vec<Case> {
    vec![
        post("a body of 5 bytes", "content-length: 5", "12345"),
        post("a body of 0 bytes", "content-length: 0", ""),
        post("POST without length", "accept: x", ""),
        case("PUT without length", "PUT / HTTP/1.1\r\nhost: a\r\n\r\n"),
        post("a body of NUL and line ends", "content-length: 5", "\0\r\n\r\n"),
        case(
            "GET with a body",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n12",
        ),
        case(
            "GET with length 0",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        ),
        case(
            "DELETE with a body",
            "DELETE / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n12",
        ),
        case(
            "TRACE with a body",
            "TRACE / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n12",
        ),
        post("leading zeros", "content-length: 0005", "12345"),
        post("a plus sign", "content-length: +5", "12345"),
        post("a minus sign", "content-length: -5", "12345"),
        post("minus zero", "content-length: -0", ""),
        post("hexadecimal", "content-length: 0x5", "12345"),
        post("a letter behind the number", "content-length: 5a", "12345"),
        post("a semicolon behind the number", "content-length: 5;a", "12345"),
        post("a fraction", "content-length: 5.0", "12345"),
        post("an exponent", "content-length: 5e0", "12345"),
        post("spaces around the number", "content-length:  \t5 \t", "12345"),
        post("a space in the number", "content-length: 1 0", "1234567890"),
        post(
            "a vertical tab behind the number",
            "content-length: 5\x0b",
            "12345",
        ),
        post("an empty length", "content-length:", ""),
        post("a word as length", "content-length: five", "12345"),
        post("a list of equal lengths", "content-length: 5, 5", "12345"),
        post("a list of different lengths", "content-length: 5, 6", "12345"),
        post("a list with an empty length", "content-length: 5,", "12345"),
        post(
            "two equal lengths",
            "content-length: 5\r\ncontent-length: 5",
            "12345",
        ),
        post(
            "two different lengths",
            "content-length: 5\r\nContent-Length: 6",
            "12345",
        ),
        post(
            "two lengths of one value, written differently",
            "content-length: 5\r\ncontent-length: 05",
            "12345",
        ),
        post(
            "a space before the colon of the length",
            "content-length : 5",
            "12345",
        ),
        post("a length with a space in the name", "content length: 5", "12345"),
        post("a length with an underscore", "content_length: 5", ""),
        post("2^63 as length", "content-length: 9223372036854775808", "12345")
            .unfinished(End::CloseOnceForwarded),
        post("2^64 as length", "content-length: 18446744073709551616", "12345"),
        post(
            "a length of 30 digits",
            "content-length: 100000000000000000000000000000",
            "12345",
        ),
        post(
            "30 zeros and a 5",
            "content-length: 0000000000000000000000000000005",
            "12345",
        ),
        post("fewer bytes than said", "content-length: 9", "12345").unfinished(End::CloseOnceForwarded),
        post("more bytes than said", "content-length: 3", "12345"),
        case(
            "a body in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 2\r\n\r\n12",
        ),
    ]
}

fn encoding() -> Vec<Case> {
    let with = |name, lines| post(name, lines, "2\r\nab\r\n0\r\n\r\n");
    vec![
        with("chunked", "transfer-encoding: chunked"),
        with("Chunked in capitals", "Transfer-Encoding: CHUNKED"),
        with("spaces around chunked", "transfer-encoding: \t chunked \t"),
        with(
            "a tab before the colon of the encoding",
            "transfer-encoding\t: chunked",
        ),
        with("identity", "transfer-encoding: identity"),
        with("gzip", "transfer-encoding: gzip"),
        with("gzip, chunked", "transfer-encoding: gzip, chunked"),
        with("chunked, gzip", "transfer-encoding: chunked, gzip"),
        with("chunked, identity", "transfer-encoding: chunked, identity"),
        with("identity, chunked", "transfer-encoding: identity, chunked"),
        with("chunked, chunked", "transfer-encoding: chunked, chunked"),
        with(
            "chunked twice",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ),
        with(
            "identity and chunked",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        ),
        with(
            "chunked and identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        ),
        with("chunked with a parameter", "transfer-encoding: chunked;a=b"),
        with("a word before chunked", "transfer-encoding: xchunked"),
        with("a word with chunked", "transfer-encoding: x chunked"),
        with("a letter behind chunked", "transfer-encoding: chunkedx"),
        with("quoted chunked", "transfer-encoding: \"chunked\""),
        with("a vertical tab before chunked", "transfer-encoding: \x0bchunked"),
        with("NUL behind chunked", "transfer-encoding: chunked\0"),
        with("a comma behind chunked", "transfer-encoding: chunked,"),
        with("a comma before chunked", "transfer-encoding: ,chunked"),
        with("an empty encoding", "transfer-encoding:"),
        with("an encoding with an underscore", "transfer_encoding: chunked"),
        case(
            "GET with chunks",
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        case(
            "chunks in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        with(
            "Connection names Transfer-Encoding",
            "connection: transfer-encoding\r\ntransfer-encoding: chunked",
        ),
    ]
}

fn both() -> Vec<Case> {
    let with = |name, lines| post(name, lines, "0\r\n\r\n");
    vec![
        with(
            "length, then chunked",
            "content-length: 5\r\ntransfer-encoding: chunked",
        ),
        with(
            "chunked, then length",
            "transfer-encoding: chunked\r\ncontent-length: 5",
        ),
        with(
            "length 0 and chunked",
            "content-length: 0\r\ntransfer-encoding: chunked",
        ),
        with(
            "length and identity",
            "content-length: 5\r\ntransfer-encoding: identity",
        ),
        with(
            "length and an empty encoding",
            "content-length: 5\r\ntransfer-encoding:",
        ),
        with(
            "length and a wrong encoding",
            "content-length: 5\r\ntransfer-encoding: xchunked",
        ),
        with(
            "length and chunked that Connection names",
            "connection: content-length\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        ),
        case(
            "length and chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ]
}

fn chunks() -> Vec<Case> {
    vec![
        chunked("several chunks", "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"),
        chunked("no chunk but the last", "0\r\n\r\n"),
        chunked(
            "hexadecimal sizes",
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        ),
        chunked("zeros before the size", "0000002\r\nab\r\n0\r\n\r\n"),
        chunked(
            "32 zeros before the size",
            "000000000000000000000000000000002\r\nab\r\n0\r\n\r\n",
        ),
        chunked("the last chunk of many zeros", "2\r\nab\r\n00000\r\n\r\n"),
        chunked("0x before the size", "0x2\r\nab\r\n0\r\n\r\n"),
        chunked("a plus before the size", "+2\r\nab\r\n0\r\n\r\n"),
        chunked("a minus before the size", "-2\r\nab\r\n0\r\n\r\n"),
        chunked("a space before the size", " 2\r\nab\r\n0\r\n\r\n"),
        chunked("a space behind the size", "2 \r\nab\r\n0\r\n\r\n"),
        chunked("a tab behind the size", "2\t\r\nab\r\n0\r\n\r\n"),
        chunked(
            "an underscore in the size",
            "1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        ),
        chunked("no size", "\r\nab\r\n0\r\n\r\n"),
        chunked("a letter that is no digit", "g\r\nab\r\n0\r\n\r\n"),
        chunked("NUL behind the size", "2\0\r\nab\r\n0\r\n\r\n"),
        chunked("a size of 2^64", "10000000000000000\r\nab\r\n0\r\n\r\n"),
        chunked("a size of 2^64 + 2", "10000000000000002\r\nab\r\n0\r\n\r\n"),
        chunked("a size of 2^64 - 1", "ffffffffffffffff\r\nab\r\n0\r\n\r\n").unfinished(End::Close),
        chunked(
            "a size of 100 digits",
            format!("{}\r\nab\r\n0\r\n\r\n", "f".repeat(100)),
        ),
        chunked("more data than said", "2\r\nabc\r\n0\r\n\r\n"),
        chunked("less data than said", "5\r\nabc\r\n0\r\n\r\n"),
        chunked("no line end behind the data", "2\r\nab0\r\n\r\n"),
        chunked("an LF behind the size", "2\nab\r\n0\r\n\r\n"),
        chunked("a CR behind the size", "2\rab\r\n0\r\n\r\n"),
        chunked("an LF behind the data", "2\r\nab\n0\r\n\r\n"),
        chunked("a CR behind the data", "2\r\nab\r0\r\n\r\n"),
        chunked("two line ends behind the data", "2\r\nab\r\n\r\n0\r\n\r\n"),
        chunked("CR CR LF behind the size", "2\r\r\nab\r\n0\r\n\r\n"),
        chunked("an LF behind the last size", "2\r\nab\r\n0\n\r\n"),
        chunked("an LF at the end", "2\r\nab\r\n0\r\n\n"),
        chunked("a body that breaks off in a chunk", "5\r\nab").unfinished(End::CloseOnceForwarded),
        chunked("a body without the last chunk", "2\r\nab\r\n").unfinished(End::CloseOnceForwarded),
        chunked("a body without its last line end", "2\r\nab\r\n0\r\n").unfinished(End::CloseOnceForwarded),
    ]
}

fn extensions() -> Vec<Case> {
    vec![
        chunked("an extension", "2;a\r\nab\r\n0\r\n\r\n"),
        chunked("an extension with a value", "2;a=b\r\nab\r\n0;c\r\n\r\n"),
        chunked(
            "an extension with a quoted value",
            "2;a=\"b;c\"\r\nab\r\n0\r\n\r\n",
        ),
        chunked("a line end in a quoted extension", "2;a=\"\r\nab\r\n0\r\n\r\n"),
        chunked("an LF in an extension", "2;a\nb\r\nab\r\n0\r\n\r\n"),
        chunked("an LF ends an extension", "2;a\nab\r\n0\r\n\r\n"),
        chunked("a CR in an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"),
        chunked("NUL in an extension", "2;a\0b\r\nab\r\n0\r\n\r\n"),
        chunked("0x01 in an extension", "2;a\x01b\r\nab\r\n0\r\n\r\n"),
        chunked("0x80 in an extension", b"2;a\x80b\r\nab\r\n0\r\n\r\n"),
        chunked("spaces around an extension", "2 ; a = b\r\nab\r\n0\r\n\r\n"),
        chunked("an empty extension", "2;\r\nab\r\n0\r\n\r\n"),
        chunked("an extension without a semicolon", "2 a\r\nab\r\n0\r\n\r\n"),
        chunked("a comma for the semicolon", "2,a\r\nab\r\n0\r\n\r\n"),
        chunked(
            "an extension of 1,000 bytes",
            format!("2;{}\r\nab\r\n0\r\n\r\n", "x".repeat(1000)),
        ),
        chunked(
            "an extension of 100,000 bytes",
            format!("2;{}\r\nab\r\n0\r\n\r\n", "x".repeat(100_000)),
        ),
    ]
}

fn trailers() -> Vec<Case> {
    let with = |name, lines: &str| chunked(name, format!("2\r\nab\r\n0\r\n{lines}\r\n\r\n"));
    vec![
        with("a trailer", "x: 1"),
        with("two trailers", "X-Foo: 1\r\ny: 2"),
        with("Content-Length as trailer", "content-length: 5"),
        with("Transfer-Encoding as trailer", "transfer-encoding: chunked"),
        with("Host as trailer", "host: b"),
        with("Connection as trailer", "connection: close"),
        with("a trailer without a colon", "xyz"),
        with("a trailer with an empty name", ": 1"),
        with("a space before a trailer's colon", "x : 1"),
        with("a bad name of a trailer", "x(y): 1"),
        with("a folded trailer", "x: 1\r\n 2"),
        with("NUL in a trailer", "x: 1\x002"),
        with("a CR in a trailer", "x: 1\r2"),
        with("an LF ends a trailer", "x: 1\ny: 2"),
        with("a request as trailer", "GET /smuggled HTTP/1.1\r\nhost: a"),
        with(
            "a trailer of 100,000 bytes",
            &format!("x: {}", "1".repeat(100_000)),
        ),
        with("200 trailers", &vec!["x: 1"; 200].join("\r\n")),
    ]
}
