//! Certificate revocation lists.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// Lists of certificates that their authorities have taken back. A certificate is accepted only if there is a current
/// list of its authority, as in Envoy.
#[derive(Clone)]
pub struct Revocation {
    pem: Vec<u8>,
    lists: Arc<[CertRevocationList<'static>]>,
    /// Of the peer's own certificate only, not of the authorities above it.
    leaf_only: bool,
}

/// Lists that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the revocation lists are not usable: {detail} — crl — give PEM blocks \"X509 CRL\"")]
pub struct RevocationError {
    pub detail: String,
}

/// A verification that revocation lists are lent to.
pub(crate) type Verify<'v, R> = &'v dyn Fn(Option<RevocationOptions<'_>>) -> Result<R, webpki::Error>;

// === impl Revocation ===

impl Revocation {
    pub fn from_pem(pem: &[u8], leaf_only: bool) -> Result<Revocation, RevocationError> {
        let wrong = |detail: String| RevocationError { detail };
        let mut lists = Vec::new();
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            let list = list.map_err(|error| wrong(error.to_string()))?;
            let list = OwnedCertRevocationList::from_der(&list).map_err(|error| wrong(error.to_string()))?;
            lists.push(CertRevocationList::from(list));
        }
        match lists.is_empty() {
            true => Err(wrong("there is none".to_owned())),
            false => Ok(Revocation {
                pem: pem.to_vec(),
                lists: lists.into(),
                leaf_only,
            }),
        }
    }

    /// Whether it names this certificate.
    pub(crate) fn names(&self, certificate: &EndEntityCert<'_>) -> bool {
        self.lists.iter().any(|list| {
            let revoked = || list.find_serial(certificate.serial());
            list.issuer() == certificate.issuer() && revoked().is_ok_and(|revoked| revoked.is_some())
        })
    }

    /// Lends webpki's form of it.
    pub(crate) fn check<R>(&self, verify: Verify<'_, R>) -> Result<R, webpki::Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let depth = match self.leaf_only {
            true => RevocationCheckDepth::EndEntity,
            false => RevocationCheckDepth::Chain,
        };
        // That there are lists was seen when they were read.
        let options =
            RevocationOptionsBuilder::new(&lists).map_err(|_| webpki::Error::UnknownRevocationStatus)?;
        let options = options
            .with_depth(depth)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce);
        verify(Some(options.build()))
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocation({} lists)", self.lists.len())
    }
}

impl PartialEq for Revocation {
    fn eq(&self, other: &Self) -> bool {
        (&self.pem, self.leaf_only) == (&other.pem, other.leaf_only)
    }
}

impl Eq for Revocation {}

impl Hash for Revocation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pem.hash(state);
        self.leaf_only.hash(state);
    }
}
