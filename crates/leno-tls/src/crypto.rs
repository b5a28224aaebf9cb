//! The cryptography and the clock that configurations are made with.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

/// Passed to whatever makes keys, certificates or configurations; there is no
/// process-wide provider.
#[derive(Debug, Clone)]
pub struct Crypto {
    /// Its key exchange groups begin with X25519MLKEM768, so traffic recorded
    /// today stays closed to a later quantum computer wherever both sides can.
    pub provider: Arc<CryptoProvider>,
    /// What time it is for certificate lifetimes.
    pub clock: Arc<dyn TimeProvider>,
}

impl Crypto {
    /// Whether the program was built with the validated module (`--features fips`).
    pub const IS_FIPS: bool = cfg!(feature = "fips");

    /// aws-lc-rs and the system's clock.
    pub fn system() -> Crypto {
        Crypto::with_clock(Arc::new(DefaultTimeProvider))
    }

    pub fn with_clock(clock: Arc<dyn TimeProvider>) -> Crypto {
        let mut provider = aws_lc_rs::default_provider();
        // As Envoy (BoringSSL): AES-128 before AES-256, which costs a third more for each byte and is not what
        // anybody who breaks TLS breaks.
        provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
            _ => 1,
        });
        Crypto {
            provider: Arc::new(provider),
            clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo test --package leno-tls --features fips`
    #[cfg(feature = "fips")]
    #[test]
    fn all_of_it_is_approved_by_fips() {
        let provider = Crypto::system().provider;
        assert!(provider.fips(), "{provider:?}");
    }

    #[test]
    fn the_hybrid_group_is_offered_first() {
        let provider = Crypto::system().provider;
        let first = provider.kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn the_cheapest_safe_suite_is_preferred() {
        let crypto = Crypto::system();
        let suites: Vec<_> = crypto.provider.cipher_suites.iter().map(|s| s.suite()).collect();
        assert_eq!(
            suites.get(..2),
            Some(
                &[
                    CipherSuite::TLS13_AES_128_GCM_SHA256,
                    CipherSuite::TLS13_AES_256_GCM_SHA384
                ][..]
            )
        );
    }
}
