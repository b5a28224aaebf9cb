//! TLS contexts: which secrets, which peers. The handshake itself is `leno-tls`.

use super::matcher::StringMatcher;

#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    pub common: CommonTls,
    pub sni: Option<String>,
    pub auto_host_sni: bool,
    pub auto_san_validation: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    pub certificate: Option<SecretSource>,
    pub validation: Option<Validation>,
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// By SDS name: `default`, `ROOTCA`, or another.
    Sds(String),
    /// PEM, read at compile time by the caller's loader.
    Inline {
        certificate_chain: Vec<u8>,
        private_key: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    pub trust: TrustSource,
    /// Any of them; empty: every certificate that chains to the trust.
    pub sans: Vec<SanMatcher>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TrustSource {
    Sds(String),
    InlinePem(Vec<u8>),
    /// The machine's trust store.
    System,
    /// No verification (`trust_chain_verification: ACCEPT_UNTRUSTED`, or no trusted_ca).
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SanMatcher {
    pub kind: SanKind,
    pub matcher: StringMatcher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    Any,
    Dns,
    Uri,
    Email,
    Ip,
}
