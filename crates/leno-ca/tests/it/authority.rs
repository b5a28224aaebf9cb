//! What is issued, and for how long.

use std::time::Duration;

use leno_ca::{Authority, IssueError, Lifetimes, SigningRequest};
use leno_tls::{CertificateInfo, Crypto, PendingIdentity, SpiffeId};

use crate::{DAY, domain, issue, now, open, reviews, verifies};

#[test]
fn a_workload_gets_the_identity_it_proved_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = open(dir.path()).unwrap();
    let pending = PendingIdentity::generate(reviews()).unwrap();
    let request = SigningRequest::parse(pending.csr_pem()).unwrap();
    assert_eq!(request.id(), &reviews());

    let issued = authority.issue(&request, &reviews(), None, now()).unwrap();
    let identity = pending.complete(&issued.chain, &Crypto::system()).unwrap();
    let info = identity.info();
    assert_eq!(info.serial, issued.serial);
    assert_eq!(info.sans.all(), [reviews().to_string()]);
    assert_eq!((info.subject.as_str(), info.not_after), ("", now() + DAY));
    assert!(
        info.not_before < now(),
        "peers whose clock is behind must accept it"
    );
    assert!(verifies(&issued.chain, &authority.root_pem()));

    let admin = SpiffeId::workload(&domain(), "kube-system", "admin").unwrap();
    let refused = authority.issue(&request, &admin, None, now()).unwrap_err();
    assert_eq!(
        refused,
        IssueError::NotAllowed {
            requested: reviews(),
            allowed: admin
        }
    );
}

#[test]
fn lifetimes_are_capped_by_policy_and_by_the_authoritys_own_end() {
    let dir = tempfile::tempdir().unwrap();
    let lifetimes = Lifetimes {
        default: DAY,
        max: DAY * 7,
    };
    let (authority, _) = Authority::open(&dir.path().join("ca"), &domain(), lifetimes, now()).unwrap();
    let pending = PendingIdentity::generate(reviews()).unwrap();
    let request = SigningRequest::parse(pending.csr_pem()).unwrap();
    let end = |ttl, at| {
        authority
            .issue(&request, &reviews(), ttl, at)
            .map(|issued| issued.not_after)
    };
    assert_eq!(end(Some(DAY / 2), now()), Ok(now() + DAY / 2));
    assert_eq!(end(Some(DAY * 365), now()), Ok(now() + DAY * 7));
    assert_eq!(end(Some(Duration::MAX), now()), Ok(now() + DAY * 7));
    assert_eq!(end(Some(Duration::ZERO), now()), Ok(now() + DAY));
    let late = authority.not_after() - DAY / 4;
    assert_eq!(end(None, late), Ok(authority.not_after()));
    let refused = end(None, authority.not_after()).unwrap_err();
    assert!(matches!(refused, IssueError::AuthorityExpired { .. }));
}

#[test]
fn serial_numbers_differ() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = open(dir.path()).unwrap();
    let (one, other) = (issue(&authority), issue(&authority));
    assert_ne!(one.serial, other.serial);
    assert_eq!(one.serial.len(), 32);
}

#[test]
fn the_control_planes_own_certificate_has_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = open(dir.path()).unwrap();
    let names = [
        "leno.default.svc".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let server = authority.server_certificate(&names, None, now()).unwrap();
    let der = leno_tls::pem::certificates(server.chain_pem.as_bytes(), "test").unwrap();
    let info = CertificateInfo::parse(&der[0]).unwrap();
    assert_eq!(info.sans.dns, ["leno.default.svc"]);
    assert_eq!(info.sans.ips.len(), 2);
    let refused = authority.server_certificate(&["bücher.example".to_owned()], None, now());
    assert!(matches!(refused.unwrap_err(), IssueError::Name { .. }));
}
