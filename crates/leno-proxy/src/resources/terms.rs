//! What must hold between resources, beyond that what is named is there.

use leno_engine::compile::config_source::Source;
use leno_engine::compile::http::{HttpConnectionManager, RouteSource, ScopeKey, Scopes};
use leno_engine::compile::listener::{Listener, TcpProxy, TerminalFilter};

use super::{Compiled, Entry, Kind, Name, Resources};

/// What a resource asks of others, or is asked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Terms {
    /// Of a listener whose scopes come by SRDS: where the routes that they name come from.
    pub(super) scoped: Option<Source>,
    /// Of a listener: which messages each of its discovered filters may be.
    pub(super) filters: Vec<(String, Vec<String>)>,
    /// Of a scope: no other may have its key; and the routes that it names.
    pub(super) scope: Option<(ScopeKey, String)>,
}

impl Terms {
    pub(super) fn of(compiled: &Compiled) -> Self {
        match compiled {
            Compiled::Listener(listener) => {
                let discovered = managers(listener).flat_map(HttpConnectionManager::every_filter);
                let filters = discovered.filter_map(|filter| {
                    let discovered = filter.discovered.as_ref()?;
                    Some((filter.name.clone(), discovered.types.clone()))
                });
                let chains = listener.chains.iter().chain(&listener.default_chain);
                let network = chains.flat_map(|chain| &chain.network);
                let network = network.filter_map(|filter| filter.discovered.as_ref());
                let network = network.map(|filter| (filter.name.clone(), filter.types.clone()));
                Self {
                    scoped: managers(listener).find_map(routes_of_scopes).cloned(),
                    filters: filters.chain(network).collect(),
                    scope: None,
                }
            }
            Compiled::Scope(scope) => Self {
                scope: Some((scope.key.clone(), scope.routes.clone())),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

// === impl Resources ===

impl Resources {
    /// What it says against the terms of others.
    pub(super) fn breach(&self, compiled: &Compiled) -> Option<String> {
        // Of each name the newest counts.
        let in_force = self.active.iter();
        let in_force = in_force.filter(|(name, _)| !self.warming.contains_key(*name));
        let mut others = self.warming.iter().chain(in_force);
        match compiled {
            Compiled::Listener(listener) => {
                let wanted = Terms::of(compiled).scoped;
                let differs = |((_, name), entry): (&Name, &Entry)| {
                    let theirs = entry.terms.scoped.as_ref().filter(|_| *name != listener.name);
                    wanted.is_some() && theirs.is_some_and(|theirs| Some(theirs) != wanted.as_ref())
                };
                let two = has_two_sources_of_scopes(listener) || others.any(differs);
                two.then(|| "the routes of scopes come from another source already".to_owned())
            }
            Compiled::Extension(extension) => {
                let name = &extension.name;
                let mut filters = others.flat_map(|(_, entry)| &entry.terms.filters);
                let (_, types) =
                    filters.find(|(filter, types)| filter == name && !types.contains(&extension.message))?;
                Some(format!("{} is none of {}", extension.message, types.join(", ")))
            }
            Compiled::Scope(scope) => {
                let taken = others.find(|((_, name), entry)| {
                    let key = entry.terms.scope.as_ref().map(|(key, _)| key);
                    key == Some(&scope.key) && *name != scope.name && !self.replaced.contains(name)
                });
                let ((_, first), _) = taken?;
                Some(format!(
                    "scope key conflict found, first scope is '{first}', second scope is '{}'",
                    scope.name
                ))
            }
            _ => None,
        }
    }

    /// Where the routes of scopes come from.
    pub(super) fn routes_of_scopes(&self) -> Option<&Source> {
        let mut entries = self.warming.values().chain(self.active.values());
        entries.find_map(|entry| entry.terms.scoped.as_ref())
    }

    /// The listener that names scopes says where their routes come from.
    pub(super) fn take_scopes_routes_from(&mut self, source: &Source) {
        for entry in self.active.values_mut().chain(self.warming.values_mut()) {
            if let Some((_, routes)) = &entry.terms.scope {
                entry.needs.insert((Kind::Route, routes.clone()), source.clone());
            }
        }
    }
}

/// Where what is not named, but may be asked for while serving, comes from.
pub(crate) fn asks(compiled: &Compiled) -> Vec<Source> {
    let Compiled::Listener(listener) = compiled else {
        return Vec::new();
    };
    let filters = managers(listener).flat_map(HttpConnectionManager::every_filter);
    let of_filters = filters.filter_map(|filter| filter.factory.source());
    let of_proxies = tcp_proxies(listener).filter_map(|tcp| Some(&tcp.on_demand.as_deref()?.0));
    of_filters.chain(of_proxies).cloned().collect()
}

/// The sources of scopes' routes in one listener are one.
fn has_two_sources_of_scopes(listener: &Listener) -> bool {
    let mut sources = managers(listener).filter_map(routes_of_scopes);
    let first = sources.next();
    sources.any(|other| Some(other) != first)
}

fn managers(listener: &Listener) -> impl Iterator<Item = &HttpConnectionManager> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains.filter_map(|chain| match &chain.terminal {
        TerminalFilter::Http(manager) => Some(&**manager),
        TerminalFilter::Tcp(_) | TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => None,
    })
}

fn tcp_proxies(listener: &Listener) -> impl Iterator<Item = &TcpProxy> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains.filter_map(|chain| match &chain.terminal {
        TerminalFilter::Tcp(tcp) => Some(&**tcp),
        _ => None,
    })
}

fn routes_of_scopes(manager: &HttpConnectionManager) -> Option<&Source> {
    let RouteSource::Scoped(scoped) = &manager.routes else {
        return None;
    };
    match &scoped.scopes {
        Scopes::Inline(_) => None,
        Scopes::Discovered { routes, .. } => Some(routes),
    }
}
