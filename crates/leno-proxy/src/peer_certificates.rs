//! The certificates that a client showed, for those who are told of them.

use leno_engine::compile::http::{HttpConnectionManager, Keeps};
use leno_tls::{CertificateInfo, pem};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// What the client showed, as the header has it. Kept only where it is asked for: it is a kilobyte or more.
#[derive(Debug, Default)]
pub(crate) struct PeerCertificates {
    pub(crate) leaf: Option<String>,
    pub(crate) chain: Option<String>,
    /// Who has issued the leaf.
    pub(crate) issuer: Option<String>,
}

// === impl PeerCertificates ===

impl PeerCertificates {
    pub(crate) fn is_empty(&self) -> bool {
        self.leaf.is_none() && self.chain.is_none() && self.issuer.is_none()
    }

    pub(crate) fn new(manager: &HttpConnectionManager, shown: &[CertificateDer<'_>]) -> Self {
        let by_request = manager.client_cert_by_request.as_ref();
        let by_request = by_request.map_or(Keeps::default(), |by| by.keeps);
        let Keeps { cert, chain, issuer } = by_request.and(&manager.client_cert);
        let leaf = shown.first();
        let info = leaf.filter(|_| issuer).map(|leaf| CertificateInfo::parse(leaf));
        Self {
            leaf: leaf.filter(|_| cert).map(escaped),
            chain: (chain && !shown.is_empty()).then(|| shown.iter().map(escaped).collect()),
            issuer: info.and_then(Result::ok).map(|info| info.issuer),
        }
    }
}

/// PEM in URL encoding.
pub(crate) fn escaped(certificate: &CertificateDer<'_>) -> String {
    let text = pem::encode_certificate(certificate);
    let mut out = String::with_capacity(text.len() + 256);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("%0A"),
            ' ' => out.push_str("%20"),
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            c => out.push(c),
        }
    }
    out
}

/// Of an escaped one the PEM.
pub(crate) fn unescaped(text: &str) -> String {
    let pairs = [
        ("%0A", "\n"),
        ("%20", " "),
        ("%2B", "+"),
        ("%2F", "/"),
        ("%3D", "="),
    ];
    pairs.iter().fold(text.to_owned(), |text, (escaped, plain)| {
        text.replace(escaped, plain)
    })
}
