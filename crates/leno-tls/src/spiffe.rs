//! SPIFFE identities, as the SPIFFE-ID standard writes them:
//! `spiffe://<trust domain>/<path>`.
//!
//! Parsing is strict (lower-case trust domain, no empty or dot segments, no
//! port, query, fragment or percent-encoding) because identities are compared
//! as strings everywhere: two spellings of one identity would be a hole in a
//! policy.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID §2.3: an identity is at most 2048 bytes.
const MAX_URI: usize = 2048;
/// SPIFFE-ID §2.3: a trust domain is at most 255 bytes.
const MAX_TRUST_DOMAIN: usize = 255;

/// A validated SPIFFE identity. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    uri: Arc<str>,
    /// Where the path begins in `uri`; `uri.len()` when there is none.
    path_start: usize,
}

/// The part of a SPIFFE identity that names who vouches for it, such as `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// Why a string is not a SPIFFE identity or trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    #[error("{uri:?} does not begin with {SCHEME:?}")]
    Scheme { uri: String },
    #[error("it is {length} bytes long, and a SPIFFE identity has at most {MAX_URI}")]
    TooLong { length: usize },
    #[error("the trust domain {domain:?} is not 1 to {MAX_TRUST_DOMAIN} of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain { domain: String },
    #[error("the path {path:?} has an empty segment, '.', '..', or a character outside of A-Z a-z 0-9 . - _")]
    Path { path: String },
}

// === impl SpiffeId ===

impl SpiffeId {
    /// The mesh's form: `spiffe://<domain>/ns/<namespace>/sa/<service account>`.
    pub fn workload(
        domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<SpiffeId, SpiffeError> {
        let name_is_segment = |name: &str| !name.contains('/');
        let uri = format!("{SCHEME}{domain}/ns/{namespace}/sa/{service_account}");
        if !name_is_segment(namespace) || !name_is_segment(service_account) {
            return Err(SpiffeError::Path { path: uri });
        }
        uri.parse()
    }

    pub fn as_str(&self) -> &str {
        &self.uri
    }

    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_str().into())
    }

    /// The path with its leading slash, or nothing.
    pub fn path(&self) -> &str {
        self.uri.get(self.path_start..).unwrap_or_default()
    }

    /// The namespace, when the path is `/ns/<namespace>/sa/<service account>`.
    pub fn namespace(&self) -> Option<&str> {
        self.workload_names().map(|(namespace, _)| namespace)
    }

    /// The service account, when the path is `/ns/<namespace>/sa/<service account>`.
    pub fn service_account(&self) -> Option<&str> {
        self.workload_names().map(|(_, account)| account)
    }

    pub fn is_in(&self, domain: &TrustDomain) -> bool {
        self.trust_domain_str() == &*domain.0
    }

    fn trust_domain_str(&self) -> &str {
        self.uri.get(SCHEME.len()..self.path_start).unwrap_or_default()
    }

    fn workload_names(&self) -> Option<(&str, &str)> {
        let (namespace, rest) = self.path().strip_prefix("/ns/")?.split_once('/')?;
        let account = rest.strip_prefix("sa/")?;
        (!account.contains('/')).then_some((namespace, account))
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        if uri.len() > MAX_URI {
            return Err(SpiffeError::TooLong { length: uri.len() });
        }
        let Some(rest) = uri.strip_prefix(SCHEME) else {
            return Err(SpiffeError::Scheme { uri: uri.to_owned() });
        };
        let domain_len = rest.find('/').unwrap_or(rest.len());
        let (domain, path) = rest.split_at(domain_len);
        check_trust_domain(domain)?;
        if !path.is_empty() && !path.split('/').skip(1).all(is_segment) {
            return Err(SpiffeError::Path {
                path: path.to_owned(),
            });
        }
        Ok(SpiffeId {
            uri: uri.into(),
            path_start: SCHEME.len() + domain_len,
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

// === impl TrustDomain ===

impl TrustDomain {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(domain: &str) -> Result<Self, Self::Err> {
        check_trust_domain(domain)?;
        Ok(TrustDomain(domain.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_trust_domain(domain: &str) -> Result<(), SpiffeError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if (1..=MAX_TRUST_DOMAIN).contains(&domain.len()) && domain.bytes().all(allowed) {
        return Ok(());
    }
    Err(SpiffeError::TrustDomain {
        domain: domain.to_owned(),
    })
}

fn is_segment(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_identity_has_namespace_and_service_account() {
        let id: SpiffeId = "spiffe://cluster.local/ns/default/sa/reviews".parse().unwrap();
        assert_eq!(id.namespace(), Some("default"));
        assert_eq!(id.service_account(), Some("reviews"));
        assert_eq!(id.trust_domain().as_str(), "cluster.local");
        assert_eq!(id.path(), "/ns/default/sa/reviews");
        let built = SpiffeId::workload(&id.trust_domain(), "default", "reviews").unwrap();
        assert_eq!(built, id);
    }

    #[test]
    fn a_foreign_path_is_an_identity_without_namespace() {
        for uri in [
            "spiffe://example.org",
            "spiffe://example.org/db/primary",
            "spiffe://e/ns/a/sa/b/c",
        ] {
            let id: SpiffeId = uri.parse().unwrap();
            assert_eq!((id.namespace(), id.service_account()), (None, None), "{uri}");
            assert_eq!(id.to_string(), uri);
        }
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        for uri in [
            "",
            "https://cluster.local/ns/a/sa/b",
            "SPIFFE://cluster.local/ns/a/sa/b",
            "spiffe://",
            "spiffe:///ns/a",
            "spiffe://Cluster.local/a",
            "spiffe://user@cluster.local/a",
            "spiffe://cluster.local:8080/a",
            "spiffe://cluster.local/",
            "spiffe://cluster.local/a/",
            "spiffe://cluster.local//a",
            "spiffe://cluster.local/a/../b",
            "spiffe://cluster.local/a?b",
            "spiffe://cluster.local/a#b",
            "spiffe://cluster.local/a%20b",
        ] {
            assert!(uri.parse::<SpiffeId>().is_err(), "{uri} was accepted");
        }
        assert!(
            format!("spiffe://a/{}", "x".repeat(2048))
                .parse::<SpiffeId>()
                .is_err()
        );
    }

    #[test]
    fn a_namespace_cannot_smuggle_a_path() {
        let domain = "cluster.local".parse().unwrap();
        assert!(SpiffeId::workload(&domain, "a/sa/admin", "b").is_err());
        assert!(SpiffeId::workload(&domain, "a", "").is_err());
    }
}
