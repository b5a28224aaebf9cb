//! The cryptography and the clock that configurations are made with.

use std::sync::Arc;

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
    /// aws-lc-rs and the system's clock.
    pub fn system() -> Crypto {
        Crypto::with_clock(Arc::new(DefaultTimeProvider))
    }

    pub fn with_clock(clock: Arc<dyn TimeProvider>) -> Crypto {
        Crypto {
            provider: Arc::new(aws_lc_rs::default_provider()),
            clock,
        }
    }
}
