//! Endpoints by name: STRICT_DNS and LOGICAL_DNS clusters, resolved again and again by the system's resolver.
//!
//! A name that does not resolve keeps the addresses it had; one that never did leaves its cluster empty, so that
//! requests fail at once (`UH`) instead of waiting.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::cluster::dns::{Family, Resolving};
use leno_engine::compile::dns_resolver::{Resolver, Servers};
use leno_engine::compile::endpoint::{Assignment, Endpoint, Locality, Target};
use leno_engine::compile::listener::Address;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Proxy;
use crate::dns_client;
use crate::random::Random;
use crate::resources::Kind;
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
    /// None: somebody is at it.
    due: Option<Instant>,
    resolved: Option<Assignment>,
    /// How often in a row they did not resolve.
    failures: u32,
}

/// A look-up's end: whose it was, and by which template.
type Done = (String, Named, io::Result<(Assignment, Option<Duration>)>);

/// Keeps DNS clusters resolved, for as long as it is polled. A name that nobody answers for holds up no other.
pub async fn keep_resolved(proxy: &Proxy) {
    let mut known: HashMap<String, Known> = HashMap::new();
    let mut under_way: JoinSet<Done> = JoinSet::new();
    let mut changes = proxy.updater().dns_clusters();
    loop {
        changes.borrow_and_update();
        let named = named(proxy.updater().config());
        known.retain(|name, _| named.contains_key(name));
        for (name, cluster) in named {
            let state = known.get(&name);
            let same = state.filter(|known| Arc::ptr_eq(&known.template, &cluster.template));
            if same.is_some_and(|known| known.due.is_none_or(|due| due > Instant::now())) {
                continue;
            }
            let before = known.remove(&name);
            known.insert(
                name.clone(),
                Known {
                    template: Arc::clone(&cluster.template),
                    due: None,
                    failures: before.as_ref().map_or(0, |known| known.failures),
                    resolved: before.and_then(|known| known.resolved),
                },
            );
            under_way.spawn(async move {
                let resolved = resolve(&cluster).await;
                (name, cluster, resolved)
            });
        }
        let next = known.values().filter_map(|known| known.due).min();
        let wait = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            Some(done) = under_way.join_next() => {
                if let Ok(done) = done {
                    learn(proxy, &mut known, done);
                }
            }
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Takes in what has been found.
#[allow(clippy::disallowed_methods)]
fn learn(proxy: &Proxy, known: &mut HashMap<String, Known>, (name, cluster, resolved): Done) {
    let known = known.get_mut(&name);
    // Another is at it by now.
    let Some(known) = known.filter(|known| Arc::ptr_eq(&known.template, &cluster.template)) else {
        return;
    };
    let resolving = &cluster.resolving;
    let again = match resolved {
        Ok((resolved, ttl)) => {
            known.failures = 0;
            if known.resolved.as_ref() != Some(&resolved) {
                publish(proxy, &name, &resolved);
            }
            let handle = proxy.handle();
            handle
                .updates()
                .came(Kind::Endpoints, &name, true, SystemTime::now());
            known.resolved = Some(resolved);
            by_ttl(resolving, ttl)
        }
        Err(error) => {
            tracing::warn!(cluster = name, %error, "endpoints not resolved");
            proxy.handle().updates().failed(Kind::Endpoints, &name);
            if known.resolved.is_none() {
                let nobody = Assignment::default();
                publish(proxy, &name, &nobody);
                known.resolved = Some(nobody);
            }
            let (first, most) = resolving.after_failure;
            let again = first.saturating_mul(1 << known.failures.min(16)).min(most);
            known.failures += 1;
            again
        }
    };
    known.due = Some(Instant::now() + again + jitter(resolving));
}

fn publish(proxy: &Proxy, name: &str, resolved: &Assignment) {
    let mut updater = proxy.updater();
    updater.upsert_endpoints(name, resolved.clone());
    updater.publish();
}

/// The endpoints of a cluster that is not in force yet, for those who wait for them. None: its endpoints are no names.
pub(crate) async fn first(discovery: &Discovery) -> Option<Assignment> {
    match resolve(&by_name(discovery)?).await {
        Ok((resolved, _)) => Some(resolved),
        Err(error) => {
            tracing::warn!(%error, "endpoints not resolved");
            Some(Assignment::default())
        }
    }
}

fn jitter(resolving: &Resolving) -> Duration {
    let most = u64::try_from(resolving.jitter.as_millis()).unwrap_or(u64::MAX);
    let chosen = Random::default().next().checked_rem(most);
    Duration::from_millis(chosen.unwrap_or(0))
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

/// The template with every name replaced by its addresses, and for how long they all hold. Err: a name does not resolve.
async fn resolve(cluster: &Named) -> io::Result<(Assignment, Option<Duration>)> {
    let mut least: Option<Duration> = None;
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
                let (found, ttl) = addresses(endpoint, &cluster.resolving, cluster.logical).await?;
                endpoints.extend(found);
                least = [least, ttl].into_iter().flatten().min();
            }
            level.push(Locality {
                endpoints,
                ..locality.clone()
            });
        }
        resolved.priorities.push(level);
    }
    Ok((resolved, least))
}

/// Addresses of a name, and for how long they hold, where that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct LookedUp {
    pub(crate) addresses: Vec<SocketAddr>,
    ttl: Option<Duration>,
}

/// What Envoy takes for how long an answer of `getaddrinfo` holds.
const MACHINE_TTL: Duration = Duration::from_secs(60);

// === impl LookedUp ===

impl LookedUp {
    /// When the name is due again.
    pub(crate) fn refresh(&self, resolving: &Resolving) -> Duration {
        by_ttl(resolving, self.ttl)
    }
}

/// An answer that does not hold at all says nothing.
fn by_ttl(resolving: &Resolving, ttl: Option<Duration>) -> Duration {
    match (resolving.by_ttl, ttl.filter(|ttl| !ttl.is_zero())) {
        (Some(least), Some(ttl)) => ttl.max(least),
        _ => resolving.refresh,
    }
}

/// The addresses of a name that may be used, in an order that stays.
pub(crate) async fn look_up_host(host: &str, port: u16, resolving: &Resolving) -> io::Result<LookedUp> {
    let default = Servers::default();
    let servers = match &resolving.resolver {
        Some(Resolver::Servers(servers)) => Some(&**servers),
        Some(Resolver::Machine) => None,
        // Who asks how long an answer holds asks a server for it, as Envoy always does.
        None => resolving.by_ttl.map(|_| &default),
    };
    let mut found = match servers {
        Some(servers) => of_servers(host, port, resolving.family, servers).await?,
        None => LookedUp {
            addresses: tokio::net::lookup_host((host, port)).await?.collect(),
            ttl: resolving.resolver.is_some().then_some(MACHINE_TTL),
        },
    };
    let has_v4 = found.addresses.iter().any(SocketAddr::is_ipv4);
    found.addresses.retain(|address| match resolving.family {
        Family::V4Only => address.is_ipv4(),
        Family::V6Only => address.is_ipv6(),
        Family::V4Preferred => address.is_ipv4() || !has_v4,
        Family::All => true,
    });
    // Resolvers turn their answers round; the same addresses are the same endpoints.
    found.addresses.sort_unstable();
    found.addresses.dedup();
    Ok(found)
}

async fn of_servers(host: &str, port: u16, family: Family, servers: &Servers) -> io::Result<LookedUp> {
    let v4 = || dns_client::look_up(host, false, servers);
    let v6 = || dns_client::look_up(host, true, servers);
    let found = match family {
        Family::V4Only => vec![v4().await?],
        Family::V6Only => vec![v6().await?],
        Family::V4Preferred => match v4().await {
            Ok(found) if !found.addresses.is_empty() => vec![found],
            _ => vec![v6().await?],
        },
        Family::All => match tokio::join!(v4(), v6()) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => [v4, v6].into_iter().flatten().collect(),
        },
    };
    let way = [
        !servers.routable_only || dns_client::is_routable(false),
        !servers.routable_only || dns_client::is_routable(true),
    ];
    let addresses = found.iter().flat_map(|found| &found.addresses);
    Ok(LookedUp {
        addresses: addresses
            .filter(|address| way[usize::from(address.is_ipv6())])
            .map(|address| SocketAddr::new(*address, port))
            .collect(),
        ttl: found.iter().filter_map(|found| found.ttl).min(),
    })
}

async fn addresses(
    endpoint: &Arc<Endpoint>,
    resolving: &Resolving,
    logical: bool,
) -> io::Result<(Vec<Arc<Endpoint>>, Option<Duration>)> {
    let Target::Name { host, port } = &endpoint.address else {
        return Ok((vec![Arc::clone(endpoint)], None));
    };
    let LookedUp {
        addresses: mut found,
        ttl,
    } = look_up_host(host, *port, resolving).await?;
    // One endpoint, which is at all of them.
    let others = match logical {
        true => found.split_off(found.len().min(1)),
        false => Vec::new(),
    };
    let at = |address| {
        Arc::new(Endpoint {
            address: Target::Address(Address::Socket(address)),
            others: others.clone(),
            hostname: match endpoint.hostname.is_empty() {
                true => host.clone(),
                false => endpoint.hostname.clone(),
            },
            ..Endpoint::clone(endpoint)
        })
    };
    Ok((found.into_iter().map(at).collect(), ttl))
}
