//! The authority's files: made, found again, partly lost, wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use leno_ca::{CaError, Origin};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};

use crate::{DAY, issue, now, open, verifies};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Istio's `cacerts` with an intermediate under a root.
fn cacerts(dir: &Path, signed_by_the_root: bool) {
    let ca = dir.join("ca");
    fs::create_dir(&ca).unwrap();
    let root = CertifiedIssuer::self_signed(ca_params("root"), KeyPair::generate().unwrap()).unwrap();
    let other = CertifiedIssuer::self_signed(ca_params("root"), KeyPair::generate().unwrap()).unwrap();
    let signer = if signed_by_the_root { &root } else { &other };
    let key = KeyPair::generate().unwrap();
    let intermediate = ca_params("intermediate").signed_by(&key, signer).unwrap();
    fs::write(ca.join("root-cert.pem"), root.pem()).unwrap();
    fs::write(ca.join("ca-cert.pem"), intermediate.pem()).unwrap();
    fs::write(ca.join("ca-key.pem"), key.serialize_pem()).unwrap();
    fs::write(ca.join("cert-chain.pem"), intermediate.pem() + &root.pem()).unwrap();
}

#[test]
fn a_root_is_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (first, origin) = open(dir.path()).unwrap();
    assert_eq!(origin, Origin::Created);
    let ca = dir.path().join("ca");
    assert_eq!(mode(&ca), 0o700);
    assert_eq!(
        (mode(&ca.join("ca-key.pem")), mode(&ca.join("root-cert.pem"))),
        (0o600, 0o644)
    );
    assert!(first.not_after() > now() + DAY * 3649);
    let issued = issue(&first);
    let (second, origin) = open(dir.path()).unwrap();
    assert_eq!((origin, second.root_pem()), (Origin::Loaded, first.root_pem()));
    assert!(verifies(&issued.chain, &second.root_pem()));
}

#[test]
fn with_only_the_key_left_old_and_new_peers_still_trust_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (before, _) = open(dir.path()).unwrap();
    let old = issue(&before);
    fs::remove_file(dir.path().join("ca/root-cert.pem")).unwrap();
    let (after, origin) = open(dir.path()).unwrap();
    assert_eq!(origin, Origin::RootRestored);
    assert!(verifies(&old.chain[..1], &after.root_pem()));
    assert!(verifies(&issue(&after).chain[..1], &before.root_pem()));
}

#[test]
fn an_operators_intermediate_signs_and_its_chain_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    cacerts(dir.path(), true);
    let (authority, origin) = open(dir.path()).unwrap();
    assert_eq!(origin, Origin::Loaded);
    let issued = issue(&authority);
    assert_eq!(issued.chain.len(), 3, "leaf, intermediate, root");
    assert_eq!(issued.chain[2], authority.root_pem());
    assert!(verifies(&issued.chain[..2], &authority.root_pem()));
    let server = authority
        .server_certificate(&["127.0.0.1".to_owned()], None, now())
        .unwrap();
    assert_eq!(server.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn a_chain_that_leads_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    cacerts(dir.path(), false);
    assert!(matches!(
        open(dir.path()).unwrap_err(),
        CaError::BrokenChain { .. }
    ));
}

#[test]
fn what_is_wrong_is_said_with_file_and_remedy() {
    let broken = |spoil: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        spoil(&dir.path().join("ca"));
        open(dir.path()).unwrap_err()
    };
    let missing = broken(&|ca| fs::remove_file(ca.join("ca-key.pem")).unwrap());
    assert!(matches!(missing, CaError::KeyMissing { .. }));
    assert!(
        missing.to_string().contains("ca-key.pem") && missing.to_string().contains("restore"),
        "{missing}"
    );

    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let mismatch = broken(&|ca| fs::write(ca.join("ca-key.pem"), &other_key).unwrap());
    assert!(matches!(mismatch, CaError::KeyMismatch { .. }), "{mismatch}");

    let cut = broken(&|ca| fs::write(ca.join("ca-key.pem"), "-----BEGIN PRIVATE KEY-----\nMIG").unwrap());
    assert!(
        matches!(cut, CaError::Pem(_)) && cut.to_string().contains("ca-key.pem"),
        "{cut}"
    );

    let emptied = broken(&|ca| fs::write(ca.join("root-cert.pem"), "").unwrap());
    assert!(emptied.to_string().contains("root-cert.pem"), "{emptied}");
}

#[test]
fn an_expired_or_unfit_certificate_is_refused() {
    let with = |params: CertificateParams| {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        fs::create_dir(&ca).unwrap();
        let key = KeyPair::generate().unwrap();
        fs::write(ca.join("root-cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(ca.join("ca-key.pem"), key.serialize_pem()).unwrap();
        open(dir.path()).unwrap_err()
    };
    let mut expired = ca_params("old");
    expired.not_after = (now() - DAY).into();
    let expired = with(expired);
    assert!(matches!(expired, CaError::Expired { .. }), "{expired}");
    assert!(expired.to_string().contains("2025-12-31"), "{expired}");
    let mut leaf = ca_params("leaf");
    leaf.is_ca = IsCa::ExplicitNoCa;
    assert!(matches!(with(leaf), CaError::NotAnAuthority { .. }));
}

#[test]
fn a_state_directory_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca"), "a file is in the way").unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(
        matches!(error, CaError::State(_)) && error.to_string().contains("/ca"),
        "{error}"
    );
}
