//! Listeners, routes, clusters and endpoints from a control plane that says anything. The first byte is the type.
#![no_main]

use leno_fuzz::wire;
use leno_translate::ResourceType;
use libfuzzer_sys::fuzz_target;

const KINDS: [ResourceType; 4] = [
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::Cluster,
    ResourceType::Endpoints,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    let _ = wire::compile(KINDS[usize::from(*kind) % KINDS.len()], body);
});
