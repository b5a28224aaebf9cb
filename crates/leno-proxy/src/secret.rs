//! Certificates that a gateway shows to its clients and to servers outside, and whom it trusts there: by SDS from the control plane, or from
//! files on its own machine.
//!
//! Files are named as Istio names them, `file-cert:CHAIN~KEY` and `file-root:ROOTS`. Only a gateway reads them: to a
//! sidecar a control plane may not name files.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use leno_engine::compile::cluster::{Cluster, Transport};
use leno_engine::compile::listener::Listener;
use leno_engine::compile::secret;
use leno_engine::compile::tls::{CommonTls, SecretSource, TrustSource, Validation};
use leno_engine::compile::{Files, Warnings};
use leno_proto::envoy::extensions::transport_sockets::tls::v3 as pb;
use leno_tls::{Crypto, Identity, ROOT_CA, SecretSet, TicketKeys, TrustBundle, WORKLOAD_CERTIFICATE};

use crate::tls;

const CERTIFICATE_FILES: &str = "file-cert:";
const ROOTS_FILE: &str = "file-root:";
/// Istio's names for what comes from Secrets.
const KUBERNETES: &str = "kubernetes://";
const ROOTS_SUFFIX: &str = "-cacert";

/// A secret in usable form.
#[derive(Clone, Debug)]
pub enum Secret {
    Identity(Identity),
    Trust(TrustBundle),
    Tickets(TicketKeys),
}

/// Whether somebody else is asked for it. With an identity of its own the proxy makes `default` and `ROOTCA` itself.
pub(crate) fn comes_by_network(name: &str, own_identity: bool) -> bool {
    !(own_identity && (name == WORKLOAD_CERTIFICATE || name == ROOT_CA)) && !is_file(name)
}

fn is_file(name: &str) -> bool {
    name.starts_with(CERTIFICATE_FILES) || name.starts_with(ROOTS_FILE)
}

/// Makes the usable form, or says what is wrong. `files`: what of this machine it may name.
pub(crate) fn compile(message: &pb::Secret, files: &dyn Files) -> Result<Secret, String> {
    let compiled = secret::compile(message, files, &mut Warnings::default());
    let (name, pem) = compiled.map_err(|rejection| rejection.to_string())?;
    usable(&name, &pem)
}

pub(crate) fn usable(name: &str, pem: &secret::Secret) -> Result<Secret, String> {
    match pem {
        secret::Secret::Identity(certificate) => {
            let made = Identity::read(&tls::pem(certificate), name, name, &Crypto::system());
            made.map(Secret::Identity).map_err(|error| error.to_string())
        }
        secret::Secret::Validation(validation) => peers(validation, name),
        secret::Secret::Tickets(keys) => {
            let made = TicketKeys::new(keys).map(Secret::Tickets);
            made.ok_or_else(|| "the session ticket keys cannot be used".to_owned())
        }
    }
}

fn identity(chain: &[u8], chain_origin: &str, key: &[u8], key_origin: &str) -> Result<Secret, String> {
    let made = Identity::from_pem(chain, chain_origin, key, key_origin, &Crypto::system());
    made.map(Secret::Identity).map_err(|error| error.to_string())
}

/// A bundle with what is asked of peers besides.
fn peers(validation: &Validation, origin: &str) -> Result<Secret, String> {
    let check = tls::conditions(validation).map_err(|error| error.to_string())?;
    let bundle = match &validation.trust {
        TrustSource::InlinePem(roots) => {
            TrustBundle::from_pem(roots, origin).map_err(|error| error.to_string())?
        }
        TrustSource::System => TrustBundle::system().map_err(|error| error.to_string())?,
        TrustSource::Sds(..) | TrustSource::None => return Ok(Secret::Trust(TrustBundle::of_pins(check))),
    };
    Ok(Secret::Trust(
        match *validation == Validation::of(validation.trust.clone()) {
            true => bundle,
            false => bundle.with(check),
        },
    ))
}

fn trust(roots: &[u8], origin: &str) -> Result<Secret, String> {
    let made = TrustBundle::from_pem(roots, origin);
    made.map(Secret::Trust).map_err(|error| error.to_string())
}

/// What the listener's TLS needs besides the proxy's own identity: certificates, and whom to trust.
/// Each with the chain that needs it, which says who asked for it.
pub(crate) fn named_by(listener: &Listener) -> BTreeMap<String, String> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    let tls = chains.filter_map(|chain| Some((chain.name.as_str(), &chain.tls.as_ref()?.common)));
    tls.flat_map(|(chain, tls)| named(tls, chain)).collect()
}

/// The same of a cluster's TLS, with the cluster's name.
pub(crate) fn named_by_cluster(cluster: &Cluster) -> BTreeMap<String, String> {
    let tls = cluster.transport.all().filter_map(Transport::tls);
    tls.flat_map(|tls| named(&tls.common, &cluster.name)).collect()
}

fn named(tls: &CommonTls, by: &str) -> Vec<(String, String)> {
    let certificates = tls.certificates.iter().filter_map(|source| match source {
        SecretSource::Sds(name, _) => Some(name),
        SecretSource::Inline(_) => None,
    });
    let trust = match tls.validation.as_ref().map(|validation| &validation.trust) {
        Some(TrustSource::Sds(name, _)) => Some(name),
        _ => None,
    };
    certificates
        .chain(trust)
        .filter(|name| *name != WORKLOAD_CERTIFICATE && *name != ROOT_CA)
        .map(|name| (name.clone(), by.to_owned()))
        .collect()
}

/// Why a secret that a listener or cluster needs does not serve, and how to mend it; None: it does.
pub(crate) fn problem(set: &SecretSet, name: &str, chain: &str, now: SystemTime) -> Option<String> {
    match set.identity(name) {
        Some(identity) if identity.is_expired(now) => Some(format!(
            "the certificate {name} has expired — {chain} — put a new one in its place; it is taken without a restart"
        )),
        Some(_) => None,
        None if set.bundle(name).is_some() => None,
        None if is_file(name) => Some(format!(
            "the certificate {name} is not usable — {chain} — put PEM files that the gateway may read there; they are \
             taken without a restart"
        )),
        None => {
            let path = name.strip_prefix(KUBERNETES).unwrap_or(name);
            let (namespace, secret) = path.split_once('/').unwrap_or(("", path));
            let remedy = match secret.strip_suffix(ROOTS_SUFFIX) {
                Some(secret) => format!("give the Secret {secret} a ca.crt, which vouches for clients"),
                None => format!(
                    "put a Secret {secret} of the namespace {namespace} into the configuration directory \
                     (kubernetes.io/tls: tls.crt, tls.key)"
                ),
            };
            Some(format!(
                "the certificate {name} is not there — {chain} — {remedy}"
            ))
        }
    }
}

/// The files that listeners and clusters name, and what was last seen of them.
#[derive(Debug, Default)]
pub(crate) struct FileSecrets {
    seen: BTreeMap<String, Vec<Option<(SystemTime, u64)>>>,
}

impl FileSecrets {
    /// What is new or has changed since the last call, of these names.
    pub(crate) fn refresh(
        &mut self,
        names: &BTreeMap<String, String>,
    ) -> Vec<(String, Result<Secret, String>)> {
        self.seen.retain(|name, _| names.contains_key(name));
        let mut changed = Vec::new();
        for name in names.keys().filter(|name| is_file(name)) {
            let stamp = paths(name).into_iter().map(stamp).collect();
            if self.seen.get(name) != Some(&stamp) {
                changed.push((name.clone(), load(name)));
                self.seen.insert(name.clone(), stamp);
            }
        }
        changed
    }
}

fn paths(name: &str) -> Vec<&str> {
    match (
        name.strip_prefix(CERTIFICATE_FILES),
        name.strip_prefix(ROOTS_FILE),
    ) {
        (Some(both), _) => both.splitn(2, '~').collect(),
        (None, Some(roots)) => vec![roots],
        (None, None) => Vec::new(),
    }
}

fn stamp(path: &str) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(name: &str) -> Result<Secret, String> {
    let read = |path: &str| {
        fs::read(path)
            .map_err(|error| format!("cannot be read: {error} — {path} — check the path and its mode"))
    };
    match paths(name).as_slice() {
        [chain, key] => identity(&read(chain)?, chain, &read(key)?, key),
        [roots] => trust(&read(roots)?, roots),
        _ => Err(format!("{name} names no file")),
    }
}
