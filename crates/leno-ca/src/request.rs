//! Certificate signing requests (PKCS#10), read strictly: whatever a request
//! carries beyond its key and one SPIFFE identity is refused, never copied.

use leno_tls::{SpiffeError, SpiffeId};
use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as ParsedKey;

/// Larger than any request with an RSA-8192 key (bytes).
const MAX_REQUEST: usize = 16 * 1024;
const MIN_RSA_BITS: usize = 2048;

/// A request whose signature proves that the asker holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    id: SpiffeId,
    key: SubjectPublicKeyInfo,
    is_rsa: bool,
}

/// Why a request is refused. All of these are the asker's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("the signing request has {size} bytes — CSR — at most {MAX_REQUEST} are read")]
    TooLarge { size: usize },
    #[error("the signing request is not valid PKCS#10 in PEM ({detail}) — CSR — make it again")]
    Syntax { detail: String },
    #[error("the signing request's signature is wrong — CSR — sign it with the key it carries")]
    Signature,
    #[error(
        "the key ({got}) is not accepted — CSR — use ECDSA P-256 or P-384, RSA of {MIN_RSA_BITS} bits or more, or Ed25519"
    )]
    Key { got: String },
    #[error("the request names no identity — CSR — put the SPIFFE id into a URI subject alternative name")]
    NoIdentity,
    #[error("the request has other names than one URI ({}) — CSR — ask for the SPIFFE id alone", .names.join(", "))]
    Names { names: Vec<String> },
    #[error(
        "{uri:?} is not a SPIFFE id ({source}) — CSR — use spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
    )]
    Identity { uri: String, source: SpiffeError },
}

// === impl SigningRequest ===

impl SigningRequest {
    pub fn parse(pem: &str) -> Result<SigningRequest, CsrError> {
        if pem.len() > MAX_REQUEST {
            return Err(CsrError::TooLarge { size: pem.len() });
        }
        let syntax = |detail: String| CsrError::Syntax { detail };
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| syntax(error.to_string()))?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|error| syntax(error.to_string()))?;
        if !rest.is_empty() {
            return Err(syntax(format!("{} bytes follow it", rest.len())));
        }
        let public_key = &request.certification_request_info.subject_pki;
        let is_rsa = check_key(public_key)?;
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        let key = SubjectPublicKeyInfo::from_der(public_key.raw).map_err(|error| CsrError::Key {
            got: error.to_string(),
        })?;
        Ok(SigningRequest {
            id: identity(&request)?,
            key,
            is_rsa,
        })
    }

    /// Who the asker says to be. Whether that is so is decided by its credentials.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub(crate) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }

    pub(crate) fn is_rsa(&self) -> bool {
        self.is_rsa
    }
}

/// Whether the key is RSA, if it is of an accepted kind.
fn check_key(key: &ParsedKey<'_>) -> Result<bool, CsrError> {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        return match curve {
            Some(curve) if curve == OID_EC_P256 || curve == OID_NIST_EC_P384 => Ok(false),
            Some(curve) => Err(CsrError::Key {
                got: format!("elliptic curve {curve}"),
            }),
            None => Err(CsrError::Key {
                got: "elliptic curve without a name".to_owned(),
            }),
        };
    }
    if *algorithm == OID_SIG_ED25519 {
        return Ok(false);
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() >= MIN_RSA_BITS => Ok(true),
            Ok(PublicKey::RSA(rsa)) => Err(CsrError::Key {
                got: format!("RSA of {} bits", rsa.key_size()),
            }),
            _ => Err(CsrError::Key {
                got: "malformed RSA".to_owned(),
            }),
        };
    }
    Err(CsrError::Key {
        got: format!("algorithm {algorithm}"),
    })
}

/// The one name of the request.
fn identity(request: &X509CertificationRequest<'_>) -> Result<SpiffeId, CsrError> {
    let mut names = Vec::new();
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &wanted.extensions {
            if let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() {
                names.extend(&san.general_names);
            }
        }
    }
    match names.as_slice() {
        [] => Err(CsrError::NoIdentity),
        [GeneralName::URI(uri)] => uri.parse().map_err(|source| CsrError::Identity {
            uri: (*uri).to_owned(),
            source,
        }),
        _ => Err(CsrError::Names {
            names: names.iter().map(|name| name.to_string()).collect(),
        }),
    }
}
