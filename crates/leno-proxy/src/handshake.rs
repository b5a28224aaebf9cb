//! What logs say of a connection's TLS: its parameters, and the certificates of both sides.
//!
//! Connections of the same two sides share it: a certificate is a kilobyte, and few ask for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use leno_engine::compile::access_log::{End, Hash, SanKind, TlsFact};
use leno_telemetry::access_log::write_time;
use leno_telemetry::record::TlsFacts;
use leno_tls::{CertificateInfo, PeerInfo, SecretSet, TlsVersion, fingerprint_sha1, fingerprint_sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::peer_certificates::escaped;

#[derive(Debug)]
pub(crate) struct Handshake {
    version: &'static str,
    cipher: String,
    group: String,
    /// The leaf first; nothing unless it was verified.
    peer: Vec<CertificateDer<'static>>,
    local: Option<CertificateDer<'static>>,
    /// What the peer has shown was taken back since.
    revoked: AtomicBool,
}

/// A worker's.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(RefCell<HashMap<u64, Weak<Handshake>>>);

// === impl Handshakes ===

impl Handshakes {
    pub(crate) fn of(
        &self,
        peer: &PeerInfo,
        shown: &[CertificateDer<'static>],
        local: Option<&CertificateDer<'static>>,
    ) -> Arc<Handshake> {
        let made = Handshake {
            version: match peer.version {
                TlsVersion::V1_2 => "TLSv1.2",
                TlsVersion::V1_3 => "TLSv1.3",
            },
            cipher: cipher(&peer.cipher_suite),
            group: group(peer.group.as_deref().unwrap_or_default()).to_owned(),
            peer: shown.to_vec(),
            local: local.cloned(),
            revoked: AtomicBool::new(false),
        };
        let mut hasher = DefaultHasher::new();
        let Handshake {
            version,
            cipher,
            group,
            peer,
            local,
            revoked: _,
        } = &made;
        (version, cipher, group, peer, local).hash(&mut hasher);
        let mut known = self.0.borrow_mut();
        let key = hasher.finish();
        if let Some(same) = known.get(&key).and_then(Weak::upgrade) {
            return same;
        }
        if known.len() == known.capacity() {
            known.retain(|_, one| one.strong_count() > 0);
        }
        let made = Arc::new(made);
        known.insert(key, Arc::downgrade(&made));
        made
    }
}

impl Handshakes {
    /// Other secrets are in force: who of those that are connected would not be let in again.
    pub(crate) fn look(&self, secrets: &SecretSet) {
        for known in self.0.borrow().values().filter_map(Weak::upgrade) {
            known.revoked.store(secrets.revokes(&known.peer), Relaxed);
        }
    }
}

/// As OpenSSL calls it: `ECDHE-RSA-AES128-GCM-SHA256`.
fn cipher(suite: &str) -> String {
    if let Some(rest) = suite.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let rest = suite.strip_prefix("TLS_").unwrap_or(suite);
    let rest = rest.replace("_WITH_", "_").replace("AES_", "AES");
    rest.replace("_POLY1305_SHA256", "_POLY1305").replace('_', "-")
}

/// As BoringSSL calls it.
fn group(name: &str) -> &str {
    match name {
        "secp256r1" => "P-256",
        "secp384r1" => "P-384",
        "secp521r1" => "P-521",
        other => other,
    }
}

// === impl Handshake ===

impl Handshake {
    pub(crate) fn version(&self) -> &str {
        self.version
    }

    pub(crate) fn cipher(&self) -> &str {
        &self.cipher
    }

    /// Empty: it is not known.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    fn certificate(&self, end: End) -> Option<CertificateInfo> {
        let der = match end {
            End::Peer => self.peer.first()?,
            End::Local => self.local.as_ref()?,
        };
        CertificateInfo::parse(der).ok()
    }

    /// Of the leaf, or of all with commas between them.
    fn each(&self, chain: bool, tell: impl Fn(&CertificateDer<'_>) -> Option<String>) -> Option<String> {
        let most = if chain { usize::MAX } else { 1 };
        let told: Vec<String> = self.peer.iter().take(most).filter_map(tell).collect();
        (!told.is_empty()).then(|| told.join(","))
    }

    fn tell(&self, fact: &TlsFact) -> Option<String> {
        let serial = |der: &CertificateDer<'_>| Some(CertificateInfo::parse(der).ok()?.serial);
        match fact {
            TlsFact::Version => Some(self.version.to_owned()),
            TlsFact::Cipher => Some(self.cipher.clone()),
            TlsFact::Group => Some(self.group.clone()),
            // Sessions are not resumed by ids.
            TlsFact::SessionId => None,
            TlsFact::Subject(end) => Some(self.certificate(*end)?.subject),
            TlsFact::Issuer => Some(self.certificate(End::Peer)?.issuer),
            TlsFact::Sans(end, kind) => {
                let sans = self.certificate(*end)?.sans;
                Some(match kind {
                    SanKind::Uri => sans.uris.join(","),
                    SanKind::Dns => sans.dns.join(","),
                    SanKind::Email => sans.emails.join(","),
                    SanKind::Ip => joined(sans.ips.iter().map(ToString::to_string)),
                    SanKind::Other => joined(sans.others.into_iter().map(|other| other.text)),
                })
            }
            TlsFact::Fingerprint { hash, chain } => self.each(*chain, |der| {
                Some(match hash {
                    Hash::Sha1 => fingerprint_sha1(der),
                    Hash::Sha256 => fingerprint_sha256(der),
                })
            }),
            TlsFact::Serial { chain } => self.each(*chain, serial),
            TlsFact::Certificate => self.peer.first().map(escaped),
            TlsFact::ValidFrom(_) | TlsFact::ValidUntil(_) => None,
        }
    }
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(",")
}

impl TlsFacts for Handshake {
    fn is_revoked(&self) -> bool {
        self.revoked.load(Relaxed)
    }

    fn write(&self, fact: &TlsFact, out: &mut Vec<u8>) -> bool {
        if let TlsFact::ValidFrom(format) | TlsFact::ValidUntil(format) = fact {
            return self.certificate(End::Peer).is_some_and(|info| {
                let from = matches!(fact, TlsFact::ValidFrom(_));
                let time = if from { info.not_before } else { info.not_after };
                write_time(time, format.as_deref(), out)
            });
        }
        match self.tell(fact) {
            Some(told) if !told.is_empty() => {
                out.extend_from_slice(told.as_bytes());
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_called_as_openssl_calls_them() {
        for (suite, name) in [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
            (
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256",
            ),
            (
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ),
        ] {
            assert_eq!(cipher(suite), name);
        }
    }
}
