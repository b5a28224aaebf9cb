//! Istio's peer metadata header, as any client may send it; and what we write is read back as it was.
#![no_main]

use leno_engine::decide::filter::peer_metadata::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let Some(peer) = decode(value) else { return };
    let again = decode(&encode(&peer));
    // What is empty is filled from the rest, so the second reading is the fixed point.
    if let Some(again) = again {
        assert_eq!(decode(&encode(&again)), Some(again));
    }
});
