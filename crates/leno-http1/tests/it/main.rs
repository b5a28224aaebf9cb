//! The codec with plain values.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bodies;
mod encoding;
mod requests;
mod responses;

use leno_engine::message::Headers;
use leno_http1::{Limits, Settings};

const LIMITS: Limits = Limits {
    head_bytes: 1024,
    fields: 10,
};

const SETTINGS: Settings = Settings {
    limits: LIMITS,
    http10: false,
    hostless_http10: false,
    any_method: false,
    chunked_length: false,
};

/// `name: value|name: value`.
fn shown(headers: &Headers) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes);
    let fields = headers
        .iter()
        .map(|(name, value)| format!("{}: {}", text(name), text(value)));
    fields.collect::<Vec<_>>().join("|")
}
