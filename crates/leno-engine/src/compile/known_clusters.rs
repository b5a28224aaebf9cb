//! `validate_clusters`: what is static and names a cluster names one that is static too.
//!
//! Routes that come later are taken as they are; their clusters are looked up when a request comes.

use std::collections::HashSet;

use super::Rejection;
use super::at::At;
use super::http::RouteSource;
use super::listener::{FilterChain, Listener, TerminalFilter};
use super::route::{Action, ClusterChoice, Forward, MirrorCluster, RouteTable};

/// `at`: the listener's place.
pub(super) fn check(at: &At<'_>, listener: &Listener, known: &HashSet<&str>) -> Result<(), Rejection> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    for table in chains
        .filter_map(|chain| inline(chain))
        .filter(|table| table.validates)
    {
        let routes = table.hosts.iter().flat_map(|host| &host.routes);
        for route in routes {
            if let Some(missing) = named(&route.action).find(|name| !known.contains(name)) {
                return Err(at.reject(format!(
                    "a route of its table {:?} goes to the cluster {missing:?}, which is not in static_resources; \
                     validate_clusters: false takes it all the same",
                    table.name
                )));
            }
        }
    }
    Ok(())
}

fn inline(chain: &FilterChain) -> Option<&RouteTable> {
    match &chain.terminal {
        TerminalFilter::Http(manager) => match &manager.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Rds(..) | RouteSource::Scoped(_) => None,
        },
        _ => None,
    }
}

/// The clusters that an action names by itself, mirrors too.
fn named(action: &Action) -> impl Iterator<Item = &str> {
    let forward: Option<&Forward> = match action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::Respond { .. } => None,
    };
    forward.into_iter().flat_map(|forward| {
        let chosen: Vec<&str> = match &forward.cluster {
            ClusterChoice::One(name) => vec![name],
            ClusterChoice::Weighted { clusters, .. } => {
                let named = clusters.iter().filter(|one| one.header.is_none());
                named.map(|one| one.name.as_str()).collect()
            }
            ClusterChoice::Header(_) => Vec::new(),
        };
        let mirrored = forward.mirrors.iter().filter_map(|mirror| match &mirror.cluster {
            MirrorCluster::One(name) => Some(name.as_str()),
            MirrorCluster::Header(_) => None,
        });
        chosen.into_iter().chain(mirrored)
    })
}
