//! An HTTP/2 connection of either side, and any peer: no panic, how the bytes are cut makes no difference, and what is
//! kept and answered is in proportion to what was sent.
#![no_main]

use leno_http2::{Connection, ConnectionError, Event, Limits, Options, PREFACE, Pseudo, Section};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Fields(usize);

impl Section for Fields {
    fn pseudo(&mut self, _which: Pseudo, value: &[u8]) {
        self.0 += value.len();
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_uppercase));
        assert!(!value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
        self.0 += name.len() + value.len();
    }
}

type Side = Connection<Fields, ()>;

fn options() -> Options {
    Options {
        max_concurrent_streams: 10,
        stream_window: 1000,
        connection_window: 100_000,
        max_header_bytes: 2000,
        max_headers: 20,
        extended_connect: true,
        limits: Limits::default(),
    }
}

/// A side that has opened some streams, if it is the one that does.
fn side(client: bool) -> Side {
    if !client {
        return Side::server(options());
    }
    let mut side = Side::client(options());
    for _ in 0..3 {
        let opened = side.open(false, 0, |fields| {
            fields.pseudo(":method", b"GET");
            fields.pseudo(":scheme", b"http");
            fields.pseudo(":authority", b"a");
            fields.pseudo(":path", b"/");
        });
        opened.expect("there is room");
    }
    side
}

/// Answers every request, takes every body; what came of it.
fn run(side: &mut Side, input: &mut Vec<u8>) -> Result<usize, ConnectionError> {
    let mut rest = &input[..];
    let mut events = 0;
    let mut taken = 0;
    while let Some(event) = side.receive(&mut rest, 0)? {
        events += 1;
        match event {
            Event::Head { key, head, .. } => {
                taken += head.0;
                let _ = side.respond(key, false, |fields| fields.pseudo(":status", b"200"));
            }
            Event::Data { key, data, .. } => {
                taken += data.len();
                side.release(key, data.len());
            }
            Event::Reset { key, .. } | Event::Trailers { key, .. } | Event::TooLarge { key } => {
                side.close(key);
            }
            Event::Writable(_) | Event::GoAway { .. } => {}
        }
        assert!(side.active() <= 10);
    }
    let left = rest.len();
    assert!(left < 9 + 16_384);
    input.drain(..input.len() - left);
    Ok(events + taken)
}

fuzz_target!(|input: &[u8]| {
    let Some(([role, cut @ ..], bytes)) = input.split_first_chunk::<3>() else {
        return;
    };
    let client = role & 1 == 1;
    let mut bytes = bytes.to_vec();
    if !client && role & 2 == 0 {
        bytes.splice(..0, [&PREFACE[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat());
    }
    let mut whole = side(client);
    let seen = run(&mut whole, &mut bytes.clone());
    let cut = usize::from(u16::from_be_bytes(*cut)).min(bytes.len());
    let (first, second) = bytes.split_at(cut);
    let mut pieces = side(client);
    let mut buffer = first.to_vec();
    let again = run(&mut pieces, &mut buffer).and_then(|a| {
        buffer.extend_from_slice(second);
        run(&mut pieces, &mut buffer).map(|b| a + b)
    });
    assert_eq!(seen, again);
    assert_eq!(whole.unwritten(), pieces.unwritten());
    assert!(whole.unwritten() <= 200 + 20 * (bytes.len() + 100));
});
