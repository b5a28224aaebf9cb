//! What a peer must not do, and what it must not do too often.

use proptest::prelude::*;

use super::*;
use crate::frame::{HEADER, MAX_PAYLOAD, flag};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = frame::Head {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    [&head.bytes()[..], payload].concat()
}

/// A server that has been greeted.
fn server() -> Side {
    let mut server = Side::server(options());
    feed(&mut server, &greeting()).unwrap();
    written(&mut server);
    server
}

fn greeting() -> Vec<u8> {
    [&PREFACE[..], &frame(kind::SETTINGS, 0, 0, &[])].concat()
}

/// `GET http://a/` with static entries and one literal.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];
const OPEN: u8 = flag::END_HEADERS;
const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

fn get(stream: u32, flags: u8) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, GET)
}

fn error(side: &mut Side, bytes: &[u8]) -> ErrorCode {
    match feed(side, bytes) {
        Err(error) => error.code,
        Ok(saw) => panic!("no error but {saw:?}"),
    }
}

/// The code that a stream was reset with.
fn reset_code(side: &mut Side, stream: u32) -> Option<ErrorCode> {
    let bytes = written(side);
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_first_chunk::<HEADER>() {
        let head = frame::Head::parse(head);
        let (payload, after) = after.split_at(head.length);
        if head.kind == kind::RST_STREAM && head.stream == stream {
            return Some(ErrorCode(u32::from_be_bytes(payload.try_into().unwrap())));
        }
        rest = after;
    }
    None
}

#[test]
fn the_preface_and_settings_come_first() {
    let wrong = &mut Side::server(options());
    assert_eq!(error(wrong, b"GET / HTTP/1.1\r\n"), ErrorCode::PROTOCOL_ERROR);
    let without = &mut Side::server(options());
    let bytes = [&PREFACE[..], &frame(kind::PING, 0, 0, &[0; 8])].concat();
    assert_eq!(error(without, &bytes), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn broken_rules_end_the_connection_with_their_code() {
    use ErrorCode as E;
    let large = vec![0; MAX_PAYLOAD + 1];
    for (bytes, code) in [
        (frame(kind::DATA, 0, 0, b"a"), E::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 1, b"a"), E::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 1, &large), E::FRAME_SIZE_ERROR),
        (frame(kind::HEADERS, WHOLE, 0, GET), E::PROTOCOL_ERROR),
        (get(2, WHOLE), E::PROTOCOL_ERROR),
        ([get(3, WHOLE), get(1, WHOLE)].concat(), E::PROTOCOL_ERROR),
        (
            frame(kind::HEADERS, WHOLE, 1, &[0xff, 0xff, 0xff, 0xff, 0xff]),
            E::COMPRESSION_ERROR,
        ),
        (
            frame(kind::HEADERS, WHOLE | flag::PADDED, 1, &[9, 0x82]),
            E::PROTOCOL_ERROR,
        ),
        (
            frame(kind::HEADERS, WHOLE | flag::PRIORITY, 1, &[0, 0, 0]),
            E::FRAME_SIZE_ERROR,
        ),
        (
            frame(kind::HEADERS, WHOLE | flag::PRIORITY, 1, &[0, 0, 0, 1, 9, 0x82]),
            E::PROTOCOL_ERROR,
        ),
        (frame(kind::PRIORITY, 0, 0, &[0; 5]), E::PROTOCOL_ERROR),
        (frame(kind::PRIORITY, 0, 1, &[0; 4]), E::FRAME_SIZE_ERROR),
        (frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), E::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 0, &[0; 4]), E::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 4]), E::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 3]), E::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, 0, 1, &[]), E::PROTOCOL_ERROR),
        (frame(kind::SETTINGS, 0, 0, &[0; 5]), E::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]), E::FRAME_SIZE_ERROR),
        (
            frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            E::PROTOCOL_ERROR,
        ),
        (
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            E::FLOW_CONTROL_ERROR,
        ),
        (
            frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            E::PROTOCOL_ERROR,
        ),
        (
            frame(kind::PUSH_PROMISE, OPEN, 1, &[0, 0, 0, 2]),
            E::PROTOCOL_ERROR,
        ),
        (frame(kind::PING, 0, 1, &[0; 8]), E::PROTOCOL_ERROR),
        (frame(kind::PING, 0, 0, &[0; 7]), E::FRAME_SIZE_ERROR),
        (frame(kind::GOAWAY, 0, 1, &[0; 8]), E::PROTOCOL_ERROR),
        (frame(kind::GOAWAY, 0, 0, &[0; 7]), E::FRAME_SIZE_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), E::PROTOCOL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), E::FRAME_SIZE_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), E::PROTOCOL_ERROR),
        (
            frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            E::FLOW_CONTROL_ERROR,
        ),
        (frame(kind::CONTINUATION, OPEN, 1, GET), E::PROTOCOL_ERROR),
        (
            [frame(kind::HEADERS, 0, 1, GET), frame(kind::PING, 0, 0, &[0; 8])].concat(),
            E::PROTOCOL_ERROR,
        ),
        (
            [
                frame(kind::HEADERS, 0, 1, GET),
                frame(kind::CONTINUATION, OPEN, 3, &[]),
            ]
            .concat(),
            E::PROTOCOL_ERROR,
        ),
    ] {
        let mut server = server();
        assert_eq!(error(&mut server, &bytes), code, "{bytes:?}");
    }
}

#[test]
fn broken_rules_of_a_stream_end_that_stream() {
    use ErrorCode as E;
    for (bytes, code) in [
        // Nothing of what a request needs; a name in upper case.
        (frame(kind::HEADERS, WHOLE, 1, &[0x82]), E::PROTOCOL_ERROR),
        (
            frame(kind::HEADERS, WHOLE, 1, &[GET, &[0, 1, b'A', 1, b'a']].concat()),
            E::PROTOCOL_ERROR,
        ),
        (
            [get(1, OPEN), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            E::PROTOCOL_ERROR,
        ),
        (
            [
                get(1, OPEN),
                frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            E::FLOW_CONTROL_ERROR,
        ),
        (
            [get(1, WHOLE), frame(kind::DATA, 0, 1, b"a")].concat(),
            E::STREAM_CLOSED,
        ),
        ([get(1, WHOLE), get(1, WHOLE)].concat(), E::STREAM_CLOSED),
        // Trailers that do not end the stream, and a second head.
        (
            [get(1, OPEN), frame(kind::HEADERS, OPEN, 1, &[0, 1, b'a', 0])].concat(),
            E::PROTOCOL_ERROR,
        ),
        ([get(1, OPEN), get(1, WHOLE)].concat(), E::PROTOCOL_ERROR),
    ] {
        let mut server = server();
        feed(&mut server, &bytes).unwrap();
        assert_eq!(reset_code(&mut server, 1), Some(code), "{bytes:?}");
        assert_eq!(server.active(), 0);
        // The connection goes on.
        assert!(matches!(
            feed(&mut server, &get(3, WHOLE)).unwrap()[..],
            [Saw::Head(..)]
        ));
    }
}

#[test]
fn a_body_has_the_length_that_was_said() {
    let length = |n: u8| [GET, &[0x0f, 0x0d, 1, b'0' + n]].concat();
    let open = |n| frame(kind::HEADERS, OPEN, 1, &length(n));
    for bytes in [
        frame(kind::HEADERS, WHOLE, 1, &length(1)),
        [open(1), frame(kind::DATA, 0, 1, b"ab")].concat(),
        [open(3), frame(kind::DATA, flag::END_STREAM, 1, b"ab")].concat(),
        [
            open(3),
            frame(kind::DATA, 0, 1, b"ab"),
            frame(kind::HEADERS, WHOLE, 1, &[0, 1, b'a', 0]),
        ]
        .concat(),
    ] {
        let mut server = server();
        feed(&mut server, &bytes).unwrap();
        assert_eq!(
            reset_code(&mut server, 1),
            Some(ErrorCode::PROTOCOL_ERROR),
            "{bytes:?}"
        );
    }
    let bytes = [open(2), frame(kind::DATA, flag::END_STREAM, 1, b"ab")].concat();
    assert!(matches!(
        feed(&mut server(), &bytes).unwrap()[..],
        [Saw::Head(..), Saw::Data(_, _, true)]
    ));
}

#[test]
fn frames_of_a_stream_that_is_over() {
    let over = [get(1, WHOLE), frame(kind::RST_STREAM, 0, 1, &[0; 4])].concat();
    for (bytes, code) in [
        (frame(kind::DATA, 0, 1, b"a"), ErrorCode::STREAM_CLOSED),
        (get(1, WHOLE), ErrorCode::STREAM_CLOSED),
    ] {
        let mut server = server();
        feed(&mut server, &over).unwrap();
        assert_eq!(error(&mut server, &bytes), code);
    }
    let mut server = server();
    feed(&mut server, &over).unwrap();
    for harmless in [
        frame(kind::RST_STREAM, 0, 1, &[0; 4]),
        frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(kind::PRIORITY, 0, 1, &[0; 5]),
    ] {
        assert_eq!(feed(&mut server, &harmless), Ok(vec![]));
    }
}

#[test]
fn what_is_unknown_is_ignored() {
    let mut server = server();
    let settings = frame(kind::SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]);
    assert_eq!(feed(&mut server, &settings), Ok(vec![Saw::Writable(None)]));
    assert_eq!(feed(&mut server, &frame(0xfa, 0xff, 7, b"anything")), Ok(vec![]));
}

/// Sends `bytes` until the server has enough.
fn flood(mut bytes: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let mut server = server();
    for round in 0..100_000 {
        let result = feed(&mut server, &bytes(round));
        // The server answers; that nothing is ever read is another flood.
        written(&mut server);
        if let Err(error) = result {
            assert_eq!(error.code, ErrorCode::ENHANCE_YOUR_CALM);
            return round;
        }
    }
    panic!("it never ends");
}

#[test]
fn streams_opened_only_to_be_reset_end_the_connection() {
    let rounds = flood(|round| {
        let id = 2 * round + 1;
        [get(id, WHOLE), frame(kind::RST_STREAM, 0, id, &[0; 4])].concat()
    });
    assert_eq!(rounds, 250);
    // Made to be reset by us: CVE-2025-8671.
    let rounds = flood(|round| {
        let id = 2 * round + 1;
        [get(id, OPEN), frame(kind::WINDOW_UPDATE, 0, id, &[0; 4])].concat()
    });
    assert_eq!(rounds, 250);
    let rounds = flood(|round| frame(kind::HEADERS, WHOLE, 2 * round + 1, &[0x82]));
    assert_eq!(rounds, 250);
}

#[test]
fn a_client_that_resets_now_and_then_is_no_attacker() {
    let mut server = server();
    for round in 0..2000 {
        let id = 2 * round + 1;
        let saw = feed(&mut server, &get(id, WHOLE)).unwrap();
        let [Saw::Head(key, ..)] = saw[..] else {
            panic!("{saw:?}")
        };
        if round % 3 == 0 {
            feed(&mut server, &frame(kind::RST_STREAM, 0, id, &[0; 4])).unwrap();
        } else {
            server.respond(key, true, ok).unwrap();
        }
        server.close(key);
        written(&mut server);
    }
}

#[test]
fn floods_of_frames_that_say_nothing_end_the_connection() {
    assert_eq!(flood(|_| frame(kind::PRIORITY, 0, 1, &[0; 5])), 100);
    let mut opened = false;
    let rounds = flood(|_| {
        let first = if std::mem::replace(&mut opened, true) {
            vec![]
        } else {
            get(1, OPEN)
        };
        [first, frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])].concat()
    });
    assert_eq!(rounds, 7);
    let mut opened = false;
    let rounds = flood(|_| {
        let first = if std::mem::replace(&mut opened, true) {
            vec![]
        } else {
            get(1, OPEN)
        };
        [first, frame(kind::DATA, 0, 1, &[])].concat()
    });
    assert_eq!(rounds, 1);
    let mut begun = false;
    let rounds = flood(|_| {
        let first = std::mem::replace(&mut begun, true);
        let (kind, payload) = if first {
            (kind::CONTINUATION, &[0, 1, b'a', 0][..])
        } else {
            (kind::HEADERS, GET)
        };
        frame(kind, 0, 1, payload)
    });
    assert_eq!(rounds, 65);
}

#[test]
fn a_head_without_end_is_not_collected() {
    let mut server = server();
    let piece = [&[0, 1, b'a', 0x7f, 0x81, 0x7f][..], &[b'v'; 16_000]].concat();
    feed(&mut server, &frame(kind::HEADERS, 0, 1, GET)).unwrap();
    let mut fed = 0;
    while feed(&mut server, &frame(kind::CONTINUATION, 0, 1, &piece)).is_ok() {
        fed += piece.len();
        assert!(fed < 200_000);
    }
}

#[test]
fn who_does_not_read_the_answers_gets_no_more() {
    for bytes in [frame(kind::PING, 0, 0, &[0; 8]), frame(kind::SETTINGS, 0, 0, &[])] {
        let mut server = server();
        let mut rounds = 0;
        let error = loop {
            match feed(&mut server, &bytes) {
                Ok(_) => rounds += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, rounds), (ErrorCode::ENHANCE_YOUR_CALM, 1000));
    }
}

#[test]
fn a_failed_connection_says_so_and_nothing_more() {
    let mut server = server();
    server.fail(ConnectionError::protocol("a reason"));
    server.fail(ConnectionError::protocol("another"));
    let bytes = written(&mut server);
    assert_eq!(bytes.len(), HEADER + 8 + "a reason".len());
    assert_eq!(feed(&mut server, &get(1, WHOLE)), Ok(vec![]));
    assert!(server.is_over());
}

/// Frames that are nearly right.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        Just(GET.to_vec()),
        Just(vec![0; 4]),
        Just(vec![0; 5]),
        Just(vec![0; 6]),
        Just(vec![0; 8]),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let one = (0u8..11, any::<u8>(), 0u32..9, payload);
    let frames = proptest::collection::vec(one.prop_map(|(k, f, s, p)| frame(k, f, s, &p)), 0..40);
    frames.prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn no_bytes_do_harm_and_how_they_are_cut_makes_no_difference(bytes in frames(), at in 0usize..2000) {
        let whole = {
            let mut server = server();
            let result = all(&mut server, &[&bytes]);
            (result, written(&mut server), server.active())
        };
        let mut server = server();
        let (first, second) = bytes.split_at(at.min(bytes.len()));
        let result = all(&mut server, &[first, second]);
        prop_assert_eq!(whole, (result, written(&mut server), server.active()));
    }
}

fn all(side: &mut Side, pieces: &[&[u8]]) -> Result<usize, ConnectionError> {
    let mut buffer = Vec::new();
    let mut count = 0;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut input = &buffer[..];
        while side.receive(&mut input, 0)?.is_some() {
            count += 1;
        }
        let left = input.len();
        buffer.drain(..buffer.len() - left);
    }
    Ok(count)
}
