//! Expressions: parsing, checking and evaluating never panic, and what comes out is bounded.
#![no_main]

use bytes::Bytes;
use leno_cel::{MOST_BYTES, Options, Program};
use leno_engine::compile::access_log::{Attributes, Heads, NoValues};
use leno_engine::message::{Headers, RequestHead, Version};
use libfuzzer_sys::fuzz_target;

// A line with a path as a client sent it, and the expression.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (path, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let options = Options {
        string_conversion: true,
        string_concat: true,
        string_functions: true,
    };
    let Ok(program) = Program::parse(&String::from_utf8_lossy(text), options) else {
        return;
    };
    let mut headers = Headers::default();
    headers.append("x-name", "value");
    let request = RequestHead {
        version: Version::Http11,
        method: Bytes::from_static(b"GET"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::from_static(b"reviews:9080"),
        path: Bytes::copy_from_slice(path),
        headers,
        upgrade: None,
    };
    let heads = Heads {
        request: Some(&request),
        ..Heads::default()
    };
    let known = Attributes::new(heads, &NoValues);
    if let Ok(value) = program.evaluate(&known) {
        let mut out = Vec::new();
        value.print(&mut out);
        assert!(out.len() <= MOST_BYTES.max(input.len() * 4));
    }
});
