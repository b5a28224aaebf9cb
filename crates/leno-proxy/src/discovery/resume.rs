//! What an earlier process has kept, put in force again; and what is in force, given to be kept.

use std::collections::BTreeMap;
use std::time::Instant;

use leno_engine::compile::config_source::Source;
use leno_xds::WILDCARD;
use leno_xds::kept::KeptResource;

use super::feeds::Feeds;
use super::keeper;
use super::memory::Memory;
use super::{Discovery, Mode};
use crate::resources::{Kind, Name};

impl Discovery {
    /// As if the control plane had said it just now, but for what the bootstrap no longer has from there, and what this
    /// version does not take.
    pub(super) fn restore(&self, memory: &mut Memory, feeds: &Feeds, now: Instant) {
        let kept = self.keeper.as_ref().map(|keeper| keeper.read());
        let mut origins = BTreeMap::new();
        for resource in kept.unwrap_or_default() {
            let Some(kind) = Kind::of(&resource.type_url) else {
                continue;
            };
            let key: Name = (kind, resource.name);
            let is_root = self.is_root(memory, &key);
            let foreign = is_root && self.origin(memory, &key).as_ref() != Some(&resource.origin);
            let kept = !matches!(kind, Kind::Secret | Kind::VirtualHost);
            if memory.fixed.contains(&key) || !kept || foreign {
                continue;
            }
            match self.compile(memory, feeds, kind, &resource.body, &*self.files()) {
                Ok(compiled) => {
                    memory.resolve(&compiled, self.proxy.updater().defaults());
                    if is_root {
                        memory.roots.insert(key.clone());
                    }
                    if is_root || kind == Kind::Scope {
                        memory.answered.insert(kind.type_url().to_owned());
                    }
                    origins.insert(key.clone(), resource.origin);
                    memory
                        .resources
                        .accept(key, resource.version, resource.body, compiled, now);
                }
                Err(why) => {
                    tracing::warn!(resource = %key.1, ?kind, %why, "it was kept, and is not taken any more")
                }
            }
        }
        // Nobody names it, or it is to come from elsewhere.
        loop {
            let wanted = memory.reachable();
            let stays = |name: &Name, origin: &String| {
                let source = wanted.get(name);
                memory.roots.contains(name)
                    || source.is_some_and(|source| keeper::origin(&source.origin).as_ref() == Some(origin))
            };
            let lost = origins.iter().find(|(name, origin)| !stays(name, origin));
            let Some(name) = lost.map(|(name, _)| name.clone()) else {
                break;
            };
            origins.remove(&name);
            memory.resources.forget(&name);
        }
        if !origins.is_empty() {
            tracing::info!(
                resources = origins.len(),
                "as they were kept, until the control plane says otherwise"
            );
        }
        memory.restored = origins.into_keys().collect();
    }

    /// What was kept is in force as far as it goes, without waiting for anybody. Its sources are told what they need not say
    /// again.
    pub(super) fn resume(&self, memory: &mut Memory, feeds: &mut Feeds) {
        for name in std::mem::take(&mut memory.restored) {
            if memory.roots.contains(&name) {
                memory.unheard.insert(name.0);
            }
            let source = self.source(memory, &name);
            if let (Some(source), Some(version)) = (source, memory.resources.version(&name)) {
                feeds.restore(source, &name, version);
            }
        }
    }

    /// What is in force and has come over the network. Secrets are kept by nobody; what has a time to live is to end when
    /// nobody says it again.
    pub(super) fn keep(&mut self, memory: &Memory) {
        if !matches!(self.mode, Mode::Bootstrap(_)) {
            return;
        }
        let here = memory.resources.in_force().filter(|(name, _)| {
            !matches!(name.0, Kind::Secret | Kind::VirtualHost)
                && !memory.fixed.contains(*name)
                && !memory.leases.contains_key(*name)
        });
        let resources = here.filter_map(|(name, stage)| {
            Some(KeptResource {
                origin: self.origin(memory, name)?,
                type_url: name.0.type_url().to_owned(),
                name: name.1.clone(),
                version: stage.newest.to_owned(),
                body: stage.body.clone(),
            })
        });
        let resources = resources.collect();
        if let Some(keeper) = &mut self.keeper {
            keeper.write(resources);
        }
    }

    fn origin(&self, memory: &Memory, name: &Name) -> Option<String> {
        self.source(memory, name)
            .and_then(|source| keeper::origin(&source.origin))
    }

    fn source<'m>(&'m self, memory: &'m Memory, name: &Name) -> Option<&'m Source> {
        let one = memory.subscribed.get(name);
        let all = || memory.subscribed.get(&(name.0, WILDCARD.to_owned()));
        one.or_else(|| self.root(name.0)).or_else(all)
    }
}
