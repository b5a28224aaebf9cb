//! Which peers are accepted, in plain values.

use crate::revocation::Revocation;
use crate::san::SanMatcher;
use crate::spiffe::TrustDomain;

/// Which peers are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerCheck {
    /// The secret that holds the trust bundle; None: the pins alone say who is accepted.
    pub trust: Option<String>,
    /// One of these must match; none means any name.
    pub sans: Vec<SanMatcher>,
    /// The peer's SPIFFE identity must be in one of these; none means no such check.
    pub trust_domains: Vec<TrustDomain>,
    /// One of these must be the peer's; none means any certificate.
    pub pins: Vec<Pin>,
    /// Certificates are accepted before and after their time.
    pub allow_expired: bool,
    /// Most authorities in a chain, with the one that is trusted.
    pub max_depth: Option<u32>,
    pub revocation: Option<Revocation>,
}

/// SHA-256 of a certificate that is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    Certificate([u8; 32]),
    /// Of its public key (SubjectPublicKeyInfo).
    Key([u8; 32]),
}

// === impl PeerCheck ===

impl PeerCheck {
    /// Every peer that chains to the bundle.
    pub fn any(trust: impl Into<String>) -> PeerCheck {
        PeerCheck {
            trust: Some(trust.into()),
            sans: Vec::new(),
            trust_domains: Vec::new(),
            pins: Vec::new(),
            allow_expired: false,
            max_depth: None,
            revocation: None,
        }
    }

    /// What a secret adds to it: lists grow, what is one value is the secret's where it says one (Envoy's combined
    /// validation context is the two messages merged).
    pub(crate) fn and(&self, secret: &PeerCheck) -> PeerCheck {
        let PeerCheck {
            trust: _,
            sans,
            trust_domains,
            pins,
            allow_expired,
            max_depth,
            revocation,
        } = secret;
        PeerCheck {
            trust: self.trust.clone(),
            sans: [self.sans.as_slice(), sans].concat(),
            trust_domains: [self.trust_domains.as_slice(), trust_domains].concat(),
            pins: [self.pins.as_slice(), pins].concat(),
            allow_expired: self.allow_expired || *allow_expired,
            max_depth: max_depth.or(self.max_depth),
            revocation: revocation.clone().or_else(|| self.revocation.clone()),
        }
    }
}
