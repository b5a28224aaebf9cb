//! Verifiers: whose certificate is accepted.
//!
//! In a mesh a peer is known by its identity, not by the host name it was dialled
//! with, so a chain is checked against the trust bundle and its names against
//! matchers. Host names count only for TLS to servers outside of the mesh.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, RevocationOptions, VerifiedPath};

use crate::certificate::{CertificateInfo, fingerprints};
use crate::failure::{PeerError, system_time};
use crate::identity::TrustBundle;
use crate::peer_check::{PeerCheck, Pin};
use crate::san::SanMatcher;

/// The chain and names of a peer, either side.
#[derive(Debug)]
pub(crate) struct PeerRule {
    /// None: the check's pins alone say who is accepted.
    pub(crate) trust: Option<TrustBundle>,
    pub(crate) check: PeerCheck,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

/// How often a chain is looked at again, at another time, where its certificates may be out of theirs: once for each end
/// of each of as many certificates as anybody has in a chain.
const TIMES: usize = 8;

/// Verifies clients.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    rule: PeerRule,
    hints: Vec<DistinguishedName>,
    mandatory: bool,
}

/// Verifies servers by their identity.
#[derive(Debug)]
pub(crate) struct PeerServerVerifier(pub(crate) PeerRule);

/// Verifies servers by the host name (or address) the connection was made for.
#[derive(Debug)]
pub(crate) struct HostnameVerifier(pub(crate) PeerRule);

/// Accepts every server certificate (Envoy without a validation context, Istio's
/// `insecureSkipVerify`). The server still proves that it holds the key.
#[derive(Debug)]
pub(crate) struct UnverifiedServer(WebPkiSupportedAlgorithms);

// === impl PeerRule ===

impl PeerRule {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), PeerError> {
        self.check_pins(leaf)?;
        if let Some(trust) = &self.trust {
            self.check_chain(trust, leaf, intermediates, now, usage)
                .map_err(peer_error)?;
        }
        self.check_names(leaf)
    }

    fn check_pins(&self, leaf: &CertificateDer<'_>) -> Result<(), PeerError> {
        if self.check.pins.is_empty() {
            return Ok(());
        }
        let prints = fingerprints(leaf).map_err(|error| PeerError::Unusable {
            detail: error.to_string(),
        })?;
        let known = [Pin::Certificate(prints.0), Pin::Key(prints.1)];
        match self.check.pins.iter().any(|pin| known.contains(pin)) {
            true => Ok(()),
            false => Err(PeerError::NotPinned),
        }
    }

    fn check_chain(
        &self,
        trust: &TrustBundle,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let parsed = EndEntityCert::try_from(leaf)?;
        let depth = self.check.max_depth;
        let not_too_deep = |path: &VerifiedPath<'_>| {
            let authorities = path.intermediate_certificates().count() + 1;
            match depth.is_none_or(|depth| authorities <= depth as usize) {
                true => Ok(()),
                false => Err(webpki::Error::MaximumPathDepthExceeded),
            }
        };
        let verify_at = |time: UnixTime| {
            let verify = |revocation: Option<RevocationOptions<'_>>| {
                let verified = parsed.verify_for_usage(
                    self.algorithms.all,
                    &trust.roots().roots,
                    intermediates,
                    time,
                    usage,
                    revocation,
                    Some(&not_too_deep),
                );
                verified.map(|_| ())
            };
            match &self.check.revocation {
                None => verify(None),
                Some(revocation) => revocation.check(&verify),
            }
        };
        let mut time = now;
        let mut outcome = verify_at(time);
        for _ in 0..TIMES {
            time = match outcome {
                Err(webpki::Error::CertExpired { not_after, .. }) if self.check.allow_expired => not_after,
                Err(webpki::Error::CertNotValidYet { not_before, .. }) if self.check.allow_expired => {
                    not_before
                }
                _ => break,
            };
            outcome = verify_at(time);
        }
        outcome
    }

    fn check_names(&self, leaf: &CertificateDer<'_>) -> Result<(), PeerError> {
        let PeerCheck {
            sans, trust_domains, ..
        } = &self.check;
        if sans.is_empty() && trust_domains.is_empty() {
            return Ok(());
        }
        let info = CertificateInfo::parse(leaf).map_err(|error| PeerError::Unusable {
            detail: error.to_string(),
        })?;
        if !trust_domains.is_empty() {
            let id = info.spiffe_id();
            if !id.is_some_and(|id| trust_domains.iter().any(|domain| id.is_in(domain))) {
                return Err(PeerError::TrustDomain {
                    expected: trust_domains.clone(),
                    got: info.sans.all(),
                });
            }
        }
        if !sans.is_empty() && !sans.iter().any(|matcher| matcher.matches(&info.sans)) {
            return Err(PeerError::SanMismatch {
                expected: sans.iter().map(SanMatcher::to_string).collect(),
                got: info.sans.all(),
            });
        }
        Ok(())
    }
}

// === impl ClientVerifier ===

impl ClientVerifier {
    pub(crate) fn new(rule: PeerRule, mandatory: bool) -> ClientVerifier {
        let hints = rule.trust.as_ref().map(|trust| trust.roots().subjects());
        ClientVerifier {
            rule,
            hints: hints.unwrap_or_default(),
            mandatory,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.rule
            .check(end_entity, intermediates, now, KeyUsage::client_auth())
            .map(|()| ClientCertVerified::assertion())
            .map_err(|error| error.into_rustls(now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.rule.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.rule.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rule.algorithms.supported_schemes()
    }
}

// === the server verifiers ===

impl UnverifiedServer {
    pub(crate) fn new(provider: &CryptoProvider) -> UnverifiedServer {
        UnverifiedServer(provider.signature_verification_algorithms)
    }
}

/// What a server verifier decides, apart from the signatures that all check alike.
trait ServerRule: std::fmt::Debug + Send + Sync {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms;
    fn accept(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PeerError>;
}

impl ServerRule for PeerServerVerifier {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0.algorithms
    }

    fn accept(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PeerError> {
        self.0.check(leaf, intermediates, now, KeyUsage::server_auth())
    }
}

impl ServerRule for HostnameVerifier {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0.algorithms
    }

    fn accept(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PeerError> {
        self.0.check(leaf, intermediates, now, KeyUsage::server_auth())?;
        let parsed = EndEntityCert::try_from(leaf).map_err(peer_error)?;
        parsed
            .verify_is_valid_for_subject_name(host)
            .map_err(|error| match error {
                webpki::Error::CertNotValidForName(_) => PeerError::SanMismatch {
                    expected: vec![host.to_str().into_owned()],
                    got: CertificateInfo::parse(leaf)
                        .map(|info| info.sans.all())
                        .unwrap_or_default(),
                },
                other => peer_error(other),
            })
    }
}

impl ServerRule for UnverifiedServer {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0
    }

    fn accept(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _now: UnixTime,
    ) -> Result<(), PeerError> {
        EndEntityCert::try_from(leaf).map(|_| ()).map_err(peer_error)
    }
}

/// The one implementation of rustls's trait over the rules above.
#[derive(Debug)]
pub(crate) struct ServerVerifier<R>(pub(crate) R);

impl<R: ServerRule> ServerCertVerifier for ServerVerifier<R> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .accept(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|error| error.into_rustls(now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, self.0.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, self.0.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms().supported_schemes()
    }
}

fn peer_error(error: webpki::Error) -> PeerError {
    match error {
        // A wrong signature in the chain is an authority of the same name with another key.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => PeerError::UnknownCa,
        webpki::Error::CertExpired { not_after, .. } => PeerError::Expired {
            not_after: system_time(not_after),
        },
        webpki::Error::CertNotValidYet { not_before, .. } => PeerError::NotYetValid {
            not_before: system_time(not_before),
        },
        webpki::Error::RequiredEkuNotFoundContext(_) => PeerError::WrongPurpose,
        webpki::Error::CertRevoked => PeerError::Revoked,
        other => PeerError::Unusable {
            detail: other.to_string(),
        },
    }
}
