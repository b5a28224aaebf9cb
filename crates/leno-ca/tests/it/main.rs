//! The authority, its requests and its tokens, on real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod authority;
mod files;
mod openssl;
mod request;
mod rotation;
mod tokens;

use std::path::Path;
use std::time::{Duration, SystemTime};

use leno_ca::{Authority, CaError, IssuedCertificate, Lifetimes, Origin, SigningRequest};
use leno_tls::{PendingIdentity, SpiffeId, TrustDomain};
use rustls_pki_types::{CertificateDer, UnixTime};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// 2026-01-01T00:00:00Z, when these tests take place.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

pub(crate) fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

pub(crate) fn reviews() -> SpiffeId {
    SpiffeId::workload(&domain(), "default", "reviews").unwrap()
}

pub(crate) fn open(dir: &Path) -> Result<(Authority, Origin), CaError> {
    Authority::open(&dir.join("ca"), &domain(), Lifetimes::default(), now())
}

pub(crate) fn issue(authority: &Authority) -> IssuedCertificate {
    let pending = PendingIdentity::generate(reviews()).unwrap();
    let request = SigningRequest::parse(pending.csr_pem()).unwrap();
    authority.issue(&request, &reviews(), None, now()).unwrap()
}

/// Whether a verifier that knows only `root_pem` accepts the chain for both sides of TLS.
pub(crate) fn verifies(chain: &[String], root_pem: &str) -> bool {
    serves(chain, root_pem) && verifies_for(chain, root_pem, webpki::KeyUsage::client_auth())
}

/// Whether it accepts it for a server.
pub(crate) fn serves(chain: &[String], root_pem: &str) -> bool {
    verifies_for(chain, root_pem, webpki::KeyUsage::server_auth())
}

fn verifies_for(chain: &[String], root_pem: &str, usage: webpki::KeyUsage) -> bool {
    let der = |pem: &str| leno_tls::pem::certificates(pem.as_bytes(), "test").unwrap();
    let chain: Vec<CertificateDer<'static>> = chain.iter().flat_map(|pem| der(pem)).collect();
    let roots = der(root_pem);
    let anchors: Vec<_> = roots
        .iter()
        .map(|root| webpki::anchor_from_trusted_cert(root).unwrap())
        .collect();
    let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
    let at = UnixTime::since_unix_epoch(now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain[1..],
        at,
        usage,
        None,
        None,
    )
    .is_ok()
}
