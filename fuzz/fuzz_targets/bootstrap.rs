//! An Envoy bootstrap in YAML or JSON: no panic, and what was read is written and read again as the same.
#![no_main]

use std::sync::LazyLock;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use libfuzzer_sys::fuzz_target;

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::load);

fuzz_target!(|text: &str| {
    let bootstrap: Bootstrap = match SCHEMA.from_text(text) {
        Ok(bootstrap) => bootstrap,
        Err(error) => return drop(error.to_string()),
    };
    let Ok(json) = SCHEMA.to_json(&bootstrap) else {
        return;
    };
    let again: Bootstrap = SCHEMA.from_text(&json.to_string()).expect("our own JSON reads");
    assert_eq!(SCHEMA.to_json(&again).ok(), Some(json));
});
