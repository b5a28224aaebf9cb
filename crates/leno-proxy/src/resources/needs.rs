//! What resources refer to.

use leno_engine::compile::cluster::Transport;
use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::config_source::{Origin, Source};
use leno_engine::compile::http::{HttpConnectionManager, RouteSource, Scopes};
use leno_engine::compile::listener::{FilterChain, TerminalFilter};
use leno_engine::compile::route::{Action, ClusterChoice, MirrorCluster, RouteTable};
use leno_engine::compile::tls::{CommonTls, SecretSource, TicketSource, TrustSource};

use leno_xds::WILDCARD;

use super::{Compiled, Kind, Name, Needs};

/// What a resource names and cannot serve without.
pub(crate) fn needs(compiled: &Compiled) -> Needs {
    match compiled {
        Compiled::Runtime(_)
        | Compiled::Endpoints(_)
        | Compiled::Secret(_)
        | Compiled::VirtualHost
        | Compiled::Scope(_)
        | Compiled::Extension(_) => Needs::new(),
        Compiled::Cluster(cluster) => cluster_needs(cluster),
        Compiled::Route(table) => table_needs(table),
        Compiled::Listener(listener) => {
            let chains = listener.chains.iter().chain(&listener.default_chain);
            chains.flat_map(|chain| chain_needs(chain)).collect()
        }
    }
}

/// What of it can come from nowhere. Clusters are there or not: where from is not theirs who name them.
pub(crate) fn without_origin(needs: &Needs, has: impl Fn(&Origin) -> bool) -> Option<String> {
    let mut needs = needs.iter().filter(|((kind, _), _)| *kind != Kind::Cluster);
    let ((kind, name), _) = needs.find(|(_, source)| !has(&source.origin))?;
    Some(format!(
        "{kind:?} {name:?} is to come by ads, and the bootstrap has no ads_config"
    ))
}

/// Endpoints that somebody resolves here.
pub(super) fn is_named(compiled: &Compiled) -> bool {
    let Compiled::Cluster(cluster) = compiled else {
        return false;
    };
    matches!(
        cluster.discovery,
        Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }
    )
}

fn cluster_needs(cluster: &Cluster) -> Needs {
    let mut names = Needs::new();
    if let Discovery::Eds(service, source) = &cluster.discovery {
        names.insert((Kind::Endpoints, service.clone()), source.clone());
    }
    if let Discovery::Aggregate(members) = &cluster.discovery {
        let members = members.iter().map(|name| (Kind::Cluster, name.clone()));
        names.extend(members.map(|name| (name, Source::ads())));
    }
    for tls in cluster.transport.all().filter_map(Transport::tls) {
        names.extend(secrets(&tls.common));
    }
    names
}

/// The secrets that have a source.
fn secrets(tls: &CommonTls) -> impl Iterator<Item = (Name, Source)> {
    let certificates = tls.certificates.iter().filter_map(|source| match source {
        SecretSource::Sds(name, Some(source)) => Some((name, source)),
        SecretSource::Sds(_, None) | SecretSource::Inline(_) => None,
    });
    let trust = match tls.validation.as_ref().map(|validation| &validation.trust) {
        Some(TrustSource::Sds(name, Some(source))) => Some((name, source)),
        _ => None,
    };
    let named = certificates.chain(trust);
    named.map(|(name, source)| ((Kind::Secret, name.clone()), source.clone()))
}

fn chain_needs(chain: &FilterChain) -> Needs {
    let mut names: Needs = match &chain.terminal {
        TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => Needs::new(),
        TerminalFilter::Tcp(proxy) => proxy
            .clusters
            .iter()
            .map(|one| ((Kind::Cluster, one.name.clone()), Source::ads()))
            .collect(),
        TerminalFilter::Http(http) => manager_needs(http),
    };
    names.extend(chain.tls.iter().flat_map(|tls| secrets(&tls.common)));
    let discovered = chain
        .network
        .iter()
        .filter_map(|filter| filter.discovered.as_ref());
    names.extend(discovered.map(|filter| ((Kind::Extension, filter.name.clone()), filter.source.clone())));
    let tickets = chain.tls.as_ref().and_then(|tls| tls.tickets.as_ref());
    if let Some(TicketSource::Sds(name, Some(source))) = tickets.map(|tickets| &tickets.keys) {
        names.insert((Kind::Secret, name.clone()), source.clone());
    }
    names
}

fn manager_needs(manager: &HttpConnectionManager) -> Needs {
    let mut names = match &manager.routes {
        RouteSource::Rds(name, source) => Needs::from([((Kind::Route, name.clone()), source.clone())]),
        RouteSource::Inline(table) => table_needs(table),
        RouteSource::Scoped(scoped) => match &scoped.scopes {
            Scopes::Inline(tables) => tables.values().flat_map(|table| table_needs(table)).collect(),
            Scopes::Discovered { scopes, .. } => {
                Needs::from([((Kind::Scope, WILDCARD.to_owned()), scopes.clone())])
            }
        },
    };
    names.extend(manager.every_filter().filter_map(|filter| {
        let discovered = filter.discovered.as_ref()?;
        Some(((Kind::Extension, filter.name.clone()), discovered.source.clone()))
    }));
    names
}

fn table_needs(table: &RouteTable) -> Needs {
    let forwards = table
        .hosts
        .iter()
        .flat_map(|h| &h.routes)
        .filter_map(|r| match &r.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond { .. } => None,
        });
    let mut names = Needs::new();
    for forward in forwards {
        match &forward.cluster {
            ClusterChoice::One(name) => {
                names.insert((Kind::Cluster, name.clone()), Source::ads());
            }
            ClusterChoice::Weighted { clusters: list, .. } => {
                let named = list.iter().filter(|cluster| cluster.header.is_none());
                names.extend(named.map(|c| ((Kind::Cluster, c.name.clone()), Source::ads())))
            }
            // Named by the request: nothing to wait for.
            ClusterChoice::Header(_) => {}
        }
        let mirrored = forward.mirrors.iter().filter_map(|mirror| match &mirror.cluster {
            MirrorCluster::One(name) => Some(((Kind::Cluster, name.clone()), Source::ads())),
            MirrorCluster::Header(_) => None,
        });
        names.extend(mirrored);
    }
    if let Some(source) = &table.vhds {
        names.insert((Kind::VirtualHost, WILDCARD.to_owned()), Source::clone(source));
    }
    names
}
