//! Names of cipher suites and key exchange groups, as Envoy writes them in
//! `tls_params`.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, NamedGroup};

use crate::crypto::Crypto;

/// A name that is not known, or of something that is not safe to speak any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedError {
    #[error("the cipher suite {name:?} is not supported — tls_params.cipher_suites — use one of {known}")]
    CipherSuite { name: String, known: String },
    #[error("the group {name:?} is not supported — tls_params.ecdh_curves — use one of {known}")]
    Group { name: String, known: String },
}

const TLS12_SUITES: [(&str, CipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

const GROUPS: [(&str, NamedGroup); 4] = [
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ("X25519", NamedGroup::X25519),
    ("P-256", NamedGroup::secp256r1),
    ("P-384", NamedGroup::secp384r1),
];

/// The provider narrowed to the suites and groups asked for.
pub(crate) fn provider(
    crypto: &Crypto,
    suites: &[String],
    groups: &[String],
) -> Result<Arc<CryptoProvider>, UnsupportedError> {
    if suites.is_empty() && groups.is_empty() {
        return Ok(crypto.provider.clone());
    }
    let mut provider = CryptoProvider::clone(&crypto.provider);
    if !suites.is_empty() {
        // `[A|B]` is BoringSSL's way to write suites of equal preference.
        let names = suites
            .iter()
            .flat_map(|entry| entry.trim_matches(['[', ']']).split('|'));
        let wanted: Vec<CipherSuite> = names
            .map(|name| {
                find(&TLS12_SUITES, name).ok_or_else(|| UnsupportedError::CipherSuite {
                    name: name.to_owned(),
                    known: known(TLS12_SUITES.iter()),
                })
            })
            .collect::<Result<_, _>>()?;
        let tls13 = provider
            .cipher_suites
            .iter()
            .filter(|suite| suite.tls13().is_some())
            .copied();
        let tls12 = wanted.iter().filter_map(|wanted| {
            provider
                .cipher_suites
                .iter()
                .find(|suite| suite.suite() == *wanted)
                .copied()
        });
        provider.cipher_suites = tls13.chain(tls12).collect();
    }
    if !groups.is_empty() {
        let all = &crypto.provider.kx_groups;
        provider.kx_groups = groups
            .iter()
            .map(|name| {
                find(&GROUPS, name)
                    .and_then(|group| all.iter().find(|kx| kx.name() == group).copied())
                    .ok_or_else(|| UnsupportedError::Group {
                        name: name.clone(),
                        known: known(
                            GROUPS
                                .iter()
                                .filter(|(_, group)| all.iter().any(|kx| kx.name() == *group)),
                        ),
                    })
            })
            .collect::<Result<_, _>>()?;
    }
    Ok(Arc::new(provider))
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

fn known<'t, T: 't>(table: impl Iterator<Item = &'t (&'static str, T)>) -> String {
    table.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
