//! What a gateway has that a sidecar has not: ports of the machine, which may be taken, and certificates of its own, which
//! may be missing, expire, or be replaced in a file. What is wrong is told, and tried again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use leno_engine::compile::listener::Listener;
use tokio::sync::watch;

use super::{Problem, State};
use crate::Proxy;
use crate::listen::BindError;
use crate::resources::Kind;
use crate::secret::{self, FileSecrets};
use crate::state::Refused;

type PortOwner = fn(SocketAddr) -> Option<String>;

#[derive(Default)]
pub(super) struct Own {
    /// Listeners that could not be opened yet, each with the reason.
    postponed: BTreeMap<String, (Listener, String)>,
    /// Where the others are open.
    open: BTreeMap<String, Vec<SocketAddr>>,
    files: FileSecrets,
}

impl Own {
    /// Of a gateway it is told where.
    pub(super) fn opened(&mut self, listener: &str, addresses: Option<Vec<SocketAddr>>) {
        let waited = self.postponed.remove(listener).is_some();
        if let Some(addresses) = addresses
            && (self.open.insert(listener.to_owned(), addresses.clone()) != Some(addresses.clone()) || waited)
        {
            tracing::info!(listener, ?addresses, "open");
        }
    }

    pub(super) fn closed(&mut self, listener: &str) {
        self.postponed.remove(listener);
        if self.open.remove(listener).is_some() {
            tracing::info!(listener, "closed");
        }
    }

    /// What was in force under its name stays.
    pub(super) fn postpone(&mut self, name: String, listener: Listener, error: &Refused, owner: PortOwner) {
        let held = match error {
            Refused::Bind(BindError::Bind { address, source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                address.socket().and_then(owner)
            }
            _ => None,
        };
        let why = match held {
            Some(owner) => format!("{error}; {owner} has it"),
            None => error.to_string(),
        };
        self.postponed.insert(name, (listener, why));
    }

    #[allow(clippy::disallowed_methods)]
    pub(super) fn tend(&mut self, proxy: &Proxy, state: &watch::Sender<State>, owner: PortOwner) {
        let mut updater = proxy.updater();
        for (name, (listener, _)) in std::mem::take(&mut self.postponed) {
            match updater.upsert_listener(listener.clone()) {
                Ok(()) => {
                    updater.publish();
                    let addresses = updater.addresses(&name);
                    self.opened(&name, Some(addresses));
                }
                Err(error) => self.postpone(name, listener, &error, owner),
            }
        }
        let config = updater.config();
        let upstream = config.clusters().map(|state| &state.cluster);
        let upstream = upstream.flat_map(|cluster| secret::named_by_cluster(cluster));
        let downstream = config.listeners().flat_map(secret::named_by);
        let named: BTreeMap<String, String> = upstream.chain(downstream).collect();
        for (name, loaded) in self.files.refresh(&named) {
            match loaded {
                Ok(secret) => updater.upsert_secret(&name, secret),
                Err(why) => tracing::error!("{why}"),
            }
        }
        let (set, now) = (updater.secrets(), SystemTime::now());
        drop(updater);
        let problem = |kind, message| Problem { kind, message };
        let ports = self.postponed.values();
        let ports = ports.map(|(_, why)| problem(Kind::Listener, why.clone()));
        let certificates = named
            .iter()
            .filter_map(|(name, chain)| secret::problem(&set, name, chain, now));
        let certificates = certificates.map(|why| problem(Kind::Secret, why));
        let problems: Vec<Problem> = ports.chain(certificates).collect();
        state.send_if_modified(|state| {
            let new = problems
                .iter()
                .filter(|problem| !state.problems.contains(problem));
            new.for_each(|problem| tracing::error!("{}", problem.message));
            let changed = state.problems != problems;
            state.problems = problems;
            changed
        });
    }
}
