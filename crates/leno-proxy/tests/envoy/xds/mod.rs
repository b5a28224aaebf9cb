//! Configuration that comes from elsewhere: the same control plane for Envoy and for leno, and both ask it for the same in
//! the same words, type by type, and serve the same.
//!
//! What Envoy 1.40 asks is kept in `WAY.txt`; `UPDATE=1` writes it. Where leno asks otherwise on purpose, `WAY.leno.txt`
//! is what, and [`INTENT`] why.

mod client_status;
mod dump;
mod extensions;
mod files;
mod load;
mod network_extensions;
mod on_demand;
pub(crate) mod proxy;
mod rest;
mod runtime;
mod scopes;
mod script;
mod secrets;
pub(crate) mod statistics;
mod tickets;
mod virtual_hosts;

use std::path::{Path, PathBuf};

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::free_address;
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
        let text = Script::new(way).come_back(|bootstrap| Proxy::envoy(&program, bootstrap));
        check(&format!("{way}_BACK"), "", &text);
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

/// Of one cluster both open as many streams.
#[test]
fn leno_asks_a_control_plane_that_comes_back_as_envoy_does() {
    for way in WAYS {
        let text = Script::new(way).come_back(Proxy::leno);
        let way = format!("{way}_BACK");
        assert_same(&way, &known(&way, ""), &text);
    }
}

#[test]
fn envoy_takes_a_file_that_is_moved_to_its_place_and_no_other() {
    if let Some(program) = program("envoy_takes_a_file_that_is_moved_to_its_place_and_no_other") {
        takes_a_file(|bootstrap| Proxy::envoy(&program, bootstrap));
    }
}

#[test]
fn leno_takes_a_file_that_is_moved_to_its_place_and_no_other() {
    takes_a_file(Proxy::leno);
}

#[test]
fn envoy_polls() {
    if let Some(program) = program("envoy_polls") {
        let text = Script::new("REST").poll(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("REST", "", &text);
    }
}

#[test]
fn leno_polls_as_envoy_does() {
    let text = Script::new("REST").poll(Proxy::leno);
    assert_same("REST", &known("REST", ""), &text);
}

#[test]
fn envoy_reports_load() {
    if let Some(program) = program("envoy_reports_load") {
        check(
            "LOAD",
            "",
            &load::reported(|bootstrap| Proxy::envoy(&program, bootstrap)),
        );
    }
}

/// Envoy counts what its circuit breaker refuses as an error of the endpoint too that it would have gone to; leno has not
/// chosen one yet.
#[test]
fn leno_reports_load_as_envoy_does_but_for_what_it_refuses() {
    check("LOAD", ".leno", &load::reported(Proxy::leno));
}

#[test]
fn envoy_dumps() {
    if let Some(program) = program("envoy_dumps") {
        check(
            "DUMP",
            "",
            &dump::dumped(|bootstrap| Proxy::envoy(&program, bootstrap)),
        );
    }
}

#[test]
fn leno_dumps_what_envoy_does() {
    assert_same("DUMP", &known("DUMP", ""), &dump::dumped(Proxy::leno));
}

#[test]
fn envoy_has_a_runtime_from_elsewhere() {
    if let Some(program) = program("envoy_has_a_runtime_from_elsewhere") {
        let text = runtime::layered(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("RUNTIME", "", &text);
    }
}

#[test]
fn leno_has_a_runtime_from_elsewhere() {
    assert_same("RUNTIME", &known("RUNTIME", ""), &runtime::layered(Proxy::leno));
}

#[test]
fn envoy_has_routes_by_scopes() {
    if let Some(program) = program("envoy_has_routes_by_scopes") {
        let text = scopes::scoped(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("SCOPES", "", &text);
    }
}

#[test]
fn leno_has_routes_by_scopes() {
    assert_same("SCOPES", &known("SCOPES", ""), &scopes::scoped(Proxy::leno));
}

#[test]
fn envoy_has_filters_from_elsewhere() {
    if let Some(program) = program("envoy_has_filters_from_elsewhere") {
        let text = extensions::extended(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("EXTENSIONS", "", &text);
    }
}

#[test]
fn leno_has_filters_from_elsewhere() {
    let text = extensions::extended(Proxy::leno);
    assert_same("EXTENSIONS", &known("EXTENSIONS", ""), &text);
}

#[test]
fn envoy_has_network_filters_from_elsewhere() {
    if let Some(program) = program("envoy_has_network_filters_from_elsewhere") {
        let text = network_extensions::extended(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("NETWORK_EXTENSIONS", "", &text);
    }
}

#[test]
fn leno_has_network_filters_from_elsewhere() {
    let text = network_extensions::extended(Proxy::leno);
    assert_same("NETWORK_EXTENSIONS", &known("NETWORK_EXTENSIONS", ""), &text);
}

#[test]
fn envoy_asks_for_clusters_on_demand() {
    if let Some(program) = program("envoy_asks_for_clusters_on_demand") {
        let text = on_demand::sought(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("ON_DEMAND", "", &text);
    }
}

#[test]
fn leno_asks_for_clusters_on_demand() {
    assert_same(
        "ON_DEMAND",
        &known("ON_DEMAND", ""),
        &on_demand::sought(Proxy::leno),
    );
}

#[test]
fn envoy_asks_for_virtual_hosts() {
    if let Some(program) = program("envoy_asks_for_virtual_hosts") {
        let text = virtual_hosts::sought(|bootstrap| Proxy::envoy(&program, bootstrap));
        check("VIRTUAL_HOSTS", "", &text);
    }
}

#[test]
fn leno_asks_for_virtual_hosts() {
    let text = virtual_hosts::sought(Proxy::leno);
    assert_same("VIRTUAL_HOSTS", &known("VIRTUAL_HOSTS", ""), &text);
}

#[test]
fn envoy_resumes_sessions_by_keys_from_elsewhere() {
    if let Some(program) = program("envoy_resumes_sessions_by_keys_from_elsewhere") {
        tickets::resumed(|bootstrap| Proxy::envoy(&program, bootstrap));
        tickets::resumed_by_own_keys(|bootstrap| Proxy::envoy(&program, bootstrap));
    }
}

#[test]
fn leno_resumes_sessions_by_keys_from_elsewhere() {
    tickets::resumed(Proxy::leno);
    tickets::resumed_by_own_keys(Proxy::leno);
}

#[test]
fn envoy_takes_secrets_from_files_that_are_moved() {
    if let Some(program) = program("envoy_takes_secrets_from_files_that_are_moved") {
        secrets::rotate(|bootstrap| Proxy::envoy(&program, bootstrap));
    }
}

#[test]
fn leno_takes_secrets_from_files_that_are_moved() {
    secrets::rotate(Proxy::leno);
}

fn takes_a_file(start: impl FnOnce(&Bootstrap) -> Proxy) {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_address());
    let (file, next) = (directory.path().join("lds.yaml"), directory.path().join("next"));
    std::fs::write(&file, script::answering(port, "one")).unwrap();
    let _proxy = start(&script::by_file(&file));
    proxy::serves(port, "one");
    // A write in place may be half of it: only what comes after it, by a move, is taken.
    std::fs::write(&file, script::answering(port, "half")).unwrap();
    proxy::serves(port, "one");
    let take = |text: &str| {
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &file).unwrap();
    };
    take(&script::answering(port, "two"));
    proxy::serves(port, "two");
    take("{");
    proxy::serves(port, "two");
    take(&script::answering(port, "three"));
    proxy::serves(port, "three");
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
