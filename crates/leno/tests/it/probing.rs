//! What a stranger gets who connects to a workload's inbound port on the host.

use std::io::Write;
use std::process::{Output, Stdio};

use leno_testkit::{Mesh, eventually};

use crate::support::{mesh, reviews, stdout};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n";
/// What the mesh's own proxies offer.
const ALPN: &str = "istio-http/1.1";

/// `ADDRESS:9080` of the only instance of reviews.
#[track_caller]
fn inbound(mesh: &Mesh) -> String {
    let status = mesh.status();
    let proxies = status["proxies"].as_array().cloned().unwrap_or_default();
    let reviews = proxies
        .iter()
        .find(|p| p["service"] == "reviews")
        .unwrap_or_else(|| panic!("no reviews in {status}"));
    format!("{}:9080", reviews["address"].as_str().unwrap())
}

/// `openssl s_client ARGS`, which sends a request after the handshake.
fn probe(mesh: &Mesh, args: &[&str]) -> Output {
    let mut command = mesh.user.command("openssl");
    command
        .args(["s_client", "-connect", &inbound(mesh), "-alpn", ALPN, "-ign_eof"])
        .args(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The server may hang up first: then the output says so.
    let _ = child.stdin.take().unwrap().write_all(REQUEST.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn without_a_certificate_or_with_a_foreign_one_nobody_gets_in() {
    let mesh = mesh().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);

    let nothing = probe(&mesh, &[]);
    let said = format!("{}{}", stdout(&nothing), String::from_utf8_lossy(&nothing.stderr));
    assert!(said.contains("TLSv1.3"), "{said}");
    assert!(said.contains("certificate required"), "{said}");
    assert!(!said.contains("HTTP/1.1 200"), "{said}");

    let made = mesh
        .user
        .command("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=stranger",
        ])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=URI:spiffe://cluster.local/ns/default/sa/reviews",
        ])
        .args(["-keyout", "stranger.key", "-out", "stranger.crt"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let foreign = probe(&mesh, &["-cert", "stranger.crt", "-key", "stranger.key"]);
    let said = format!("{}{}", stdout(&foreign), String::from_utf8_lossy(&foreign.stderr));
    assert!(said.contains("alert unknown ca"), "{said}");
    assert!(!said.contains("HTTP/1.1 200"), "{said}");
}

#[test]
fn the_server_hello_selects_tls_1_3_and_older_versions_are_refused() {
    let mesh = mesh().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let said = stdout(&probe(&mesh, &["-msg"]));
    assert!(
        said.contains("ServerHello") && said.contains("New, TLSv1.3"),
        "{said}"
    );
    let old = probe(&mesh, &["-tls1_2"]);
    let said = format!("{}{}", stdout(&old), String::from_utf8_lossy(&old.stderr));
    assert!(said.contains("alert protocol version"), "{said}");
}

#[test]
fn strict_refuses_plaintext_and_the_log_says_who_and_why() {
    let strict = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec:
  mtls: {mode: STRICT}
";
    let mesh = mesh().start();
    let workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let url = format!("http://{}/", inbound(&mesh));
    let plain = || {
        mesh.user
            .command("curl")
            .args(["-sS", "--max-time", "5", &url])
            .output()
            .unwrap()
    };
    // PERMISSIVE, the default, lets it in.
    assert_eq!(stdout(&plain()), "v1\n");
    mesh.write("strict.yaml", strict);
    eventually("plaintext is refused", || {
        let output = plain();
        if output.status.success() {
            Err(output)
        } else {
            Ok(())
        }
    });
    // What ended the call above may have been the change itself, which closes what was open.
    assert!(!plain().status.success());
    let refused = "plaintext refused";
    let log = workload.wait_for_output(refused);
    let line = log.lines().find(|l| l.contains(refused)).unwrap();
    assert!(line.contains("127.0.0.1") && line.contains("STRICT"), "{line}");
    // Inside the mesh nothing changes.
    assert_eq!(
        stdout(&mesh.client(&["curl", "-sS", "--max-time", "20", "http://reviews:9080/"])),
        "v1\n"
    );
}
