//! `istio.v1.auth.IstioCertificateService`: certificates by CSR.
//!
//! The asker proves itself by a join token, or, to renew, by the certificate that it has. A token gives the identities
//! that it is bound to; a certificate its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use leno_ca::{Authority, IssuedCertificate, SigningRequest, TokenStore};
use leno_proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use leno_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use leno_tls::{SpiffeId, TrustDomain};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::audit::{Audit, Event};
use crate::error::PEER_REFUSED;
use crate::listener::Peer;
use crate::once::Once;

pub(crate) struct Certificates {
    pub(crate) authority: Arc<Authority>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) tokens: Mutex<TokenStore>,
    refused: Once,
    pub(crate) audit: Audit,
    pub(crate) counts: Counts,
}

/// For `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) issued: AtomicU64,
    pub(crate) refused: AtomicU64,
}

// === impl Certificates ===

impl Certificates {
    pub(crate) fn new(
        authority: Arc<Authority>,
        trust_domain: TrustDomain,
        tokens: TokenStore,
        audit: Audit,
    ) -> Self {
        Self {
            authority,
            trust_domain,
            tokens: Mutex::new(tokens),
            refused: Once::default(),
            audit,
            counts: Counts::default(),
        }
    }

    fn issue(&self, request: &Request<IstioCertificateRequest>) -> Result<Vec<String>, Status> {
        let now = SystemTime::now();
        let body = request.get_ref();
        let csr = SigningRequest::parse(&body.csr).map_err(|e| Status::invalid_argument(e.to_string()))?;
        if !csr.id().is_in(&self.trust_domain) {
            return Err(Status::permission_denied(format!(
                "{} is of another trust domain — CSR — this mesh is {}",
                csr.id(),
                self.trust_domain.as_str()
            )));
        }
        let ttl = u64::try_from(body.validity_duration)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs);
        let sign = |allowed: &SpiffeId| {
            let issued = self.authority.issue(&csr, allowed, ttl, now);
            issued.map_err(|error| match &error {
                leno_ca::IssueError::NotAllowed { .. } => Status::permission_denied(error.to_string()),
                _ => Status::internal(error.to_string()),
            })
        };
        let peer = request.extensions().get::<Peer>();
        if !peer.is_some_and(|peer| peer.secure) {
            return Err(Status::unauthenticated(
                "certificates are issued over TLS only — this port — use the TLS port (15012)",
            ));
        }
        let issued = match (
            bearer(request.metadata()),
            peer.and_then(|peer| peer.identity.as_ref()),
        ) {
            (Some(text), _) => {
                let (token, issued) = self.join(text, csr.id(), now, sign)?;
                let actor = format!("token {token}");
                self.audit
                    .tell(Event::Joined, &actor, csr.id().as_str(), told(&issued, peer));
                issued
            }
            (None, Some(identity)) => {
                let issued = sign(identity)?;
                self.audit.tell(
                    Event::Renewed,
                    identity.as_str(),
                    csr.id().as_str(),
                    told(&issued, peer),
                );
                issued
            }
            (None, None) => {
                return Err(Status::unauthenticated(
                    "neither a join token nor a mesh certificate — credentials — send \"authorization: Bearer TOKEN\"",
                ));
            }
        };
        tracing::info!(identity = %csr.id(), serial = issued.serial, "certificate issued");
        Ok(issued.chain)
    }

    /// A certificate for a token. One for one use is used up only by a certificate, and by no more than one: nobody
    /// else looks at the tokens meanwhile.
    fn join(
        &self,
        text: &str,
        asked: &SpiffeId,
        now: SystemTime,
        sign: impl FnOnce(&SpiffeId) -> Result<IssuedCertificate, Status>,
    ) -> Result<(String, IssuedCertificate), Status> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let claims = tokens
            .verify(text, now)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        if !claims.binding.allows(asked) {
            return Err(Status::permission_denied(format!(
                "the join token {} is for {}, not for {asked} — token — make one that is: `leno token create`",
                claims.id, claims.binding
            )));
        }
        let issued = sign(asked)?;
        tokens
            .redeem(text, now)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        Ok((claims.id, issued))
    }

    /// Whether the caller has the token of whoever runs the control plane.
    pub(crate) fn check_operator(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let text = bearer(metadata).ok_or_else(|| {
            Status::unauthenticated(
                "not the operator's token — credentials — send \"authorization: Bearer TOKEN\" \
                 with the token of the file that control.json names",
            )
        })?;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let claims = tokens.verify(text, SystemTime::now());
        let claims = claims.map_err(|error| Status::unauthenticated(error.to_string()))?;
        match claims.operator {
            true => Ok(()),
            false => Err(Status::permission_denied(format!(
                "the join token {} lets a workload join, and no more — token — use the one of the file that \
                 control.json names",
                claims.id
            ))),
        }
    }
}

fn told(issued: &IssuedCertificate, peer: Option<&Peer>) -> Value {
    let until = OffsetDateTime::from(issued.not_after);
    json!({
        "serial": issued.serial,
        "expires": until.format(&Rfc3339).unwrap_or_default(),
        "peer": peer.map(|peer| peer.address.ip().to_string()),
    })
}

fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim)
}

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        match self.issue(&request) {
            Ok(cert_chain) => {
                self.counts.issued.fetch_add(1, Ordering::Relaxed);
                Ok(Response::new(IstioCertificateResponse { cert_chain }))
            }
            Err(status) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                let peer = request.extensions().get::<Peer>();
                let who = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.address.ip().to_string());
                let proved = peer.and_then(|peer| peer.identity.as_ref());
                let actor = proved.map_or(who.as_str(), SpiffeId::as_str);
                let asked = SigningRequest::parse(&request.get_ref().csr);
                self.audit.tell(
                    Event::CertificateRefused,
                    actor,
                    asked.as_ref().map_or("", |csr| csr.id().as_str()),
                    json!({"peer": who, "reason": status.message()}),
                );
                if self.refused.first(&format!("{who} {}", status.message())) {
                    tracing::warn!(
                        "warning[{PEER_REFUSED}]: no certificate for peer {who}: {}",
                        status.message()
                    );
                }
                Err(status)
            }
        }
    }
}
