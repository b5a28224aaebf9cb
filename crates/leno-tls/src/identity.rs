//! Who we are (a certificate chain with its key) and whom we trust (a bundle of
//! roots). Both are immutable values; what is current is kept by
//! [`Secrets`](crate::Secrets).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificate::{CertificateError, CertificateInfo};
use crate::crypto::Crypto;
use crate::ocsp::{self, Staple, StapleError, StaplePolicy};
use crate::peer_check::PeerCheck;
use crate::pem::{self, PemError};
use crate::spiffe::SpiffeId;

/// A certificate chain with its private key. Equal when the chains are.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    info: Arc<CertificateInfo>,
    fingerprint: Fingerprint,
    staple: Option<Arc<Stapled>>,
    /// The leaf says that it is not to be shown without one.
    needs_staple: bool,
}

struct Stapled {
    certified: Arc<CertifiedKey>,
    staple: Staple,
}

/// A certificate as it is written down.
#[derive(Clone, Copy)]
pub struct CertificatePem<'p> {
    pub chain: &'p [u8],
    pub private_key: &'p [u8],
    /// What opens the key.
    pub password: Option<&'p [u8]>,
    /// An OCSP response in DER.
    pub ocsp_staple: Option<&'p [u8]>,
}

/// A key that waits for its certificate: the key never leaves the process, the
/// signing request goes to the certificate authority.
pub struct PendingIdentity {
    key: KeyPair,
    id: SpiffeId,
    csr_pem: String,
}

/// Root certificates to verify peers with. Equal when the roots are.
#[derive(Clone)]
pub struct TrustBundle {
    roots: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
    fingerprint: Fingerprint,
    /// What a peer has to have besides, wherever the bundle is trusted.
    also: Option<Arc<PeerCheck>>,
}

/// Why a certificate, key or bundle cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("{source} — certificate {position} of {origin} — replace it")]
    Certificate {
        origin: String,
        position: usize,
        source: CertificateError,
    },
    #[error(
        "the private key does not belong to the certificate — {origin} — use the key the certificate was requested with"
    )]
    KeyMismatch { origin: String },
    #[error(
        "the private key cannot be used ({detail}) — {origin} — use ECDSA P-256/P-384, RSA ≥ 2048 or Ed25519"
    )]
    Key { origin: String, detail: String },
    #[error("the root certificate {position} cannot be used ({detail}) — {origin} — replace it")]
    Root {
        origin: String,
        position: usize,
        detail: String,
    },
    #[error(
        "the issued certificate is for {got}, requested was {requested} — the certificate authority — check its configuration"
    )]
    OtherIdentity { requested: SpiffeId, got: String },
    #[error("the OCSP response cannot be stapled: {source} — {origin} — fetch it anew, or leave it out")]
    Staple { origin: String, source: StapleError },
    #[error("no key or signing request could be made ({detail})")]
    Generate { detail: String },
}

/// SHA-256 over the certificates, which is what makes two values the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

// === impl Identity ===

impl Identity {
    /// From PEM texts; `chain_origin` and `key_origin` name them in errors.
    pub fn from_pem(
        chain: &[u8],
        chain_origin: &str,
        key: &[u8],
        key_origin: &str,
        crypto: &Crypto,
    ) -> Result<Identity, IdentityError> {
        let certificate = CertificatePem {
            chain,
            private_key: key,
            password: None,
            ocsp_staple: None,
        };
        Identity::read(&certificate, chain_origin, key_origin, crypto)
    }

    /// The same with what may belong to it besides.
    pub fn read(
        certificate: &CertificatePem<'_>,
        chain_origin: &str,
        key_origin: &str,
        crypto: &Crypto,
    ) -> Result<Identity, IdentityError> {
        let chain = pem::certificates(certificate.chain, chain_origin)?;
        let key = pem::private_key_with(certificate.private_key, certificate.password, key_origin)?;
        let mut identity = Identity::new(chain, chain_origin, key, key_origin, crypto)?;
        if let Some(staple) = certificate.ocsp_staple {
            identity.staple(staple, chain_origin)?;
        }
        Ok(identity)
    }

    fn staple(&mut self, response: &[u8], origin: &str) -> Result<(), IdentityError> {
        let leaf = self.chain().first().map_or(&[][..], |leaf| leaf);
        let staple = Staple::new(response.to_vec(), leaf).map_err(|source| IdentityError::Staple {
            origin: origin.to_owned(),
            source,
        })?;
        let mut certified = CertifiedKey::clone(&self.certified);
        certified.ocsp = Some(staple.der.clone());
        self.fingerprint = self.fingerprint.with(&staple.der);
        self.staple = Some(Arc::new(Stapled {
            certified: Arc::new(certified),
            staple,
        }));
        Ok(())
    }

    fn new(
        mut chain: Vec<CertificateDer<'static>>,
        chain_origin: &str,
        key: PrivateKeyDer<'static>,
        key_origin: &str,
        crypto: &Crypto,
    ) -> Result<Identity, IdentityError> {
        let mut infos = Vec::with_capacity(chain.len());
        for (index, certificate) in chain.iter().enumerate() {
            infos.push(
                CertificateInfo::parse(certificate).map_err(|source| IdentityError::Certificate {
                    origin: chain_origin.to_owned(),
                    position: index + 1,
                    source,
                })?,
            );
        }
        // Authorities answer with the root at the end; a peer has it or does not trust it.
        while infos.len() > 1 && infos.last().is_some_and(|last| last.subject == last.issuer) {
            infos.pop();
            chain.pop();
        }
        let Some(info) = infos.into_iter().next() else {
            return Err(PemError::NoCertificate {
                origin: chain_origin.to_owned(),
                found: vec![],
            }
            .into());
        };
        let fingerprint = Fingerprint::of(chain.iter());
        let certified =
            CertifiedKey::from_der(chain, key, &crypto.provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    IdentityError::KeyMismatch {
                        origin: key_origin.to_owned(),
                    }
                }
                other => IdentityError::Key {
                    origin: key_origin.to_owned(),
                    detail: other.to_string(),
                },
            })?;
        let leaf = certified.cert.first();
        Ok(Identity {
            needs_staple: leaf.is_some_and(|leaf| ocsp::is_demanded(leaf)),
            staple: None,
            certified: Arc::new(certified),
            info: Arc::new(info),
            fingerprint,
        })
    }

    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.info.spiffe_id()
    }

    /// Names and lifetime of the leaf.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// The leaf first, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// When half of the lifetime has passed: the time to renew, which leaves the
    /// other half to find a certificate authority that answers.
    pub fn half_life(&self) -> SystemTime {
        let CertificateInfo {
            not_before,
            not_after,
            ..
        } = *self.info;
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        not_before.checked_add(lifetime / 2).unwrap_or(not_after)
    }

    pub fn is_expired(&self, now: SystemTime) -> bool {
        now > self.info.not_after
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    /// Whether a server may have it under this policy at all.
    pub fn satisfies(&self, policy: StaplePolicy) -> Result<(), StapleError> {
        match self.policy(policy) == StaplePolicy::Must && self.staple.is_none() {
            true => Err(StapleError::Missing),
            false => Ok(()),
        }
    }

    /// Which it shows never changes.
    pub(crate) fn is_plain(&self, policy: StaplePolicy) -> bool {
        self.staple.is_none() && self.policy(policy) != StaplePolicy::Must
    }

    /// What is shown now, with its staple as long as that holds; None: nothing.
    pub(crate) fn shown(&self, policy: StaplePolicy, now: SystemTime) -> Option<&Arc<CertifiedKey>> {
        match (&self.staple, self.policy(policy)) {
            (Some(stapled), _) if stapled.staple.holds(now) => Some(&stapled.certified),
            (_, StaplePolicy::Lenient) | (None, StaplePolicy::Strict) => Some(&self.certified),
            _ => None,
        }
    }

    fn policy(&self, policy: StaplePolicy) -> StaplePolicy {
        match self.needs_staple {
            true => StaplePolicy::Must,
            false => policy,
        }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

// === impl PendingIdentity ===

impl PendingIdentity {
    /// Makes an ECDSA P-256 key and a signing request whose only name is `id`.
    pub fn generate(id: SpiffeId) -> Result<PendingIdentity, IdentityError> {
        let generate = |error: rcgen::Error| IdentityError::Generate {
            detail: error.to_string(),
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().map_err(generate)?)];
        let csr_pem = params
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(generate)?;
        Ok(PendingIdentity { key, id, csr_pem })
    }

    /// The PKCS#10 request in PEM.
    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The private key as PKCS#8 PEM, for a process beside us that reads files.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Joins the key with the chain the authority answered with (PEM, leaf first,
    /// in one text or several).
    pub fn complete(&self, chain: &[impl AsRef<str>], crypto: &Crypto) -> Result<Identity, IdentityError> {
        const ORIGIN: &str = "the certificate authority's answer";
        // An answer's blocks need not end with a line end.
        let text = chain.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n");
        let chain = pem::certificates(text.as_bytes(), ORIGIN)?;
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let identity = Identity::new(chain, ORIGIN, key.into(), ORIGIN, crypto)?;
        if identity.spiffe_id().as_ref() != Some(&self.id) {
            let got = identity.info.sans.all().join(", ");
            return Err(IdentityError::OtherIdentity {
                requested: self.id.clone(),
                got,
            });
        }
        Ok(identity)
    }
}

impl fmt::Debug for PendingIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingIdentity")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

// === impl TrustBundle ===

impl TrustBundle {
    /// From a PEM text of one or more roots; `origin` names it in errors.
    pub fn from_pem(pem: &[u8], origin: &str) -> Result<TrustBundle, IdentityError> {
        TrustBundle::from_der(pem::certificates(pem, origin)?, origin)
    }

    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        origin: &str,
    ) -> Result<TrustBundle, IdentityError> {
        let fingerprint = Fingerprint::of(certificates.iter());
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            roots
                .add(certificate.clone())
                .map_err(|error| IdentityError::Root {
                    origin: origin.to_owned(),
                    position: index + 1,
                    detail: error.to_string(),
                })?;
        }
        if roots.is_empty() {
            return Err(PemError::NoCertificate {
                origin: origin.to_owned(),
                found: vec![],
            }
            .into());
        }
        Ok(TrustBundle {
            roots: Arc::new(roots),
            certificates: certificates.into(),
            fingerprint,
            also: None,
        })
    }

    /// No authority at all: the pins of the check say who is accepted.
    pub fn of_pins(check: PeerCheck) -> TrustBundle {
        TrustBundle {
            roots: Arc::new(RootCertStore::empty()),
            certificates: Arc::default(),
            fingerprint: Fingerprint::of([].iter()),
            also: Some(Arc::new(check)),
        }
    }

    /// Whoever trusts it asks this of peers as well; the check's own trust counts for nothing.
    #[must_use]
    pub fn with(mut self, check: PeerCheck) -> TrustBundle {
        self.also = Some(Arc::new(check));
        self
    }

    pub(crate) fn also(&self) -> Option<&PeerCheck> {
        self.also.as_deref()
    }

    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Tells bundles apart: SHA-256 over their certificates, hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.fingerprint
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.also == other.also
    }
}

impl Eq for TrustBundle {}

impl Hash for TrustBundle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
        self.also.hash(state);
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// DER is self-delimiting, so no two lists of certificates run together alike.
    /// Of the same with something that belongs to it.
    fn with(self, more: &[u8]) -> Fingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(more);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Fingerprint(bytes)
    }

    fn of<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> Fingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        for certificate in certificates {
            context.update(certificate);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Fingerprint(bytes)
    }
}
