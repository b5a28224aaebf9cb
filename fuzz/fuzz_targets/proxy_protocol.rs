//! The PROXY protocol before a client's first byte, in any pieces: a verdict never changes with more bytes, and a header
//! is no longer than what was read.
#![no_main]

use leno_engine::compile::proxy_protocol::{ProxyProtocol, TlvTypes};
use leno_engine::decide::proxy_protocol::Beginning;
use libfuzzer_sys::fuzz_target;

// A byte of settings, two that say where to cut, the rest is what the peer sent.
fuzz_target!(|input: &[u8]| {
    let Some(([settings, high, low], bytes)) = input.split_first_chunk() else {
        return;
    };
    let protocol = ProxyProtocol {
        optional: settings & 1 != 0,
        v1: settings & 2 != 0,
        v2: settings & 4 != 0,
        passed: TlvTypes::All,
        rules: Vec::new(),
    };
    let cut = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
    let early = protocol.read(&bytes[..cut]);
    let whole = protocol.read(bytes);
    if early != Ok(Beginning::Unfinished) {
        assert_eq!(early, whole);
    }
    if let Ok(Beginning::Header(header)) = whole {
        assert!(header.length <= bytes.len());
    }
});
