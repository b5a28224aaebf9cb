//! The first bytes of a connection, in any pieces: a verdict never changes with more bytes.
#![no_main]

use leno_tls::{Peek, peek};
use libfuzzer_sys::fuzz_target;

// Two bytes say where to cut, the rest is what the peer sent.
fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first_chunk() else {
        return;
    };
    let cut = usize::from(u16::from_be_bytes(*cut)).min(bytes.len());
    let early = peek(&bytes[..cut]);
    let whole = peek(bytes);
    if early != Peek::NeedMore {
        assert_eq!(early, whole);
    }
});
