//! Names, certificates, keys and signing requests from a peer. The first byte chooses the parser.
#![no_main]

use std::str::FromStr;

use leno_ca::SigningRequest;
use leno_tls::{CertificateInfo, SpiffeId, TrustBundle, TrustDomain, pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    match choice % 6 {
        0 => spiffe_id(&text),
        1 => drop(TrustDomain::from_str(&text)),
        2 => certificates(bytes),
        3 => drop(pem::private_key(bytes, "test").map_err(|error| error.to_string())),
        4 => drop(SigningRequest::parse(&text).map_err(|error| error.to_string())),
        _ => drop(CertificateInfo::parse(bytes).map(|info| info.spiffe_id())),
    }
});

fn spiffe_id(text: &str) {
    let Ok(id) = SpiffeId::from_str(text) else {
        return;
    };
    assert_eq!(SpiffeId::from_str(id.as_str()).as_ref(), Ok(&id));
    assert!(id.is_in(&id.trust_domain()));
    if let (Some(namespace), Some(account)) = (id.namespace(), id.service_account()) {
        let made = SpiffeId::workload(&id.trust_domain(), namespace, account);
        assert_eq!(made.as_ref(), Ok(&id));
    }
}

fn certificates(bytes: &[u8]) {
    let _ = TrustBundle::from_pem(bytes, "test");
    for certificate in pem::certificates(bytes, "test").unwrap_or_default() {
        let text = pem::encode_certificate(&certificate);
        let again = pem::certificates(text.as_bytes(), "test").expect("our own PEM reads");
        assert_eq!(again, [certificate]);
    }
}
