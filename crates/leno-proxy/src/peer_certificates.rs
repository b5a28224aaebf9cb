//! The certificates that a client showed, for those who are told of them.

use leno_engine::compile::http::ForwardClientCert;
use leno_tls::pem;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// What the client showed, as the header has it. Kept only where it is asked for: it is a kilobyte or more.
#[derive(Debug, Default)]
pub(crate) struct PeerCertificates {
    pub(crate) leaf: Option<String>,
    pub(crate) chain: Option<String>,
}

// === impl PeerCertificates ===

impl PeerCertificates {
    pub(crate) fn is_empty(&self) -> bool {
        self.leaf.is_none() && self.chain.is_none()
    }

    pub(crate) fn new(config: &ForwardClientCert, shown: &[CertificateDer<'_>]) -> Self {
        let leaf = shown.first().filter(|_| config.cert);
        Self {
            leaf: leaf.map(escaped),
            chain: (config.chain && !shown.is_empty()).then(|| shown.iter().map(escaped).collect()),
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
