//! What is counted of TLS handshakes, by Envoy's names below a listener's and a cluster's.

use leno_telemetry::stats::{Counts, Stat};
use leno_tls::{HandshakeFailure, PeerError};

use crate::handshake::Handshake;

/// What is there before anything has come.
pub(crate) const NAMES: [&str; 11] = [
    "ssl.connection_error",
    "ssl.fail_verify_cert_hash",
    "ssl.fail_verify_error",
    "ssl.fail_verify_no_cert",
    "ssl.fail_verify_san",
    "ssl.handshake",
    "ssl.no_certificate",
    "ssl.ocsp_staple_failed",
    "ssl.ocsp_staple_omitted",
    "ssl.ocsp_staple_responses",
    "ssl.session_reused",
];

/// One that has come to its end. `authenticated`: its peer has shown a certificate.
pub(crate) fn shaken<S: Stat>(counts: &Counts<S>, handshake: &Handshake, authenticated: bool, resumed: bool) {
    counts.named("ssl.handshake", 1);
    if !authenticated {
        counts.named("ssl.no_certificate", 1);
    }
    if resumed {
        counts.named("ssl.session_reused", 1);
    }
    for (what, name) in [
        ("versions", handshake.version()),
        ("ciphers", handshake.cipher()),
        ("curves", handshake.group()),
    ] {
        if !name.is_empty() {
            counts.named(&format!("ssl.{what}.{name}"), 1);
        }
    }
}

pub(crate) fn failed<S: Stat>(counts: &Counts<S>, failure: &HandshakeFailure) {
    let name = match failure {
        HandshakeFailure::Peer(PeerError::NoCertificate) => "ssl.fail_verify_no_cert",
        HandshakeFailure::Peer(PeerError::SanMismatch { .. } | PeerError::TrustDomain { .. }) => {
            "ssl.fail_verify_san"
        }
        HandshakeFailure::Peer(PeerError::NotPinned) => "ssl.fail_verify_cert_hash",
        HandshakeFailure::Peer(_) => "ssl.fail_verify_error",
        // The peer has gone: no error of TLS.
        HandshakeFailure::Closed | HandshakeFailure::Io { .. } => return,
        HandshakeFailure::RefusedByPeer { .. }
        | HandshakeFailure::Incompatible { .. }
        | HandshakeFailure::NotTls { .. }
        | HandshakeFailure::Protocol { .. } => "ssl.connection_error",
    };
    counts.named(name, 1);
}
