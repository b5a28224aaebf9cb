//! Endpoints by name: STRICT_DNS and LOGICAL_DNS clusters, resolved again and again by the system's resolver.
//!
//! A name that does not resolve keeps the addresses it had; one that never did leaves its cluster empty, so that
//! requests fail at once (`UH`) instead of waiting.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::cluster::dns::{Family, Resolving};
use leno_engine::compile::endpoint::{Assignment, Endpoint, Locality, Target};
use leno_engine::compile::listener::Address;
use tokio::time::Instant;

use crate::Proxy;
use crate::state::Config;

/// A cluster whose endpoints are names.
#[derive(Clone, Debug)]
struct Named {
    template: Arc<Assignment>,
    resolving: Resolving,
    /// LOGICAL_DNS: one address stands for the name.
    logical: bool,
}

/// What is known of one.
#[derive(Debug)]
struct Known {
    template: Arc<Assignment>,
    due: Instant,
    resolved: Option<Assignment>,
    /// How often in a row they did not resolve.
    failures: u32,
}

/// Keeps DNS clusters resolved, for as long as it is polled.
pub async fn keep_resolved(proxy: &Proxy) {
    let mut known: HashMap<String, Known> = HashMap::new();
    let mut changes = proxy.updater().dns_clusters();
    loop {
        changes.borrow_and_update();
        let named = named(proxy.updater().config());
        known.retain(|name, _| named.contains_key(name));
        for (name, cluster) in named {
            let due = known
                .get(&name)
                .is_none_or(|k| k.due <= Instant::now() || !Arc::ptr_eq(&k.template, &cluster.template));
            if due {
                let after = look_up(proxy, &name, &cluster, known.remove(&name)).await;
                known.insert(name, after);
            }
        }
        let next = known.values().map(|known| known.due).min();
        let wait = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The endpoints of a cluster that is not in force yet, for those who wait for them. None: its endpoints are no names.
pub(crate) async fn first(discovery: &Discovery) -> Option<Assignment> {
    match resolve(&by_name(discovery)?).await {
        Ok(resolved) => Some(resolved),
        Err(error) => {
            tracing::warn!(%error, "endpoints not resolved");
            Some(Assignment::default())
        }
    }
}

async fn look_up(proxy: &Proxy, name: &str, cluster: &Named, before: Option<Known>) -> Known {
    let failed = before.as_ref().map_or(0, |known| known.failures);
    let before = before.and_then(|known| known.resolved);
    let (resolved, again, failures) = match resolve(cluster).await {
        Ok(resolved) => (resolved, cluster.resolving.refresh, 0),
        Err(error) => {
            tracing::warn!(cluster = name, %error, "endpoints not resolved");
            let (first, most) = cluster.resolving.after_failure;
            let again = first.saturating_mul(1 << failed.min(16)).min(most);
            (before.clone().unwrap_or_default(), again, failed + 1)
        }
    };
    if before.as_ref() != Some(&resolved) {
        let mut updater = proxy.updater();
        updater.upsert_endpoints(name, resolved.clone());
        updater.publish();
    }
    Known {
        template: Arc::clone(&cluster.template),
        due: Instant::now() + again,
        resolved: Some(resolved),
        failures,
    }
}

fn named(config: &Config) -> HashMap<String, Named> {
    let named = config.clusters();
    named
        .filter_map(|state| Some((state.cluster.name.clone(), by_name(&state.cluster.discovery)?)))
        .collect()
}

fn by_name(discovery: &Discovery) -> Option<Named> {
    let (template, resolving, logical) = match discovery {
        Discovery::StrictDns {
            assignment,
            resolving,
        } => (assignment, resolving, false),
        Discovery::LogicalDns {
            assignment,
            resolving,
        } => (assignment, resolving, true),
        Discovery::Static(_)
        | Discovery::Eds(..)
        | Discovery::OriginalDst
        | Discovery::DynamicForward(_)
        | Discovery::Aggregate(_) => {
            return None;
        }
    };
    Some(Named {
        template: Arc::clone(template),
        resolving: resolving.clone(),
        logical,
    })
}

/// The template with every name replaced by its addresses. Err: a name does not resolve.
async fn resolve(cluster: &Named) -> io::Result<Assignment> {
    let mut resolved = Assignment {
        priorities: Vec::new(),
        overprovisioning: cluster.template.overprovisioning,
        weighted_health: cluster.template.weighted_health,
        drop: cluster.template.drop.clone(),
    };
    for localities in &cluster.template.priorities {
        let mut level = Vec::with_capacity(localities.len());
        for locality in localities {
            let mut endpoints = Vec::new();
            for endpoint in &locality.endpoints {
                endpoints.extend(addresses(endpoint, cluster.resolving.family, cluster.logical).await?);
            }
            level.push(Locality {
                endpoints,
                ..locality.clone()
            });
        }
        resolved.priorities.push(level);
    }
    Ok(resolved)
}

/// The addresses of a name that may be used, in an order that stays.
pub(crate) async fn look_up_host(host: &str, port: u16, family: Family) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let has_v4 = found.iter().any(SocketAddr::is_ipv4);
    found.retain(|address| match family {
        Family::V4Only => address.is_ipv4(),
        Family::V6Only => address.is_ipv6(),
        Family::V4Preferred => address.is_ipv4() || !has_v4,
        Family::All => true,
    });
    // Resolvers turn their answers round; the same addresses are the same endpoints.
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

async fn addresses(
    endpoint: &Arc<Endpoint>,
    family: Family,
    logical: bool,
) -> io::Result<Vec<Arc<Endpoint>>> {
    let Target::Name { host, port } = &endpoint.address else {
        return Ok(vec![Arc::clone(endpoint)]);
    };
    let mut found = look_up_host(host, *port, family).await?;
    found.truncate(if logical { 1 } else { usize::MAX });
    let at = |address| {
        Arc::new(Endpoint {
            address: Target::Address(Address::Socket(address)),
            hostname: match endpoint.hostname.is_empty() {
                true => host.clone(),
                false => endpoint.hostname.clone(),
            },
            ..Endpoint::clone(endpoint)
        })
    };
    Ok(found.into_iter().map(at).collect())
}
