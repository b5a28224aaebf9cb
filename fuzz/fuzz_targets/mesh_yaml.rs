//! The user's YAML, through parser, rules, model and translation: no panic, bounded time and memory.
#![no_main]

use leno_fuzz::{mesh, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|text: &[u8]| {
    let snapshot = mesh::snapshot(text);
    for on_demand in [true, false] {
        mesh::resources(&snapshot, &mesh::proxy(on_demand));
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match mutate::yaml(&data[..size], seed) {
        // One in four stays with libFuzzer, which knows what comparisons the code made.
        Some(text) if seed % 4 != 0 && text.len() <= max_size => {
            data[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
