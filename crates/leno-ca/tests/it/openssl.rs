//! The other implementation: what openssl says of our certificates, and what we
//! say of its requests. Skipped, and said so, where there is no openssl.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use leno_ca::{Authority, CsrError, Lifetimes, SigningRequest};

use crate::{domain, reviews};

/// openssl's standard output, or nothing when it failed.
fn openssl(dir: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

fn is_missing() -> bool {
    let missing = Command::new("openssl").arg("version").output().is_err();
    if missing {
        leno_testkit::skip(
            "openssl reads what the authority issues",
            "there is no openssl in PATH",
        );
    }
    missing
}

fn request(dir: &Path, key: &[&str], digest: &str) -> String {
    let san = format!("subjectAltName=critical,URI:{}", reviews());
    let key_args = [
        &[
            "req",
            "-new",
            "-nodes",
            "-keyout",
            "key.pem",
            "-subj",
            "/O=ignored",
            digest,
        ],
        key,
    ]
    .concat();
    openssl(dir, &[&key_args[..], &["-addext", &san]].concat()).unwrap()
}

#[test]
fn openssl_verifies_what_we_issue() {
    if is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // openssl has no clock to set by hand.
    let now = SystemTime::now();
    let (authority, _) =
        Authority::open(&dir.path().join("ca"), &domain(), Lifetimes::default(), now).unwrap();
    // A P-256 key with a SHA-384 signature: the certificate must keep the key's own algorithm.
    let csr = request(
        dir.path(),
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "-sha384",
    );
    let issued = authority
        .issue(&SigningRequest::parse(&csr).unwrap(), &reviews(), None, now)
        .unwrap();
    fs::write(dir.path().join("leaf.pem"), &issued.chain[0]).unwrap();

    let root = "ca/root-cert.pem";
    for purpose in ["sslclient", "sslserver"] {
        let verdict = openssl(
            dir.path(),
            &[
                "verify",
                "-x509_strict",
                "-CAfile",
                root,
                "-purpose",
                purpose,
                "leaf.pem",
            ],
        );
        assert_eq!(verdict.as_deref(), Some("leaf.pem: OK\n"), "{purpose}");
    }
    let text = openssl(dir.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]).unwrap();
    for expected in [
        "Subject Alternative Name: critical",
        &format!("URI:{}", reviews()),
        "Key Usage: critical",
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "CA:FALSE",
        "NIST CURVE: P-256",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    let of = |what: &[&str]| openssl(dir.path(), what).unwrap();
    let public = of(&["x509", "-in", "leaf.pem", "-noout", "-pubkey"]);
    assert_eq!(public, of(&["pkey", "-in", "key.pem", "-pubout"]));
}

#[test]
fn openssl_accepts_the_control_planes_names() {
    if is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (authority, _) =
        Authority::open(&dir.path().join("ca"), &domain(), Lifetimes::default(), now).unwrap();
    let names = ["leno.example".to_owned(), "127.0.0.1".to_owned()];
    let server = authority.server_certificate(&names, None, now).unwrap();
    fs::write(dir.path().join("leaf.pem"), server.chain_pem).unwrap();
    let accepts = |name: &[&str]| {
        let args = [
            &["verify", "-x509_strict", "-CAfile", "ca/root-cert.pem"],
            name,
            &["leaf.pem"],
        ]
        .concat();
        openssl(dir.path(), &args).is_some()
    };
    assert!(accepts(&["-verify_hostname", "leno.example"]) && accepts(&["-verify_ip", "127.0.0.1"]));
    assert!(!accepts(&["-verify_hostname", "other.example"]));
}

#[test]
fn a_short_rsa_key_is_refused() {
    if is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let csr = request(dir.path(), &["-newkey", "rsa:1024"], "-sha256");
    let refused = SigningRequest::parse(&csr).unwrap_err();
    assert_eq!(
        refused,
        CsrError::Key {
            got: "RSA of 1024 bits".to_owned()
        }
    );
}
