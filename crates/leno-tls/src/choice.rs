//! Which of several certificates a server shows.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;

use crate::identity::Identity;
use crate::ocsp::StaplePolicy;

/// By the server name that the client asks for: a certificate with that very name, then one with a wildcard for it; among
/// equals one whose kind of key the client takes, ECDSA first. Without any the first, or of all of them one that the client
/// takes: as Envoy. One that may not be shown without its OCSP response is passed by while that does not hold.
pub(crate) struct ByServerName {
    candidates: Vec<Candidate>,
    staples: StaplePolicy,
    scans_all: bool,
    clock: Arc<dyn TimeProvider>,
}

struct Candidate {
    /// In lower case; `*.example.com` is one too.
    names: Vec<String>,
    identity: Identity,
}

impl ByServerName {
    pub(crate) fn new<'i>(
        identities: impl IntoIterator<Item = &'i Identity>,
        staples: StaplePolicy,
        scans_all: bool,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        let candidate = |identity: &Identity| Candidate {
            names: identity
                .info()
                .sans
                .dns
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            identity: identity.clone(),
        };
        Self {
            candidates: identities.into_iter().map(candidate).collect(),
            staples,
            scans_all,
            clock,
        }
    }

    fn choose(
        &self,
        asked: Option<&str>,
        takes: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let now = self
            .clock
            .current_time()
            .map(|now| now.as_secs())
            .unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let shown = |one: &'_ Candidate| one.identity.shown(self.staples, now).cloned();
        let asked = asked.map(str::to_ascii_lowercase);
        let wildcard = asked
            .as_deref()
            .and_then(|name| Some(format!("*.{}", name.split_once('.')?.1)));
        let of = |is_one: &dyn Fn(&Candidate) -> bool| {
            let theirs = self.candidates.iter().filter(|one| is_one(one));
            let theirs = theirs.filter_map(shown).filter(|key| takes(key));
            // The first among equals.
            theirs.rev().max_by_key(|key| is_ecdsa(key))
        };
        let named = |name: &Option<String>| {
            let name = name.as_ref()?;
            of(&|one| one.names.contains(name))
        };
        let scanned = || self.scans_all.then(|| of(&|_| true)).flatten();
        let first = || self.candidates.iter().find_map(shown);
        named(&asked)
            .or_else(|| named(&wildcard))
            .or_else(scanned)
            .or_else(first)
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
        let names = self.candidates.iter().map(|one| &one.names);
        f.debug_list().entries(names).finish()
    }
}
