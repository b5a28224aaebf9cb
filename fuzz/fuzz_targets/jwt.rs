//! Tokens and sets of keys as anybody may send them: reading and verifying never panic, and what comes out is bounded.
#![no_main]

use leno_engine::jwt::{KeySet, MOST_TOKEN, Token};
use libfuzzer_sys::fuzz_target;

// A line with a token, and a set of keys.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (token, keys) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let keys = KeySet::parse(keys);
    let Ok(token) = Token::parse(token) else { return };
    assert!(token.signed.len() < MOST_TOKEN);
    let _ = token.check_times(u64::MAX, u64::MAX);
    let _ = token.check_times(0, 0);
    if let Some(keys) = keys {
        assert!(!keys.is_empty());
        let _ = keys.verify(&token);
    }
});
