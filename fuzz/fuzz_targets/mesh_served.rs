//! Whatever of the user's YAML the control plane accepts, the proxy compiles: a resource that leno's own proxy
//! rejects would stay on its last good version for ever.
#![no_main]

use leno_fuzz::{mesh, mutate, wire};
use leno_translate::ResourceType;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|text: &[u8]| {
    let snapshot = mesh::snapshot(text);
    for resource in mesh::resources(&snapshot, &mesh::proxy(true)) {
        let kind = ResourceType::from_type_url(resource.type_url).expect("a type of ours");
        let Some(Err(rejection)) = wire::compile(kind, &resource.body) else {
            continue;
        };
        panic!("{} {} is rejected: {rejection}", resource.type_url, resource.name);
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
