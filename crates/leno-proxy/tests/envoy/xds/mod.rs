//! Configuration that comes from elsewhere: the same control plane for Envoy and for leno, and both ask it for the same in
//! the same words, type by type, and serve the same.
//!
//! What Envoy 1.40 asks is kept in `WAY.txt`; `UPDATE=1` writes it. Where leno asks otherwise on purpose, `WAY.leno.txt`
//! is what, and [`INTENT`] why.

mod background;
mod plane;
mod proxy;
mod script;

use std::path::{Path, PathBuf};

use proxy::Proxy;
use script::Script;

use crate::envoy::program;

const WAYS: [&str; 4] = ["GRPC", "DELTA_GRPC", "ADS", "DELTA_ADS"];

/// Envoy opens a stream for each cluster's endpoints where they do not come by ADS; in leno all endpoints of one source
/// share one, as they do in ADS.
const INTENT: [&str; 2] = ["GRPC", "DELTA_GRPC"];

#[test]
fn envoy_asks_what_is_known_of_it() {
    let Some(program) = program("envoy_asks_what_is_known_of_it") else {
        return;
    };
    for way in WAYS {
        let text = Script::new(way).run(|bootstrap| Proxy::envoy(&program, bootstrap));
        check(way, "", &text);
    }
}

#[test]
fn leno_asks_and_serves_what_envoy_does() {
    for way in WAYS {
        let text = Script::new(way).run(Proxy::leno);
        match INTENT.contains(&way) {
            true => check(way, ".leno", &text),
            false => assert_same(way, &known(way, ""), &text),
        }
    }
}

fn check(way: &str, whose: &str, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(facts(way, whose), text).unwrap();
    }
    assert_same(way, &known(way, whose), text);
}

fn facts(way: &str, whose: &str) -> PathBuf {
    let name = way.to_lowercase().replace('_', "-");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/envoy/xds/{name}{whose}.txt"))
}

fn known(way: &str, whose: &str) -> String {
    std::fs::read_to_string(facts(way, whose)).unwrap_or_default()
}

fn assert_same(way: &str, want: &str, got: &str) {
    assert!(want == got, "{way}\n--- known\n{want}\n--- this\n{got}");
}
