//! Which of several certificates a server shows.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::identity::Identity;

/// By the server name that the client asks for: a certificate with that very name, then one with a wildcard for it; among
/// equals one whose kind of key the client takes, ECDSA first. Without any, the first that the client takes: as Envoy.
pub(crate) struct ByServerName(Vec<Candidate>);

struct Candidate {
    /// In lower case; `*.example.com` is one too.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl ByServerName {
    pub(crate) fn new<'i>(identities: impl IntoIterator<Item = &'i Identity>) -> Self {
        let candidate = |identity: &Identity| Candidate {
            names: identity
                .info()
                .sans
                .dns
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            key: identity.certified_key(),
        };
        Self(identities.into_iter().map(candidate).collect())
    }

    fn choose(
        &self,
        asked: Option<&str>,
        takes: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let asked = asked.map(str::to_ascii_lowercase);
        let wildcard = asked
            .as_deref()
            .and_then(|name| Some(format!("*.{}", name.split_once('.')?.1)));
        let named = |name: &Option<String>| {
            let name = name.as_ref()?;
            let theirs = self
                .0
                .iter()
                .filter(|one| one.names.contains(name) && takes(&one.key));
            // The first among equals.
            theirs.rev().max_by_key(|one| is_ecdsa(&one.key))
        };
        let any = || self.0.iter().find(|one| takes(&one.key)).or(self.0.first());
        let chosen = named(&asked).or_else(|| named(&wildcard)).or_else(any)?;
        Some(Arc::clone(&chosen.key))
    }
}

fn is_ecdsa(key: &CertifiedKey) -> bool {
    key.key.algorithm() == rustls::SignatureAlgorithm::ECDSA
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |key| {
            key.key.choose_scheme(schemes).is_some()
        })
    }
}

impl fmt::Debug for ByServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|one| &one.names);
        f.debug_list().entries(names).finish()
    }
}
