//! Bodies, in any pieces.

use bytes::BytesMut;
use leno_http1::{Decoded, Decoder, Error, Framing};
use proptest::prelude::*;

use crate::{LIMITS, shown};

/// A body as it was read: its data, its trailers, whether it has ended, and what was left.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    data: Vec<u8>,
    trailers: String,
    ended: bool,
    left: Vec<u8>,
}

/// Reads a body that comes in these pieces.
fn read<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Read, Error> {
    let mut decoder = Decoder::new(framing, &LIMITS);
    let mut input = BytesMut::new();
    let mut read = Read::default();
    for piece in pieces {
        input.extend_from_slice(piece);
        while !read.ended {
            match decoder.decode(&mut input)? {
                Decoded::Data(data) => read.data.extend_from_slice(&data),
                Decoded::Trailers(trailers) => read.trailers = shown(&trailers),
                Decoded::End => read.ended = true,
                Decoded::More => break,
            }
        }
    }
    read.left = input.to_vec();
    Ok(read)
}

fn chunked(text: &str) -> Result<Read, Error> {
    read(Framing::Chunked, [text.as_bytes()])
}

#[test]
fn a_body_of_a_length_leaves_what_is_behind_it() {
    let got = read(Framing::Length(3), [&b"ab"[..], b"cdef"]).unwrap();
    assert_eq!(
        (got.data, got.ended, got.left),
        (b"abc".to_vec(), true, b"def".to_vec())
    );
}

#[test]
fn chunks_are_joined_and_their_frames_taken_off() {
    for (text, data, trailers) in [
        ("3\r\nabc\r\n0\r\n\r\n", "abc", ""),
        ("3\r\nabc\r\n1;a=b;c=\"d\"\r\nd\r\n00\r\n\r\n", "abcd", ""),
        ("3 ;x\r\nabc\r\n0\r\n\r\n", "abc", ""),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
        ("0000000000000000000000003\r\nabc\r\n0\r\n\r\n", "abc", ""),
        ("3\r\nabc\n0\r\n\r\n", "abc", ""),
        ("3\r\nabc\r\r\n0\r\n\r\n", "abc", ""),
        (
            "0\r\nX-T: 1\r\nhost: b\r\ncontent-length: 5\r\n\r\n",
            "",
            "x-t: 1",
        ),
        ("0\r\n\n", "", ""),
    ] {
        let got = chunked(&format!("{text}next")).unwrap();
        assert_eq!(
            (got.data, got.trailers.as_str()),
            (data.as_bytes().to_vec(), trailers),
            "{text:?}"
        );
        assert_eq!((got.ended, got.left), (true, b"next".to_vec()), "{text:?}");
    }
}

#[test]
fn frames_that_could_be_read_in_two_ways_are_refused() {
    for text in [
        " 3\r\nabc",
        "+3\r\nabc",
        "-3\r\nabc",
        "0x3\r\nabc",
        "g\r\n",
        ";a\r\n",
        "\r\n3\r\nabc",
        "3\nabc",
        "3\r\rabc",
        "3;a\nb\r\nabc",
        "3;a\rb\r\nabc",
        "3\r\nabcd\r\n",
        "3\r\nabc\r\nx",
        "10000000000000000\r\nabc",
        "0\n\n",
        "0\r\nbad\r\n\r\n",
        "0\r\nx : 1\r\n\r\n",
        "0\r\n x: 1\r\n\r\n",
        "0\r\nx: \0\r\n\r\n",
    ] {
        let error = chunked(text).map(|read| read.data).unwrap_err();
        assert_eq!(error.status(), 400, "{text:?}");
    }
}

#[test]
fn what_frames_is_bounded() {
    assert_eq!(
        chunked(&format!("3;{}", "x".repeat(2000))).unwrap_err(),
        Error::TooLarge
    );
    assert_eq!(chunked(&"0".repeat(2000)).unwrap_err(), Error::TooLarge);
    assert_eq!(
        chunked(&format!("0\r\nx: {}", "x".repeat(2000))).unwrap_err(),
        Error::TooLarge
    );
}

#[test]
fn the_end_is_known_with_the_last_data() {
    let mut decoder = Decoder::new(Framing::Chunked, &LIMITS);
    let mut input = BytesMut::from("3\r\nabc\r\n0\r\n\r\n");
    assert!(matches!(decoder.decode(&mut input), Ok(Decoded::Data(_))));
    assert!(decoder.is_end() && input.is_empty());
}

#[test]
fn a_connection_may_end_where_nothing_else_ends_the_body() {
    for (framing, sent, complete) in [
        (Framing::UntilClose, "ab", true),
        (Framing::Length(3), "ab", false),
        (Framing::Chunked, "3\r\nab", false),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n", false),
    ] {
        let mut decoder = Decoder::new(framing, &LIMITS);
        let mut input = BytesMut::from(sent);
        while !matches!(decoder.decode(&mut input), Ok(Decoded::More | Decoded::End)) {}
        assert_eq!(decoder.end().is_ok(), complete, "{framing:?} {sent:?}");
    }
}

proptest! {
    #[test]
    fn the_pieces_make_no_difference(cuts in prop::collection::vec(0_usize..60, 0..8), at in 0_usize..6) {
        let text = [
            "3\r\nabc\r\n0\r\n\r\nnext",
            "5;ext=\"a\"\r\nabcde\r\n1\r\nf\r\n0\r\nx: 1\r\n  2\r\ny: 3\r\n\r\nnext",
            "3\r\nabc\r\n0\r\nbad\r\n\r\n",
            "ffffffff\r\nabc",
            "3\r\nabcd\r\n",
            "1\r\na\r\n\r\n",
        ][at].as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        let whole = read(Framing::Chunked, [text]);
        prop_assert_eq!(read(Framing::Chunked, pieces), whole);
    }
}
