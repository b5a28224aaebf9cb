//! Each side knows who the other is, by certificate.

use crate::support::{SERVER, mesh, stdout};

#[test]
fn the_server_is_told_the_callers_identity_and_its_own() {
    let mesh = mesh().start();
    let script = mesh.user.write("server.py", SERVER);
    let _workload = mesh.run(
        &["--service", "reviews", "--port", "9080:http", "--service-account", "bookinfo-reviews"],
        &["python3", &script.display().to_string(), "v1", "9080"],
    );
    mesh.wait_for_instances("reviews", 1);
    let output = mesh
        .command(&["run", "--service", "client", "--service-account", "caller", "--"])
        .args(["curl", "-sS", "--max-time", "20", "http://reviews:9080/headers", "-H", "x-forwarded-client-cert: By=forged"])
        .output()
        .unwrap();
    let headers: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", stdout(&output), String::from_utf8_lossy(&output.stderr)));
    let certificate = headers
        .as_object()
        .and_then(|h| h.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-client-cert")))
        .map_or("", |(_, value)| value.as_str().unwrap_or(""));
    assert!(certificate.contains("By=spiffe://cluster.local/ns/default/sa/bookinfo-reviews"), "{headers}");
    assert!(certificate.contains("URI=spiffe://cluster.local/ns/default/sa/caller"), "{headers}");
    assert!(!certificate.contains("forged"), "{headers}");
}
