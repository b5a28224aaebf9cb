//! The certificate authority's files.
//!
//! leno's own authority is a self-signed root: `root-cert.pem` and `ca-key.pem`.
//! An operator's authority is found under the names of Istio's `cacerts` secret:
//! `ca-cert.pem` (the certificate that signs), `ca-key.pem`, `cert-chain.pem`
//! (from that certificate up) and `root-cert.pem`.
//!
//! With nothing left but the key, the root is made again from it. Its subject is
//! derived from the key, and a trust anchor is a subject and a key, so peers that
//! still trust the old root trust the new one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use leno_tls::pem::{self, PemError};
use leno_tls::{CertificateError, CertificateInfo, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::state::{self, StateError};

pub(crate) const ROOT: &str = "root-cert.pem";
pub(crate) const KEY: &str = "ca-key.pem";
pub(crate) const INTERMEDIATE: &str = "ca-cert.pem";
pub(crate) const CHAIN: &str = "cert-chain.pem";

const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks of a mesh differ; a certificate is valid from a little before it is made.
pub(crate) const BACKDATED: Duration = Duration::from_secs(120);

/// Where an authority came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was there.
    Created,
    /// The key was there, the root was made again from it.
    RootRestored,
    Loaded,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("the certificate authority's key is missing beside its certificate — {} — restore it, or remove {} to begin with a new root (every workload must then rejoin)", .key.display(), .certificate.display())]
    KeyMissing { key: PathBuf, certificate: PathBuf },
    #[error("the key cannot be used ({detail}) — {} — it must be an ECDSA P-256/P-384, RSA or Ed25519 private key in PEM", .path.display())]
    Key { path: PathBuf, detail: String },
    #[error("the key does not belong to the certificate {} — {} — put the matching pair there", .certificate.display(), .key.display())]
    KeyMismatch { key: PathBuf, certificate: PathBuf },
    #[error("{source} — {} — replace it", .path.display())]
    Certificate { path: PathBuf, source: CertificateError },
    #[error("the certificate may not sign others (basicConstraints CA is not set) — {} — issue it as a CA", .path.display())]
    NotAnAuthority { path: PathBuf },
    #[error("the certificate authority expired at {at} — {} — renew it, or remove it to begin with a new root", .path.display())]
    Expired { path: PathBuf, at: OffsetDateTime },
    #[error("the certificate is not signed by {} — {} — put the chain that leads to that root there", .root.display(), .path.display())]
    BrokenChain { path: PathBuf, root: PathBuf },
    #[error("the certificate's subject cannot be reproduced as an issuer — {} — use a subject with each attribute once", .path.display())]
    Subject { path: PathBuf },
    #[error("how far a rotation of the root was is not known ({detail}) — {} — restore it: it says which root signs", .path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("no key or certificate could be made: {detail}")]
    Generate { detail: String },
}

/// An authority's parts as they are on disk, checked.
pub(crate) struct CaFiles {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// From the signing certificate up, without the root; empty for a root that signs itself.
    pub(crate) intermediates: Vec<CertificateDer<'static>>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) not_after: SystemTime,
}

// === impl CaFiles ===

impl CaFiles {
    /// Whether one of the roots has the same key as this certificate.
    pub(crate) fn has_key_of(&self, other: &CertificateDer<'_>) -> bool {
        let key = |certificate: &CertificateDer<'_>| {
            let parsed = X509Certificate::from_der(certificate).ok();
            parsed.map(|(_, certificate)| certificate.public_key().raw.to_vec())
        };
        let other = key(other);
        self.roots.iter().any(|root| key(root) == other)
    }

    /// The certificate that signs leaves.
    pub(crate) fn signing(&self) -> Option<&CertificateDer<'static>> {
        self.intermediates.first().or(self.roots.first())
    }

    pub(crate) fn root_pem(&self) -> String {
        self.roots.iter().map(pem::encode_certificate).collect()
    }
}

/// Loads what is in `dir`, or makes an authority there.
pub(crate) fn open(
    dir: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(CaFiles, Origin), CaError> {
    state::ensure_directory(dir)?;
    let key = state::read(&dir.join(KEY))?;
    let root = state::read(&dir.join(ROOT))?;
    let (key, root, origin) = match (key, root) {
        (Some(key), Some(root)) => (read_key(dir, &key)?, root, Origin::Loaded),
        (Some(key), None) if !dir.join(INTERMEDIATE).exists() => {
            let key = read_key(dir, &key)?;
            let root = write_root(dir, &key, trust_domain, now)?;
            (key, root, Origin::RootRestored)
        }
        (Some(_), None) => {
            return Err(PemError::NoCertificate {
                origin: display(&dir.join(ROOT)),
                found: vec![],
            }
            .into());
        }
        (None, Some(_)) => {
            return Err(CaError::KeyMissing {
                key: dir.join(KEY),
                certificate: dir.join(ROOT),
            });
        }
        (None, None) => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(generate)?;
            state::write(&dir.join(KEY), key.serialize_pem().as_bytes(), state::SECRET)?;
            let root = write_root(dir, &key, trust_domain, now)?;
            (key, root, Origin::Created)
        }
    };
    Ok((load(dir, key, &root, now)?, origin))
}

fn load(dir: &Path, key: KeyPair, root_pem: &[u8], now: SystemTime) -> Result<CaFiles, CaError> {
    let root_path = dir.join(ROOT);
    let roots = pem::certificates(root_pem, &display(&root_path))?;
    let intermediates = read_intermediates(dir, &roots)?;
    let (signing, path) = match (intermediates.first(), roots.first()) {
        (Some(certificate), _) => (certificate, dir.join(INTERMEDIATE)),
        (None, Some(root)) => (root, root_path.clone()),
        (None, None) => {
            return Err(PemError::NoCertificate {
                origin: display(&root_path),
                found: vec![],
            }
            .into());
        }
    };
    check_key(signing, &path, &key, dir)?;
    let not_after = check_lifetimes(dir, &intermediates, &roots, now)?;
    let issuer = Issuer::from_ca_cert_der(signing, key).map_err(|error| CaError::Key {
        path: path.clone(),
        detail: error.to_string(),
    })?;
    check_subject(signing, &issuer, &path)?;
    Ok(CaFiles {
        issuer,
        intermediates,
        roots,
        not_after,
    })
}

/// When the first certificate of the path ends: a leaf may not outlive what it hangs on.
fn check_lifetimes(
    dir: &Path,
    intermediates: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<SystemTime, CaError> {
    let of_chain = intermediates
        .iter()
        .map(|certificate| (certificate, INTERMEDIATE));
    let of_root = roots.first().map(|certificate| (certificate, ROOT));
    let mut first_end: Option<SystemTime> = None;
    for (certificate, file) in of_chain.chain(of_root) {
        let path = dir.join(file);
        let info = CertificateInfo::parse(certificate).map_err(|source| CaError::Certificate {
            path: path.clone(),
            source,
        })?;
        if info.not_after <= now {
            return Err(CaError::Expired {
                path,
                at: info.not_after.into(),
            });
        }
        first_end = Some(first_end.map_or(info.not_after, |end| end.min(info.not_after)));
    }
    Ok(first_end.unwrap_or(now))
}

/// The certificates between a leaf and the root, the signing one first.
fn read_intermediates(
    dir: &Path,
    roots: &[CertificateDer<'static>],
) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let path = dir.join(INTERMEDIATE);
    let Some(signing) = state::read(&path)? else {
        return Ok(Vec::new());
    };
    let mut chain = pem::certificates(&signing, &display(&path))?;
    chain.truncate(1);
    let chain_path = dir.join(CHAIN);
    if let Some(above) = state::read(&chain_path)? {
        for certificate in pem::certificates(&above, &display(&chain_path))? {
            if !chain.contains(&certificate) {
                chain.push(certificate);
            }
        }
    }
    chain.retain(|certificate| !roots.contains(certificate));
    let issuers = chain.iter().skip(1).chain(roots);
    let linked = chain
        .iter()
        .all(|certificate| issuers.clone().any(|issuer| is_signed_by(certificate, issuer)));
    match linked {
        true => Ok(chain),
        false => Err(CaError::BrokenChain {
            path,
            root: dir.join(ROOT),
        }),
    }
}

fn is_signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let (Ok((_, certificate)), Ok((_, issuer))) = (
        X509Certificate::from_der(certificate),
        X509Certificate::from_der(issuer),
    ) else {
        return false;
    };
    certificate.issuer() == issuer.subject()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

fn check_key(signing: &CertificateDer<'_>, path: &Path, key: &KeyPair, dir: &Path) -> Result<(), CaError> {
    let encoding = |detail: String| CaError::Certificate {
        path: path.to_owned(),
        source: CertificateError::Encoding { detail },
    };
    let (_, certificate) = X509Certificate::from_der(signing).map_err(|error| encoding(error.to_string()))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(CaError::KeyMismatch {
            key: dir.join(KEY),
            certificate: path.to_owned(),
        });
    }
    if !certificate.is_ca() {
        return Err(CaError::NotAnAuthority {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// rcgen writes the issuer's name anew from its parts. Were a byte of it to
/// differ, no certificate of ours would verify, so that is tried here once.
fn check_subject(
    signing: &CertificateDer<'_>,
    issuer: &Issuer<'static, KeyPair>,
    path: &Path,
) -> Result<(), CaError> {
    let probe = CertificateParams::default()
        .signed_by(issuer.key(), issuer)
        .map_err(generate)?;
    match (
        X509Certificate::from_der(probe.der()),
        X509Certificate::from_der(signing),
    ) {
        (Ok((_, probe)), Ok((_, signing))) if probe.issuer().as_raw() == signing.subject().as_raw() => Ok(()),
        _ => Err(CaError::Subject {
            path: path.to_owned(),
        }),
    }
}

fn read_key(dir: &Path, content: &[u8]) -> Result<KeyPair, CaError> {
    let path = dir.join(KEY);
    let key = pem::private_key(content, &display(&path))?;
    KeyPair::try_from(&key).map_err(|error| CaError::Key {
        path,
        detail: error.to_string(),
    })
}

fn write_root(
    dir: &Path,
    key: &KeyPair,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Vec<u8>, CaError> {
    let hash = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    let key_id: String = hash
        .as_ref()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, trust_domain.as_str());
    params
        .distinguished_name
        .push(DnType::CommonName, format!("leno root CA {key_id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now.checked_sub(BACKDATED).unwrap_or(now).into();
    params.not_after = now.checked_add(ROOT_LIFETIME).unwrap_or(now).into();
    let root = params.self_signed(key).map_err(generate)?.pem().into_bytes();
    state::write(&dir.join(ROOT), &root, state::PUBLIC)?;
    Ok(root)
}

fn generate(error: rcgen::Error) -> CaError {
    CaError::Generate {
        detail: error.to_string(),
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
