//! The certificate authority: signs workload identities (SPIFFE X.509-SVIDs).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use leno_tls::pem::encode_certificate;
use leno_tls::{SpiffeId, TrustDomain};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::ca_files::{BACKDATED, CaError, CaFiles, Origin};
use crate::request::SigningRequest;
use crate::revocation::{self, RevocationError, Revocations};
use crate::rotation::{self, Held, RotationError, Stage};

/// Signs certificates until its own certificate ends.
pub struct Authority {
    dir: PathBuf,
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    held: RwLock<Arc<Held>>,
    /// One step of a rotation at a time.
    steps: Mutex<()>,
}

/// One of the authority's own certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    pub pem: String,
    pub role: AuthorityRole,
    /// Leaves are issued under it.
    pub signs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityRole {
    Root,
    Intermediate,
}

/// How long issued certificates live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// When the asker names none.
    pub default: Duration,
    /// Whatever the asker names.
    pub max: Duration,
}

/// A workload's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// PEM: the leaf, what lies between, and last the roots that are trusted, the one
    /// that signs first, as Istio's `CreateCertificate` answers.
    pub chain: Vec<String>,
    pub not_after: SystemTime,
    /// Hexadecimal.
    pub serial: String,
}

/// A certificate with its key, for a listener of the control plane itself.
pub struct ServerCertificate {
    /// PEM, leaf first, without the root.
    pub chain_pem: String,
    /// PKCS#8 PEM.
    pub key_pem: String,
    pub not_after: SystemTime,
}

/// Why a certificate is not issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error(
        "the request is for {requested}, the credentials are for {allowed} — CSR — ask for your own identity"
    )]
    NotAllowed { requested: SpiffeId, allowed: SpiffeId },
    #[error("the certificate authority's own certificate ends at {at} — state directory — renew it")]
    AuthorityExpired { at: OffsetDateTime },
    #[error("the name {name:?} cannot be in a certificate — server certificate — use ASCII DNS names")]
    Name { name: String },
    #[error("the certificate could not be made: {detail}")]
    Sign { detail: String },
}

// === impl Authority ===

impl Authority {
    /// Loads the authority in `dir`, or makes one there (ECDSA P-256, ten years).
    pub fn open(
        dir: &Path,
        trust_domain: &TrustDomain,
        lifetimes: Lifetimes,
        now: SystemTime,
    ) -> Result<(Authority, Origin), CaError> {
        let (held, origin) = rotation::open(dir, trust_domain, now)?;
        let authority = Authority {
            dir: dir.to_owned(),
            trust_domain: trust_domain.clone(),
            lifetimes,
            held: RwLock::new(Arc::new(held)),
            steps: Mutex::default(),
        };
        Ok((authority, origin))
    }

    /// How far a rotation of the root is.
    pub fn stage(&self) -> Stage {
        self.held().stage
    }

    /// A new root is trusted from now on: the one in `next-ca/`, else one that is made.
    pub fn stage_root(&self, now: SystemTime) -> Result<(), RotationError> {
        self.step(|held| rotation::stage(&self.dir, held, &self.trust_domain, now))
    }

    /// The new root signs from now on.
    pub fn switch_root(&self) -> Result<(), RotationError> {
        self.step(|held| rotation::switch(&self.dir, held))
    }

    /// The old root is neither trusted nor kept any more.
    pub fn retire_root(&self, now: SystemTime) -> Result<(), RotationError> {
        self.step(|held| rotation::retire(&self.dir, held, &self.trust_domain, now))
    }

    /// The new root is forgotten, before it has signed anything.
    pub fn abort_rotation(&self) -> Result<(), RotationError> {
        self.step(|held| rotation::abort(&self.dir, held))
    }

    fn step(&self, step: impl FnOnce(&Held) -> Result<Held, RotationError>) -> Result<(), RotationError> {
        let _alone = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let held = step(&self.held())?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs the request for `allowed`, the identity the asker has proved. The
    /// names come from `allowed` and the request must ask for the same.
    pub fn issue(
        &self,
        request: &SigningRequest,
        allowed: &SpiffeId,
        ttl: Option<Duration>,
        now: SystemTime,
    ) -> Result<IssuedCertificate, IssueError> {
        if request.id() != allowed {
            return Err(IssueError::NotAllowed {
                requested: request.id().clone(),
                allowed: allowed.clone(),
            });
        }
        let held = self.held();
        let files = held.signing();
        let mut params = self.leaf(files, ttl, now)?;
        params.subject_alt_names = vec![SanType::URI(ia5(allowed.as_str())?)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if request.is_rsa() {
            // RSA key transport of TLS 1.2 needs it; other keys may not have it.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        let serial = params.serial_number.as_ref().map(hex).unwrap_or_default();
        let not_after = params.not_after.into();
        let leaf = sign(files, &params, request.key())?;
        let above = files.intermediates.iter().map(encode_certificate);
        let above = above.chain([root_pem(&held)]);
        Ok(IssuedCertificate {
            chain: std::iter::once(leaf).chain(above).collect(),
            not_after,
            serial,
        })
    }

    /// A certificate and a new key for the control plane's own listener. Names
    /// that read as IP addresses become such. It is of the old root until that is
    /// retired: who has not heard of the new one has to find the control plane.
    pub fn server_certificate(
        &self,
        names: &[String],
        ttl: Option<Duration>,
        now: SystemTime,
    ) -> Result<ServerCertificate, IssueError> {
        let held = self.held();
        let files = &held.present;
        let mut params = self.leaf(files, ttl, now)?;
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(ip) => Ok(SanType::IpAddress(ip)),
                Err(_) => ia5(name).map(SanType::DnsName),
            })
            .collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(sign_error)?;
        let leaf = sign(files, &params, &key)?;
        let above = files.intermediates.iter().map(encode_certificate);
        Ok(ServerCertificate {
            chain_pem: std::iter::once(leaf).chain(above).collect(),
            key_pem: key.serialize_pem(),
            not_after: params.not_after.into(),
        })
    }

    /// What peers are to trust, in PEM; the root that signs comes first.
    pub fn root_pem(&self) -> String {
        root_pem(&self.held())
    }

    /// When the first certificate between a leaf and the root ends.
    pub fn not_after(&self) -> SystemTime {
        self.held().signing().not_after
    }

    /// Its own certificates: those of the chain that signs, from the signing one up, then other roots.
    pub fn certificates(&self) -> Vec<AuthorityCertificate> {
        let held = self.held();
        let mut all = Vec::new();
        for (files, signs) in [(Some(held.signing()), true), (held.other(), false)] {
            let Some(files) = files else { continue };
            let of = |role, signs| {
                move |certificate| AuthorityCertificate {
                    pem: encode_certificate(certificate),
                    role,
                    signs,
                }
            };
            all.extend(
                files
                    .intermediates
                    .iter()
                    .map(of(AuthorityRole::Intermediate, signs)),
            );
            // The first root is the one that the chain leads to.
            let mut roots = files.roots.iter();
            all.extend(roots.next().map(of(AuthorityRole::Root, signs)));
            all.extend(roots.map(of(AuthorityRole::Root, false)));
        }
        all
    }

    /// Where its operator says what was taken back.
    pub fn revocations_path(&self) -> PathBuf {
        self.dir.join(revocation::REVOCATIONS)
    }

    /// The certificates that were taken back, by `ca-crl.pem`; None: there is no such file.
    pub fn revocations(&self, now: SystemTime) -> Result<Option<Revocations>, RevocationError> {
        let held = self.held();
        let authorities: Vec<&CaFiles> = [Some(&*held.present), held.next.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        revocation::read(&self.dir, &authorities, now)
    }

    /// What all leaves have in common.
    fn leaf(
        &self,
        files: &CaFiles,
        ttl: Option<Duration>,
        now: SystemTime,
    ) -> Result<CertificateParams, IssueError> {
        let end = files.not_after;
        if end <= now {
            return Err(IssueError::AuthorityExpired { at: end.into() });
        }
        let ttl = ttl
            .filter(|ttl| !ttl.is_zero())
            .unwrap_or(self.lifetimes.default)
            .min(self.lifetimes.max);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = now.checked_sub(BACKDATED).unwrap_or(now).into();
        params.not_after = now.checked_add(ttl).map_or(end, |until| until.min(end)).into();
        params.serial_number = Some(random_serial()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

fn sign(files: &CaFiles, params: &CertificateParams, key: &impl PublicKeyData) -> Result<String, IssueError> {
    let certificate = params.signed_by(key, &files.issuer).map_err(sign_error)?;
    Ok(certificate.pem())
}

fn root_pem(held: &Held) -> String {
    let other = held.other().map(|files| files.root_pem());
    held.signing().root_pem() + &other.unwrap_or_default()
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("stage", &self.stage())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Lifetimes {
            default: DAY,
            max: DAY * 90,
        }
    }
}

/// 127 random bits: positive, and never the same twice (RFC 5280 §4.1.2.2).
fn random_serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssueError::Sign {
        detail: "the system gave no random numbers".to_owned(),
    })?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn hex(serial: &SerialNumber) -> String {
    serial.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ia5(name: &str) -> Result<rcgen::string::Ia5String, IssueError> {
    name.try_into().map_err(|_| IssueError::Name {
        name: name.to_owned(),
    })
}

fn sign_error(error: rcgen::Error) -> IssueError {
    IssueError::Sign {
        detail: error.to_string(),
    }
}
