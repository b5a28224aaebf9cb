//! Which signing requests are accepted.

use leno_ca::{CsrError, SigningRequest};
use leno_tls::PendingIdentity;
use proptest::prelude::*;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
    PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};

use crate::{now, open, reviews, verifies};

fn csr(key: &KeyPair, sans: &[SanType]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans.to_vec();
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

#[test]
fn every_accepted_kind_of_key_is_signed_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = open(dir.path()).unwrap();
    let keys = [
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
    ];
    for key in keys {
        let request = SigningRequest::parse(&csr(&key, &[uri(reviews().as_str())])).unwrap();
        let issued = authority.issue(&request, &reviews(), None, now()).unwrap();
        assert!(verifies(&issued.chain, &authority.root_pem()));
        let crypto = leno_tls::Crypto::system();
        let chain = issued.chain.concat();
        let key_pem = key.serialize_pem();
        leno_tls::Identity::from_pem(chain.as_bytes(), "chain", key_pem.as_bytes(), "key", &crypto).unwrap();
    }
}

#[test]
fn a_request_must_name_one_identity() {
    let key = KeyPair::generate().unwrap();
    let refuse = |sans: &[SanType]| SigningRequest::parse(&csr(&key, sans)).unwrap_err();
    let mine = uri(reviews().as_str());
    assert_eq!(refuse(&[]), CsrError::NoIdentity);
    let two = refuse(&[
        mine.clone(),
        uri("spiffe://cluster.local/ns/kube-system/sa/admin"),
    ]);
    assert!(
        matches!(&two, CsrError::Names { names } if names.len() == 2),
        "{two}"
    );
    let dns = SanType::DnsName("reviews.default".try_into().unwrap());
    assert!(matches!(refuse(&[mine, dns.clone()]), CsrError::Names { .. }));
    assert!(matches!(refuse(&[dns]), CsrError::Names { .. }));
    let foreign = refuse(&[uri("https://example.com/")]);
    assert!(
        matches!(&foreign, CsrError::Identity { uri, .. } if uri == "https://example.com/"),
        "{foreign}"
    );
}

#[test]
fn a_request_that_is_not_signed_by_its_key_is_refused() {
    let pem = PendingIdentity::generate(reviews()).unwrap().csr_pem().to_owned();
    let mut block = der_of(&pem);
    let last = block.len() - 1;
    block[last] ^= 1;
    let refused = SigningRequest::parse(&to_pem(&block)).unwrap_err();
    assert!(
        matches!(refused, CsrError::Signature | CsrError::Syntax { .. }),
        "{refused}"
    );
}

#[test]
fn weak_and_unknown_keys_are_refused_by_name() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    let refused = SigningRequest::parse(&csr(&key, &[uri(reviews().as_str())])).unwrap_err();
    assert!(
        matches!(&refused, CsrError::Key { got } if got.contains("curve")),
        "{refused}"
    );
}

#[test]
fn what_is_no_request_is_refused() {
    assert!(matches!(SigningRequest::parse(""), Err(CsrError::Syntax { .. })));
    let key = KeyPair::generate().unwrap().serialize_pem();
    assert!(matches!(
        SigningRequest::parse(&key),
        Err(CsrError::Syntax { .. })
    ));
    assert!(matches!(
        SigningRequest::parse(&"x".repeat(1 << 20)),
        Err(CsrError::TooLarge { .. })
    ));
}

fn der_of(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

/// The block under the label of a request.
fn to_pem(der: &[u8]) -> String {
    leno_tls::pem::encode_certificate(&der.into()).replace("CERTIFICATE-", "CERTIFICATE REQUEST-")
}

proptest! {
    /// The framing around the signed part may be read leniently; what is signed may not change.
    #[test]
    fn a_damaged_request_means_the_same_or_is_refused(at in 0usize..2000, value in any::<u8>()) {
        let pem = PendingIdentity::generate(reviews()).unwrap().csr_pem().to_owned();
        let mut der = der_of(&pem);
        let at = at % der.len();
        der[at] = value;
        if let Ok(read) = SigningRequest::parse(&to_pem(&der)) {
            prop_assert_eq!(read, SigningRequest::parse(&pem).unwrap());
        }
    }
}
