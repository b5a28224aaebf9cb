//! What a resolver answers: any bytes may come, and are an answer only to what was asked.

#![no_main]

use leno_dns::{Question, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, bool, &[u8])| {
    let (id, ipv6, bytes) = input;
    let question = Question {
        id,
        name: "one.example".to_owned(),
        ipv6,
    };
    if let Some(reply) = question.read(bytes) {
        assert!(bytes.starts_with(&id.to_be_bytes()));
        if let Reply::Addresses(addresses, _) = reply {
            assert!(addresses.iter().all(|address| address.is_ipv6() == ipv6));
        }
    }
});
