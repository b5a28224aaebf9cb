//! `ca-crl.pem`: the certificates that the authority has taken back, as Istio has it beside its `cacerts`.
//!
//! Who asks for lists accepts nobody whose authority has none. So an authority whose key is here and that has no list in
//! the file gets an empty one; a list that nobody could use (expired, not signed by its authority) is refused as a whole.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, SerialNumber};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::ca_files::{BACKDATED, CaFiles};
use crate::state::{self, StateError};

pub(crate) const REVOCATIONS: &str = "ca-crl.pem";

/// Lists for every authority that issues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    pub pem: String,
    /// There is no list of the authorities above those that sign.
    pub leaf_only: bool,
    /// Certificates that are taken back.
    pub count: usize,
    /// When the first list of the file ends: from then on nobody is accepted.
    pub not_after: Option<SystemTime>,
    /// When that list was made.
    pub not_before: Option<SystemTime>,
}

#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(
        "the revocation lists cannot be read ({detail}) — {} — write PEM blocks \"X509 CRL\", or remove the file", .path.display()
    )]
    Syntax { path: PathBuf, detail: String },
    #[error(
        "the revocation list of {issuer} is not signed by it — {} — make it with the authority's key", .path.display()
    )]
    Signature { path: PathBuf, issuer: String },
    #[error(
        "the revocation list of {issuer} ended at {at} — {} — make a new one (nextUpdate)", .path.display()
    )]
    Expired {
        path: PathBuf,
        issuer: String,
        at: OffsetDateTime,
    },
    #[error(
        "there is no revocation list of {issuer}, and its certificate may not sign one — {} — add its list, or give it the key usage cRLSign", .path.display()
    )]
    Missing { path: PathBuf, issuer: String },
}

/// What the directory says of `authorities`; None: it has no lists.
pub(crate) fn read(
    dir: &Path,
    authorities: &[&CaFiles],
    now: SystemTime,
) -> Result<Option<Revocations>, RevocationError> {
    let path = dir.join(REVOCATIONS);
    let Some(content) = state::read(&path)? else {
        return Ok(None);
    };
    let syntax = |detail: String| RevocationError::Syntax {
        path: path.clone(),
        detail,
    };
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&content).collect();
    let lists = lists.map_err(|error| syntax(error.to_string()))?;
    if lists.is_empty() {
        return Err(syntax("there is no list in it".to_owned()));
    }
    let known: Vec<&CertificateDer<'static>> = authorities
        .iter()
        .flat_map(|files| files.intermediates.iter().chain(&files.roots))
        .collect();
    let mut used = Used::default();
    for list in &lists {
        let (_, parsed) =
            CertificateRevocationList::from_der(list).map_err(|error| syntax(error.to_string()))?;
        used.take(&parsed, list, &known, &path, now)?;
    }
    for files in authorities {
        let Some(signing) = files.signing() else { continue };
        let subject = subject(signing);
        if !used.of.contains(&subject) {
            used.pem += &empty(files, now).ok_or_else(|| RevocationError::Missing {
                path: path.clone(),
                issuer: name(signing),
            })?;
            used.of.push(subject);
        }
    }
    let above = authorities.iter().flat_map(|files| {
        let issuers = files.intermediates.iter().skip(1).chain(files.roots.first());
        files
            .intermediates
            .first()
            .into_iter()
            .flat_map(move |_| issuers.clone())
    });
    let leaf_only = above.map(subject).any(|subject| !used.of.contains(&subject));
    // As proxies read them.
    leno_tls::Revocation::from_pem(used.pem.as_bytes(), leaf_only).map_err(|error| syntax(error.detail))?;
    Ok(Some(Revocations {
        pem: used.pem,
        leaf_only,
        count: used.count,
        not_after: used.not_after,
        not_before: used.not_before,
    }))
}

#[derive(Default)]
struct Used {
    pem: String,
    /// Subjects that have a list.
    of: Vec<Vec<u8>>,
    count: usize,
    not_after: Option<SystemTime>,
    not_before: Option<SystemTime>,
}

impl Used {
    /// Lists of authorities that are not ours (any more) say nothing.
    fn take(
        &mut self,
        list: &CertificateRevocationList<'_>,
        der: &CertificateRevocationListDer<'_>,
        known: &[&CertificateDer<'static>],
        path: &Path,
        now: SystemTime,
    ) -> Result<(), RevocationError> {
        let issuer = list.issuer().as_raw().to_vec();
        let named: Vec<_> = known.iter().filter(|known| subject(known) == issuer).collect();
        if named.is_empty() {
            return Ok(());
        }
        let path = path.to_owned();
        let signed = named.iter().any(|authority| {
            let parsed = X509Certificate::from_der(authority);
            parsed.is_ok_and(|(_, parsed)| list.verify_signature(parsed.public_key()).is_ok())
        });
        let issuer_name = list.issuer().to_string();
        if !signed {
            return Err(RevocationError::Signature {
                path,
                issuer: issuer_name,
            });
        }
        if let Some(end) = list.next_update() {
            let at = end.to_datetime();
            if SystemTime::from(at) <= now {
                return Err(RevocationError::Expired {
                    path,
                    issuer: issuer_name,
                    at,
                });
            }
            let end = SystemTime::from(at);
            if self.not_after.is_none_or(|first| end < first) {
                self.not_after = Some(end);
                self.not_before = Some(list.last_update().to_datetime().into());
            }
        }
        self.count += list.iter_revoked_certificates().count();
        self.pem += &encode(der);
        self.of.push(issuer);
        Ok(())
    }
}

fn subject(certificate: &CertificateDer<'static>) -> Vec<u8> {
    let parsed = X509Certificate::from_der(certificate);
    parsed
        .map(|(_, parsed)| parsed.subject().as_raw().to_vec())
        .unwrap_or_default()
}

fn name(certificate: &CertificateDer<'static>) -> String {
    let parsed = X509Certificate::from_der(certificate);
    parsed
        .map(|(_, parsed)| parsed.subject().to_string())
        .unwrap_or_default()
}

/// Nothing is taken back; good for as long as the authority itself.
fn empty(files: &CaFiles, now: SystemTime) -> Option<String> {
    let list = CertificateRevocationListParams {
        this_update: now.checked_sub(BACKDATED).unwrap_or(now).into(),
        next_update: files.not_after.into(),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&files.issuer).ok()?.pem().ok()
}

fn encode(der: &CertificateRevocationListDer<'_>) -> String {
    leno_tls::pem::encode("X509 CRL", der)
}
