//! HTTP/1.1: the pieces in which bytes come make no difference; what is read is read the same after it was written;
//! and no other parser (httparse, which hyper uses) reads the same head as another message.
#![no_main]

use bytes::BytesMut;
use leno_engine::message::{Headers, Spelling};
use leno_http1::{
    Decoded, Decoder, Framing, HeadScanner, Limits, Request, Settings, encode_request, leading_empty_lines,
    parse_request, respell,
};
use libfuzzer_sys::fuzz_target;

const SETTINGS: Settings = Settings {
    chunked_length: false,
    limits: Limits {
        head_bytes: 4096,
        fields: 32,
    },
    http10: true,
    hostless_http10: false,
    any_method: true,
};

// A byte that says how long the pieces are, and what a client sends.
fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let whole = Reader::default().read(bytes, bytes.len().max(1));
    let pieces = Reader::default().read(bytes, usize::from(*size % 31) + 1);
    assert_eq!(whole, pieces);
    let mut scanner = HeadScanner::default();
    let bytes = &bytes[leading_empty_lines(bytes)..];
    let Some(end) = scanner.find(bytes) else { return };
    let head = &bytes[..end];
    let Ok(request) = parse_request(head, false, &SETTINGS) else {
        return;
    };
    is_the_same_when_written(&request);
    is_the_same_to_httparse(head, &request);
    is_the_same_when_respelled(head, &request, *size & 1 == 1);
});

/// What a server sees: a line for each request, the data of its body joined.
#[derive(Default)]
struct Reader {
    input: BytesMut,
    scanner: HeadScanner,
    body: Option<Decoder>,
    data: Vec<u8>,
    seen: Vec<String>,
}

impl Reader {
    fn read(mut self, bytes: &[u8], size: usize) -> Vec<String> {
        for piece in bytes.chunks(size) {
            self.input.extend_from_slice(piece);
            while self.step() {}
        }
        self.seen.push(format!("{:?} unfinished", self.data));
        self.seen
    }

    /// False: more bytes are needed, or none will do.
    fn step(&mut self) -> bool {
        if self.seen.last().is_some_and(|last| last.starts_with("refused")) {
            return false;
        }
        if let Some(body) = &mut self.body {
            match body.decode(&mut self.input) {
                Ok(Decoded::Data(data)) => self.data.extend_from_slice(&data),
                Ok(Decoded::Trailers(trailers)) => self.seen.push(format!("{trailers:?}")),
                Ok(Decoded::More) => return false,
                Ok(Decoded::End) => {
                    self.seen.push(format!("{:?}", std::mem::take(&mut self.data)));
                    self.body = None;
                }
                Err(error) => self.seen.push(format!("refused {error:?}")),
            }
            return true;
        }
        let empty = leading_empty_lines(&self.input);
        if empty > 0 {
            let _ = self.input.split_to(empty);
            self.scanner = HeadScanner::default();
        }
        let Some(end) = self.scanner.find(&self.input) else {
            return false;
        };
        self.scanner = HeadScanner::default();
        let head = self.input.split_to(end);
        match parse_request(&head, false, &SETTINGS) {
            Ok(request) => {
                self.seen.push(format!("{request:?}"));
                self.body = Some(Decoder::new(request.framing, &SETTINGS.limits));
            }
            Err(error) => self.seen.push(format!("refused {error:?}")),
        }
        true
    }
}

fn is_the_same_when_written(request: &Request) {
    let length = match request.framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let mut out = Vec::new();
    encode_request(&request.head, length, &mut out).expect("what was read can be written");
    assert_eq!(HeadScanner::default().find(&out), Some(out.len()), "one head");
    let settings = Settings {
        limits: Limits {
            head_bytes: 16_384,
            fields: 64,
        },
        ..SETTINGS
    };
    let again = parse_request(&out, false, &settings).expect("what was written can be read");
    let plain = |headers: &Headers| {
        let mut headers = headers.clone();
        headers.remove("content-length");
        headers
    };
    assert_eq!(again.head.method, request.head.method);
    assert_eq!(again.head.path, request.head.path);
    assert_eq!(again.head.authority, request.head.authority);
    assert_eq!(again.head.upgrade, request.head.upgrade);
    assert_eq!(plain(&again.head.headers), plain(&request.head.headers));
    assert_eq!(again.framing, request.framing);
}

/// Names as they were received, or in capitals, are the same names.
fn is_the_same_when_respelled(head: &[u8], request: &Request, proper: bool) {
    let mut plain = Vec::new();
    encode_request(&request.head, Some(0), &mut plain).expect("what was read can be written");
    let spelling = Spelling::of(head.to_vec().into(), proper, true);
    for spelling in [Some(&spelling), None] {
        let mut spelled = plain.clone();
        respell(&mut spelled, spelling, proper);
        assert!(spelled.eq_ignore_ascii_case(&plain), "another head");
    }
}

fn is_the_same_to_httparse(head: &[u8], request: &Request) {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut other = httparse::Request::new(&mut fields);
    match other.parse(head) {
        Ok(httparse::Status::Complete(length)) => {
            assert_eq!(length, head.len(), "another end of the head");
            assert_eq!(other.method.map(str::as_bytes), Some(request.head.method.as_ref()));
            let target = other.path.unwrap_or_default().as_bytes();
            assert!(target.ends_with(&request.head.path) || request.head.path == "/");
            let said = |name| values(other.headers, name);
            let lengths = said("content-length");
            let encodings = said("transfer-encoding").len();
            match request.framing {
                Framing::Length(length) => {
                    let text = std::str::from_utf8(lengths[0]).expect("digits");
                    assert_eq!((lengths.len(), text.trim().parse()), (1, Ok(length)));
                    assert_eq!(encodings, 0);
                }
                Framing::Chunked => assert_eq!((lengths.len(), encodings), (0, 1)),
                Framing::None => assert!(encodings == 0 || request.head.upgrade.is_some()),
                Framing::UntilClose => panic!("no request ends with its connection"),
            }
            for (name, value) in request.head.headers.iter().filter(|(name, _)| *name != b"te") {
                let mut same = other.headers.iter().filter(|f| f.name.as_bytes().eq_ignore_ascii_case(name));
                assert!(same.any(|f| f.value.trim_ascii() == value), "{name:?} {value:?}");
            }
        }
        Ok(httparse::Status::Partial) => panic!("another end of the head"),
        // What Envoy mends and httparse does not.
        Err(_) => assert!(is_mended(head), "{:?}", String::from_utf8_lossy(head)),
    }
}

fn values<'h>(headers: &[httparse::Header<'h>], name: &str) -> Vec<&'h [u8]> {
    let named = headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| field.value).collect()
}

/// Folded lines, carriage returns where none should be, several blanks or tabs in the first line, another version.
fn is_mended(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let folds = head.windows(2).any(|pair| pair[0] == b'\n' && matches!(pair[1], b' ' | b'\t'));
    let returns = head.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
    let parts: Vec<_> = line.split(|byte| *byte <= b' ').collect();
    let usual = parts.len() == 3 && matches!(parts[2], b"HTTP/1.0" | b"HTTP/1.1");
    folds || returns || !usual || line.iter().any(|byte| *byte < b' ')
}
