//! PEM files as people have them: certificate chains and private keys in PKCS#8,
//! SEC1 or PKCS#1, with errors that name the file and what is wrong with it.

use rustls_pki_types::pem::{Error as Syntax, PemObject, SectionKind};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use crate::encrypted_key::{self, EncryptedKeyError};

/// What is wrong with a PEM text. `origin` is the file or secret it came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("not valid PEM ({detail}) — {origin} — write it again from its source")]
    Syntax { origin: String, detail: String },
    #[error(
        "no certificate found — {origin} — it needs a \"-----BEGIN CERTIFICATE-----\" block{}",
        hint(found)
    )]
    NoCertificate {
        origin: String,
        found: Vec<&'static str>,
    },
    #[error(
        "no private key found — {origin} — it needs a \"-----BEGIN PRIVATE KEY-----\" (PKCS#8), EC or RSA block{}",
        hint(found)
    )]
    NoKey {
        origin: String,
        found: Vec<&'static str>,
    },
    #[error(
        "the private key is encrypted — {origin} — give its password, or decrypt it with `openssl pkey -in FILE -out FILE`"
    )]
    EncryptedKey { origin: String },
    #[error(
        "the private key cannot be opened: {source} — {origin} — check the password, or write the key anew with `openssl pkcs8 -topk8 -v2 aes256`"
    )]
    Password {
        origin: String,
        source: EncryptedKeyError,
    },
    #[error("more than one private key — {origin} — keep only the one that belongs to the certificate")]
    SeveralKeys { origin: String },
}

/// The certificates of a PEM text, in its order (the leaf first, as TLS wants it).
pub fn certificates(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut certificates = Vec::new();
    let mut found = Vec::new();
    for section in sections(pem, origin) {
        match section? {
            (SectionKind::Certificate, der) => certificates.push(CertificateDer::from(der)),
            (kind, _) => found.push(kind_name(kind)),
        }
    }
    if certificates.is_empty() {
        return Err(PemError::NoCertificate {
            origin: origin.to_owned(),
            found,
        });
    }
    Ok(certificates)
}

/// The one private key of a PEM text, which may be behind a password.
pub fn private_key_with(
    pem: &[u8],
    password: Option<&[u8]>,
    origin: &str,
) -> Result<PrivateKeyDer<'static>, PemError> {
    let blocks = ::pem::parse_many(pem).unwrap_or_default();
    let sealed = blocks.iter().find(|block| block.tag() == ENCRYPTED_KEY);
    match (password, sealed) {
        (Some(password), Some(sealed)) => {
            let opened = encrypted_key::open(sealed.contents(), password);
            let opened = opened.map_err(|source| PemError::Password {
                origin: origin.to_owned(),
                source,
            })?;
            Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(opened)))
        }
        _ => private_key(pem, origin),
    }
}

const ENCRYPTED_KEY: &str = "ENCRYPTED PRIVATE KEY";

/// The one private key of a PEM text; other blocks (a chain in the same file) are passed over.
pub fn private_key(pem: &[u8], origin: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    const ENCRYPTED: [&[u8]; 2] = [
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"Proc-Type: 4,ENCRYPTED",
    ];
    if ENCRYPTED
        .iter()
        .any(|mark| pem.windows(mark.len()).any(|w| w == *mark))
    {
        return Err(PemError::EncryptedKey {
            origin: origin.to_owned(),
        });
    }
    let mut key = None;
    let mut found = Vec::new();
    for section in sections(pem, origin) {
        let (kind, der) = section?;
        let this = match kind {
            SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
            other => {
                found.push(kind_name(other));
                continue;
            }
        };
        if key.replace(this).is_some() {
            return Err(PemError::SeveralKeys {
                origin: origin.to_owned(),
            });
        }
    }
    key.ok_or_else(|| PemError::NoKey {
        origin: origin.to_owned(),
        found,
    })
}

/// A certificate as a PEM block with its line end.
pub fn encode_certificate(der: &CertificateDer<'_>) -> String {
    encode("CERTIFICATE", der)
}

/// Any DER as a PEM block with its line end.
pub fn encode(label: &str, der: &[u8]) -> String {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    ::pem::encode_config(&::pem::Pem::new(label, der.to_vec()), config)
}

fn sections(pem: &[u8], origin: &str) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), PemError>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).map(move |section| {
        section.map_err(|error| PemError::Syntax {
            origin: origin.to_owned(),
            detail: syntax(&error),
        })
    })
}

fn syntax(error: &Syntax) -> String {
    match error {
        Syntax::MissingSectionEnd { end_marker } => {
            format!(
                "the block {:?} has no end: the file is cut off",
                String::from_utf8_lossy(end_marker)
            )
        }
        Syntax::IllegalSectionStart { line } => {
            format!("malformed line {:?}", String::from_utf8_lossy(line))
        }
        Syntax::Base64Decode(detail) => format!("a block is not base64: {detail}"),
        other => other.to_string(),
    }
}

fn kind_name(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "CERTIFICATE",
        SectionKind::PublicKey => "PUBLIC KEY",
        SectionKind::RsaPrivateKey => "RSA PRIVATE KEY",
        SectionKind::PrivateKey => "PRIVATE KEY",
        SectionKind::EcPrivateKey => "EC PRIVATE KEY",
        SectionKind::Crl => "X509 CRL",
        SectionKind::Csr => "CERTIFICATE REQUEST",
        _ => "another block",
    }
}

fn hint(found: &[&'static str]) -> String {
    match found.first() {
        Some(kind) => format!(", but holds {kind}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n";

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let cut = certificates(CUT.as_bytes(), "certs/chain.pem")
            .unwrap_err()
            .to_string();
        assert!(
            cut.contains("certs/chain.pem") && cut.contains("cut off"),
            "{cut}"
        );
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let swapped = certificates(key.as_bytes(), "chain.pem").unwrap_err().to_string();
        assert!(swapped.contains("but holds PRIVATE KEY"), "{swapped}");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(matches!(
            private_key(encrypted.as_bytes(), "key.pem"),
            Err(PemError::EncryptedKey { .. })
        ));
        let twice = format!("{key}{key}");
        assert!(matches!(
            private_key(twice.as_bytes(), "key.pem"),
            Err(PemError::SeveralKeys { .. })
        ));
        assert!(matches!(private_key(b"", "key.pem"), Err(PemError::NoKey { .. })));
    }

    /// `openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:open`, and the same with
    /// `-v2 aes-128-cbc -v2prf hmacWithSHA1`.
    const SEALED: [&str; 2] = [
        include_str!("pem/aes-256.pem"),
        include_str!("pem/aes-128-sha1.pem"),
    ];

    #[test]
    fn a_key_behind_a_password_is_opened_by_it_alone() {
        for sealed in SEALED {
            let open = |password: &[u8]| private_key_with(sealed.as_bytes(), Some(password), "key.pem");
            let key = open(b"open").unwrap();
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.key_provider.load_private_key(key).unwrap();
            let refused = open(b"other").unwrap_err().to_string();
            assert!(refused.contains("password is wrong"), "{refused}");
            assert!(matches!(
                private_key_with(sealed.as_bytes(), None, "key.pem"),
                Err(PemError::EncryptedKey { .. })
            ));
        }
    }
}
