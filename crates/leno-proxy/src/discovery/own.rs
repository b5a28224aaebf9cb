//! What a gateway has that a sidecar has not: ports of the machine, which may be taken, and certificates of its own, which
//! may be missing, expire, or be replaced in a file. What is wrong is told, and tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use leno_engine::compile::listener::Listener;
use tokio::sync::watch;

use super::State;
use crate::Proxy;
use crate::secret::{self, FileSecrets};
use crate::state::Refused;

#[derive(Default)]
pub(super) struct Own {
    /// Listeners that could not be opened yet, each with the reason.
    postponed: BTreeMap<String, (Listener, String)>,
    files: FileSecrets,
}

impl Own {
    pub(super) fn opened(&mut self, listener: &str) {
        self.postponed.remove(listener);
    }

    /// What was in force under its name stays.
    pub(super) fn postpone(&mut self, name: String, listener: Listener, error: &Refused) {
        self.postponed.insert(name, (listener, error.to_string()));
    }

    #[allow(clippy::disallowed_methods)]
    pub(super) fn tend(&mut self, proxy: &Proxy, state: &watch::Sender<State>) {
        let mut updater = proxy.updater();
        for (name, (listener, _)) in std::mem::take(&mut self.postponed) {
            match updater.upsert_listener(listener.clone()) {
                Ok(()) => {
                    tracing::info!(listener = %name, "open now");
                    updater.publish();
                }
                Err(error) => self.postpone(name, listener, &error),
            }
        }
        let named: BTreeSet<String> = updater.config().listeners().flat_map(secret::named_by).collect();
        for (name, loaded) in self.files.refresh(&named) {
            match loaded {
                Ok(secret) => updater.upsert_secret(&name, secret),
                Err(why) => tracing::error!("{why}"),
            }
        }
        let (set, now) = (updater.secrets(), SystemTime::now());
        drop(updater);
        let ports = self.postponed.values().map(|(_, why)| why.clone());
        let certificates = named.iter().filter_map(|name| secret::problem(&set, name, now));
        let problems: Vec<String> = ports.chain(certificates).collect();
        state.send_if_modified(|state| {
            let new = problems
                .iter()
                .filter(|problem| !state.problems.contains(problem));
            new.for_each(|problem| tracing::error!("{problem}"));
            let changed = state.problems != problems;
            state.problems = problems;
            changed
        });
    }
}
