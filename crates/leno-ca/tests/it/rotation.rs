//! A rotation of the root, step by step, with a restart after each.

use std::fs;
use std::path::Path;

use leno_ca::{Authority, RevocationError, RotationError, Stage};
use rcgen::{Issuer, KeyPair};

use crate::{DAY, issue, now, open, serves, verifies};

fn reopen(dir: &Path) -> Authority {
    open(dir).unwrap().0
}

#[test]
fn a_root_is_rotated_in_steps_that_each_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let authority = reopen(dir.path());
    let old = authority.root_pem();
    let leaf_of_old = issue(&authority).chain;

    authority.stage_root(now()).unwrap();
    let authority = reopen(dir.path());
    assert_eq!(authority.stage(), Stage::Staged);
    let both = authority.root_pem();
    let new = both
        .strip_prefix(&old)
        .expect("the root that signs comes first")
        .to_owned();
    assert!(!new.is_empty());
    let still = issue(&authority).chain;
    assert!(verifies(&still, &old) && still.last() == Some(&both));

    authority.switch_root().unwrap();
    let authority = reopen(dir.path());
    assert_eq!(
        (authority.stage(), authority.root_pem()),
        (Stage::Switched, format!("{new}{old}"))
    );
    let leaf_of_new = issue(&authority).chain;
    assert!(verifies(&leaf_of_new, &new) && !verifies(&leaf_of_new, &old));
    assert!(verifies(&leaf_of_old, &authority.root_pem()));
    let names = ["localhost".to_owned()];
    let own = authority
        .server_certificate(&names, None, now())
        .unwrap()
        .chain_pem;
    assert!(
        serves(&[own], &old),
        "who knows the old root alone finds the control plane"
    );

    authority.retire_root(now()).unwrap();
    assert_eq!(
        (authority.stage(), authority.root_pem()),
        (Stage::Settled, new.clone())
    );
    let authority = reopen(dir.path());
    assert_eq!(
        (authority.stage(), authority.root_pem()),
        (Stage::Settled, new.clone())
    );
    assert!(!verifies(&leaf_of_old, &new) && verifies(&issue(&authority).chain, &new));
    assert!(!dir.path().join("ca/next-ca").exists() && !dir.path().join("ca/root-rotation.json").exists());
}

#[test]
fn a_retirement_that_a_crash_cut_off_is_ended_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let authority = reopen(dir.path());
    let old = authority.root_pem();
    authority.stage_root(now()).unwrap();
    authority.switch_root().unwrap();
    let new = authority.root_pem().strip_suffix(&old).unwrap().to_owned();
    let ca = dir.path().join("ca");
    // The key is in its place, the certificate is not.
    fs::copy(ca.join("next-ca/ca-key.pem"), ca.join("ca-key.pem")).unwrap();
    fs::write(ca.join("root-rotation.json"), r#"{"step":"retiring"}"#).unwrap();
    assert_eq!(reopen(dir.path()).root_pem(), new);

    // All was done but the last.
    fs::create_dir(ca.join("next-ca")).unwrap();
    fs::copy(ca.join("ca-key.pem"), ca.join("next-ca/ca-key.pem")).unwrap();
    let authority = reopen(dir.path());
    assert_eq!((authority.stage(), authority.root_pem()), (Stage::Settled, new));
    assert!(!ca.join("next-ca").exists());
    fs::write(ca.join("root-rotation.json"), "{").unwrap();
    assert!(
        open(dir.path())
            .unwrap_err()
            .to_string()
            .contains("root-rotation.json")
    );
}

#[test]
fn steps_out_of_turn_are_refused_and_a_staged_root_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let authority = reopen(dir.path());
    let old = authority.root_pem();
    let refused = |result: Result<(), RotationError>| result.unwrap_err().to_string();
    assert!(refused(authority.switch_root()).contains("stage a new root first"));
    assert!(refused(authority.retire_root(now())).contains("let the new root sign first"));
    assert!(refused(authority.abort_rotation()).contains("nothing to abort"));
    authority.stage_root(now()).unwrap();
    assert!(refused(authority.stage_root(now())).contains("under way already"));
    authority.abort_rotation().unwrap();
    assert_eq!(
        (authority.stage(), authority.root_pem()),
        (Stage::Settled, old.clone())
    );
    assert_eq!(reopen(dir.path()).root_pem(), old);

    authority.stage_root(now()).unwrap();
    authority.switch_root().unwrap();
    assert!(refused(authority.abort_rotation()).contains("certificates of the new root by now"));
}

#[test]
fn an_operators_authority_is_rotated_to_and_the_same_root_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let authority = reopen(dir.path());
    let ca = dir.path().join("ca");
    fs::create_dir(ca.join("next-ca")).unwrap();
    for name in ["ca-key.pem", "root-cert.pem"] {
        fs::copy(ca.join(name), ca.join("next-ca").join(name)).unwrap();
    }
    let refused = authority.stage_root(now()).unwrap_err();
    assert!(matches!(refused, RotationError::SameRoot { .. }), "{refused}");

    let other = tempfile::tempdir().unwrap();
    let theirs = reopen(other.path()).root_pem();
    for name in ["ca-key.pem", "root-cert.pem"] {
        fs::copy(other.path().join("ca").join(name), ca.join("next-ca").join(name)).unwrap();
    }
    authority.stage_root(now()).unwrap();
    assert!(authority.root_pem().ends_with(&theirs));
}

/// A list of the authority in `dir`, that takes nothing back.
fn list(dir: &Path, until: std::time::SystemTime) -> String {
    let key = KeyPair::from_pem(&fs::read_to_string(dir.join("ca-key.pem")).unwrap()).unwrap();
    let root = fs::read_to_string(dir.join("root-cert.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&root, key).unwrap();
    let params = rcgen::CertificateRevocationListParams {
        this_update: (now() - DAY).into(),
        next_update: until.into(),
        crl_number: 7u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: 77u64.into(),
            revocation_time: now().into(),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).unwrap().pem().unwrap()
}

#[test]
fn revocation_lists_are_checked_and_every_authority_that_signs_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let authority = reopen(dir.path());
    let ca = dir.path().join("ca");
    assert_eq!(authority.revocations(now()).unwrap(), None);

    let good = list(&ca, now() + DAY * 30);
    fs::write(ca.join("ca-crl.pem"), &good).unwrap();
    let read = authority.revocations(now()).unwrap().unwrap();
    assert_eq!(
        (read.count, read.leaf_only, read.not_after),
        (1, false, Some(now() + DAY * 30))
    );
    assert_eq!(read.pem.matches("BEGIN X509 CRL").count(), 1);
    // Else nobody with a certificate of the new root would be accepted.
    authority.stage_root(now()).unwrap();
    let read = authority.revocations(now()).unwrap().unwrap();
    assert_eq!((read.count, read.pem.matches("BEGIN X509 CRL").count()), (1, 2));

    let late = authority.revocations(now() + DAY * 31).unwrap_err();
    assert!(matches!(late, RevocationError::Expired { .. }), "{late}");
    fs::write(ca.join("ca-crl.pem"), "nonsense").unwrap();
    let none = authority.revocations(now()).unwrap_err();
    assert!(none.to_string().contains("ca-crl.pem"), "{none}");

    // Another key under the same name.
    let other = tempfile::tempdir().unwrap();
    let forger = reopen(other.path());
    drop(forger);
    let forged = other.path().join("ca");
    let root = fs::read_to_string(ca.join("root-cert.pem")).unwrap();
    fs::write(forged.join("root-cert.pem"), root).unwrap();
    fs::write(ca.join("ca-crl.pem"), list(&forged, now() + DAY)).unwrap();
    let refused = authority.revocations(now()).unwrap_err();
    assert!(matches!(refused, RevocationError::Signature { .. }), "{refused}");
}
