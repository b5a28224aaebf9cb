//! HPACK: any block is decoded or refused, and what was decoded comes back from our own encoder, whatever its table has
//! seen before.
#![no_main]

use leno_http2::header_compression::{Decoder, Encoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::default();
    let mut encoder = Encoder::default();
    let mut again = Decoder::default();
    // Blocks of one connection, each with its length before it.
    let mut rest = input;
    while let Some((length, after)) = rest.split_first() {
        let (block, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if decoder.decode(block, |n, v| fields.push((n.into(), v.into()))).is_err() {
            return;
        }
        let mut encoded = Vec::new();
        if length % 7 == 0 {
            encoder.limit(usize::from(*length) * 16);
        }
        encoder.begin(&mut encoded);
        for (name, value) in &fields {
            encoder.field(name, value, &mut encoded);
        }
        if length % 11 == 0 {
            encoder.give_up();
            continue;
        }
        let mut back = Vec::new();
        let decoded = again.decode(&encoded, |n, v| back.push((n.to_vec(), v.to_vec())));
        decoded.expect("our own block reads");
        assert_eq!(fields, back);
    }
});
