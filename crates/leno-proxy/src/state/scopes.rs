//! Scopes of routes, by their keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use leno_engine::compile::extension::Configured;
use leno_engine::compile::http::{Scope, ScopeKey};
use leno_engine::decide::filter::FilterConfig;
use leno_engine::decide::network::NetworkFilterConfig;

use super::{Config, Updater};

/// What the writer knows of them.
#[derive(Debug, Default)]
pub(super) struct KnownScopes {
    by_name: BTreeMap<String, Arc<Scope>>,
    changed: bool,
}

// === impl Config ===

impl Config {
    pub(crate) fn scope(&self, key: &ScopeKey) -> Option<&Scope> {
        self.scopes.get(key).map(Arc::as_ref)
    }

    /// An HTTP filter's configuration that has come by itself.
    pub(crate) fn extension(&self, filter: &str) -> Option<&Arc<FilterConfig>> {
        match self.extensions.get(filter)? {
            Configured::Http(filter) => Some(filter),
            Configured::Network(_) => None,
        }
    }

    /// What a network filter does at the moment: as it has come by itself, else its default. None: its place stays empty.
    pub(crate) fn network_filter<'c>(
        &'c self,
        filter: &'c NetworkFilterConfig,
    ) -> Option<&'c NetworkFilterConfig> {
        let Some(discovered) = &filter.discovered else {
            return Some(filter);
        };
        match self.extensions.get(&discovered.name) {
            Some(Configured::Network(filter)) => Some(filter),
            Some(Configured::Http(_)) | None => discovered.default.as_deref(),
        }
    }
}

// === impl Updater ===

impl Updater {
    pub fn upsert_scope(&mut self, scope: Scope) {
        self.scopes.changed = true;
        self.scopes.by_name.insert(scope.name.clone(), Arc::new(scope));
    }

    pub fn remove_scope(&mut self, name: &str) {
        self.scopes.changed |= self.scopes.by_name.remove(name).is_some();
    }

    pub fn upsert_extension(&mut self, filter: String, configuration: Configured) {
        let mut extensions = HashMap::clone(&self.next.extensions);
        extensions.insert(filter, configuration);
        self.next.extensions = Arc::new(extensions);
    }

    pub fn remove_extension(&mut self, filter: &str) {
        let mut extensions = HashMap::clone(&self.next.extensions);
        extensions.remove(filter);
        self.next.extensions = Arc::new(extensions);
    }

    pub(super) fn index_scopes(&mut self) {
        if std::mem::take(&mut self.scopes.changed) {
            let scopes = self.scopes.by_name.values();
            let by_key = scopes.map(|scope| (scope.key.clone(), Arc::clone(scope)));
            self.next.scopes = Arc::new(by_key.collect());
        }
    }
}
