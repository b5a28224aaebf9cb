//! Who is at the other end of a connection, as the handshake proved it.

use std::time::SystemTime;

use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use crate::certificate::{CertificateInfo, SubjectAltNames, fingerprint_sha256};
use crate::config::TlsVersion;
use crate::failure::{HandshakeFailure, PeerError};
use crate::spiffe::SpiffeId;

/// The outcome of a handshake. Names are those of a *verified* certificate; a
/// peer that was not verified has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    pub id: Option<SpiffeId>,
    pub sans: SubjectAltNames,
    /// RFC 2253; empty for mesh certificates.
    pub subject: String,
    /// SHA-256 of the leaf, lower-case hex.
    pub certificate_hash: Option<String>,
    pub not_after: Option<SystemTime>,
    pub alpn: Option<Vec<u8>>,
    pub version: TlsVersion,
    /// IANA name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// Key exchange group, such as `X25519MLKEM768`; not known for a resumed TLS 1.2 session.
    pub group: Option<String>,
    pub resumed: bool,
}

impl PeerInfo {
    /// `verified` says whether the configuration verifies peers. A resumed session
    /// is not verified again by rustls, so the lifetime is checked here: resumption
    /// must not lengthen a certificate's life.
    pub(crate) fn of(
        connection: &CommonState,
        verified: bool,
        now: SystemTime,
    ) -> Result<PeerInfo, HandshakeFailure> {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
            _ => {
                return Err(HandshakeFailure::Protocol {
                    detail: "the handshake is not complete".to_owned(),
                });
            }
        };
        let cipher_suite = connection
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut peer = PeerInfo {
            id: None,
            sans: SubjectAltNames::default(),
            subject: String::new(),
            certificate_hash: None,
            not_after: None,
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            version,
            cipher_suite,
            group: connection
                .negotiated_key_exchange_group()
                .map(|group| format!("{:?}", group.name())),
            resumed,
        };
        let leaf = connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .filter(|_| verified);
        if let Some(leaf) = leaf {
            let info = CertificateInfo::parse(leaf).map_err(|error| PeerError::Unusable {
                detail: error.to_string(),
            })?;
            if resumed && now > info.not_after {
                return Err(PeerError::Expired {
                    not_after: Some(info.not_after),
                }
                .into());
            }
            peer.id = info.spiffe_id();
            peer.certificate_hash = Some(fingerprint_sha256(leaf));
            peer.not_after = Some(info.not_after);
            peer.sans = info.sans;
            peer.subject = info.subject;
        }
        Ok(peer)
    }

    /// Whether the peer showed a certificate that was verified.
    pub fn is_authenticated(&self) -> bool {
        self.certificate_hash.is_some()
    }
}
