//! Who was let in and would not be let in again.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::secrets::SecretSet;

// === impl SecretSet ===

impl SecretSet {
    /// Whether a list in force names one of these, which a peer has shown: it would not be let in again.
    pub fn revokes(&self, shown: &[CertificateDer<'_>]) -> bool {
        let lists = self
            .bundles()
            .filter_map(|(_, bundle)| bundle.also()?.revocation.as_ref());
        let mut lists = lists.peekable();
        if lists.peek().is_none() {
            return false;
        }
        let shown: Vec<EndEntityCert<'_>> = shown
            .iter()
            .filter_map(|certificate| EndEntityCert::try_from(certificate).ok())
            .collect();
        lists.any(|list| shown.iter().any(|certificate| list.names(certificate)))
    }
}
