//! Why a handshake failed, as data for logs, response flags and metrics.
//!
//! rustls carries a verifier's own error as an opaque `OtherError`. It is
//! unwrapped here and nowhere else. Where TLS has an alert for the reason
//! (expired, unknown CA) rustls's own variant is used, so that the peer is told
//! as well; a name that does not match travels as [`PeerError`] with what was
//! expected and what came.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, OtherError};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::spiffe::TrustDomain;

/// Why the peer's certificate was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the peer sent no certificate")]
    NoCertificate,
    #[error("the peer's certificate is signed by no authority of our trust bundle")]
    UnknownCa,
    #[error("the peer's certificate or its issuer's expired{}", at(not_after))]
    Expired { not_after: Option<SystemTime> },
    #[error(
        "the peer's certificate is not valid yet{}: check both clocks",
        at(not_before)
    )]
    NotYetValid { not_before: Option<SystemTime> },
    #[error(
        "the peer's certificate has none of the expected names (expected {}; got {})",
        list(expected),
        list(got)
    )]
    SanMismatch { expected: Vec<String>, got: Vec<String> },
    #[error(
        "the peer's identity is outside of our trust domains (expected {}; got {})",
        domains(expected),
        list(got)
    )]
    TrustDomain {
        expected: Vec<TrustDomain>,
        got: Vec<String>,
    },
    #[error("the peer's certificate is not meant for this use (extended key usage)")]
    WrongPurpose,
    #[error("the peer does not hold its certificate's key, or a signature in its chain is wrong")]
    BadSignature,
    #[error("the peer's certificate, or its issuer's, has been revoked")]
    Revoked,
    #[error("the peer's certificate is none of those that are pinned")]
    NotPinned,
    #[error("the peer's certificate is unusable: {detail}")]
    Unusable { detail: String },
}

/// Why a handshake failed, and on whose side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The peer's alert: it did not like what we sent.
    #[error("the peer refused us with the alert {alert:?}{}", explain(alert))]
    RefusedByPeer { alert: AlertDescription },
    /// No protocol version, cipher suite, group or application protocol in common.
    #[error("nothing in common with the peer: {detail}")]
    Incompatible { detail: String },
    #[error("the peer does not speak TLS: {detail}")]
    NotTls { detail: String },
    #[error("the peer closed the connection during the handshake")]
    Closed,
    #[error("the connection failed during the handshake: {kind}")]
    Io { kind: io::ErrorKind },
    #[error("the peer broke the protocol: {detail}")]
    Protocol { detail: String },
}

// === impl PeerError ===

impl PeerError {
    /// `now` is when the certificate was judged.
    pub(crate) fn into_rustls(self, now: UnixTime) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            PeerError::UnknownCa => CertificateError::UnknownIssuer,
            PeerError::BadSignature => CertificateError::BadSignature,
            PeerError::Revoked => CertificateError::Revoked,
            PeerError::WrongPurpose => CertificateError::InvalidPurpose,
            PeerError::Expired { not_after } => match not_after.and_then(unix_time) {
                Some(not_after) => CertificateError::ExpiredContext { time: now, not_after },
                None => CertificateError::Expired,
            },
            PeerError::NotYetValid { not_before } => match not_before.and_then(unix_time) {
                Some(not_before) => CertificateError::NotValidYetContext {
                    time: now,
                    not_before,
                },
                None => CertificateError::NotValidYet,
            },
            PeerError::NoCertificate => return rustls::Error::NoCertificatesPresented,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }

    fn from_certificate_error(error: &CertificateError) -> PeerError {
        match error {
            CertificateError::UnknownIssuer => PeerError::UnknownCa,
            CertificateError::Expired => PeerError::Expired { not_after: None },
            CertificateError::ExpiredContext { not_after, .. } => PeerError::Expired {
                not_after: system_time(*not_after),
            },
            CertificateError::NotValidYet => PeerError::NotYetValid { not_before: None },
            CertificateError::NotValidYetContext { not_before, .. } => PeerError::NotYetValid {
                not_before: system_time(*not_before),
            },
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                PeerError::WrongPurpose
            }
            CertificateError::BadSignature => PeerError::BadSignature,
            CertificateError::Revoked => PeerError::Revoked,
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<PeerError>() {
                Some(ours) => ours.clone(),
                None => PeerError::Unusable {
                    detail: inner.to_string(),
                },
            },
            other => PeerError::Unusable {
                detail: other.to_string(),
            },
        }
    }
}

// === impl HandshakeFailure ===

impl HandshakeFailure {
    pub fn from_rustls(error: &rustls::Error) -> HandshakeFailure {
        use rustls::Error;
        match error {
            Error::InvalidCertificate(reason) => PeerError::from_certificate_error(reason).into(),
            Error::NoCertificatesPresented => PeerError::NoCertificate.into(),
            Error::AlertReceived(alert) => HandshakeFailure::RefusedByPeer { alert: *alert },
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => HandshakeFailure::NotTls {
                detail: error.to_string(),
            },
            Error::PeerIncompatible(reason) => HandshakeFailure::Incompatible {
                detail: format!("{reason:?}"),
            },
            Error::NoApplicationProtocol => HandshakeFailure::Incompatible {
                detail: "no application protocol (ALPN)".to_owned(),
            },
            other => HandshakeFailure::Protocol {
                detail: other.to_string(),
            },
        }
    }

    /// From what an asynchronous TLS stream reports: rustls's error inside of an IO error.
    pub fn from_io(error: &io::Error) -> HandshakeFailure {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return HandshakeFailure::from_rustls(tls);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => HandshakeFailure::Closed,
            kind => HandshakeFailure::Io { kind },
        }
    }

    /// The reason in BoringSSL's words, which Envoy's transport failure reason
    /// carries and people search for.
    pub fn code(&self) -> &'static str {
        use AlertDescription as Alert;
        match self {
            HandshakeFailure::Peer(PeerError::NoCertificate) => "PEER_DID_NOT_RETURN_A_CERTIFICATE",
            HandshakeFailure::Peer(PeerError::BadSignature) => "BAD_SIGNATURE",
            HandshakeFailure::Peer(_) => "CERTIFICATE_VERIFY_FAILED",
            HandshakeFailure::RefusedByPeer { alert } => match *alert {
                Alert::UnknownCA => "TLSV1_ALERT_UNKNOWN_CA",
                Alert::BadCertificate => "SSLV3_ALERT_BAD_CERTIFICATE",
                Alert::CertificateExpired => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
                Alert::CertificateUnknown => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
                Alert::CertificateRequired => "TLSV1_CERTIFICATE_REQUIRED",
                Alert::HandshakeFailure => "SSLV3_ALERT_HANDSHAKE_FAILURE",
                Alert::ProtocolVersion => "TLSV1_ALERT_PROTOCOL_VERSION",
                Alert::NoApplicationProtocol => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
                Alert::AccessDenied => "TLSV1_ALERT_ACCESS_DENIED",
                Alert::UnrecognisedName => "TLSV1_UNRECOGNIZED_NAME",
                _ => "TLS_ALERT",
            },
            HandshakeFailure::Incompatible { .. } => "NO_SHARED_PARAMETERS",
            HandshakeFailure::NotTls { .. } => "WRONG_VERSION_NUMBER",
            HandshakeFailure::Closed => "CONNECTION_CLOSED",
            HandshakeFailure::Io { .. } => "CONNECTION_FAILED",
            HandshakeFailure::Protocol { .. } => "PROTOCOL_ERROR",
        }
    }
}

fn explain(alert: &AlertDescription) -> &'static str {
    match *alert {
        AlertDescription::UnknownCA => ": it does not trust our certificate authority",
        AlertDescription::CertificateRequired => ": it requires a client certificate",
        AlertDescription::CertificateExpired => ": our certificate has expired, or its clock is wrong",
        AlertDescription::CertificateUnknown => ": it does not accept our identity",
        AlertDescription::ProtocolVersion => ": it speaks no TLS version of ours",
        _ => "",
    }
}

pub(crate) fn system_time(time: UnixTime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
}

fn unix_time(time: SystemTime) -> Option<UnixTime> {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .map(UnixTime::since_unix_epoch)
}

fn at(moment: &Option<SystemTime>) -> String {
    let written = moment.and_then(|moment| OffsetDateTime::from(moment).format(&Rfc3339).ok());
    written.map(|text| format!(" at {text}")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    match names.is_empty() {
        true => "no names".to_owned(),
        false => names.join(", "),
    }
}

fn domains(domains: &[TrustDomain]) -> String {
    list(&domains.iter().map(TrustDomain::to_string).collect::<Vec<_>>())
}
