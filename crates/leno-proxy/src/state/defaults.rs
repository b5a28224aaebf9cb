//! What holds for clusters that do not say it themselves.

use std::sync::Arc;

use leno_engine::compile::bind::Bind;
use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::dns_resolver::Resolver;

use super::Updater;

#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    bind: Option<Arc<Bind>>,
    resolver: Option<Resolver>,
}

// === impl Defaults ===

impl Defaults {
    pub(crate) fn complete(&self, cluster: &mut Cluster) {
        if cluster.bind.is_none() {
            cluster.bind.clone_from(&self.bind);
        }
        let resolving = match &mut cluster.discovery {
            Discovery::StrictDns { resolving, .. } | Discovery::LogicalDns { resolving, .. } => resolving,
            Discovery::DynamicForward(forward) => &mut forward.cache.resolving,
            _ => return,
        };
        if resolving.resolver.is_none() {
            resolving.resolver.clone_from(&self.resolver);
        }
    }
}

// === impl Updater ===

impl Updater {
    /// What connections of the clusters to come come from, and who resolves their names, where they do not say.
    pub fn set_defaults(&mut self, bind: Option<Bind>, resolver: Option<Resolver>) {
        self.defaults = Defaults {
            bind: bind.map(Arc::new),
            resolver,
        };
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }
}
