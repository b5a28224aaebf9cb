//! Which of several authorities a certificate is of.

use std::time::SystemTime;

use rustls_pki_types::UnixTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use crate::identity::{Identity, TrustBundle};

// === impl Identity ===

impl Identity {
    /// Whether it was issued under the bundle's first root, which is the one that signs now; how old it is does not
    /// count.
    pub fn is_of_first(&self, bundle: &TrustBundle) -> bool {
        let Some((leaf, between)) = self.chain().split_first() else {
            return false;
        };
        let Some(first) = bundle.roots().roots.get(..1) else {
            return false;
        };
        // Nothing above it ends before it does.
        let end = self.info().not_after.duration_since(SystemTime::UNIX_EPOCH);
        let at = UnixTime::since_unix_epoch(end.unwrap_or_default());
        EndEntityCert::try_from(leaf).is_ok_and(|leaf| {
            leaf.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                first,
                between,
                at,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .is_ok()
        })
    }
}
