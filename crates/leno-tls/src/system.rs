//! The machine's own trust store, for TLS to servers outside of the mesh.

use std::io;

use rustls::RootCertStore;

use crate::identity::{IdentityError, TrustBundle};
use crate::pem;

/// The name under which the machine's roots are kept among the secrets. No SDS secret has such a name.
pub const SYSTEM_ROOTS: &str = "\0system";

/// Where distributions keep them: Debian, Fedora, SUSE, Alpine.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, thiserror::Error)]
pub enum SystemRootsError {
    #[error("no trust store — {} — install the package ca-certificates", FILES.join(", "))]
    Missing,
    #[error("{file} cannot be read — {source}")]
    Read { file: &'static str, source: io::Error },
    #[error(transparent)]
    Unusable(#[from] IdentityError),
}

impl TrustBundle {
    /// The machine's roots. One that webpki does not understand is left out: a store of hundreds has old ones.
    pub fn system() -> Result<TrustBundle, SystemRootsError> {
        for file in FILES {
            let text = match std::fs::read(file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(SystemRootsError::Read { file, source }),
            };
            let mut certificates = pem::certificates(&text, file).map_err(IdentityError::from)?;
            certificates.retain(|root| RootCertStore::empty().add(root.clone()).is_ok());
            return Ok(TrustBundle::from_der(certificates, file)?);
        }
        Err(SystemRootsError::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_store_is_understood_or_said_to_be_missing() {
        match TrustBundle::system() {
            Ok(bundle) => assert!(!bundle.certificates().is_empty()),
            Err(error) => assert!(matches!(error, SystemRootsError::Missing), "{error}"),
        }
    }
}
