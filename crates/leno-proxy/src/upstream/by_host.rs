//! Clusters whose endpoint is the request's own host (`envoy.clusters.dynamic_forward_proxy`): what is known of hosts.
//!
//! A worker resolves for itself. What is due again is resolved behind the requests that go on with what is known; what
//! nobody asks for any more is forgotten.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_engine::compile::cluster::{BalancePolicy, Cluster, Discovery};
use leno_engine::compile::dns_cache::DnsCache;
use leno_engine::compile::endpoint::{Assignment, Endpoint, Locality, LocalityName};
use leno_engine::decide::balance::{Balancer, EndpointState, Host, PickContext, PickError};
use leno_engine::decide::filter::Unresolved;

use super::Upstream;
use crate::resolve::look_up_host;

#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: RefCell<HashMap<Name, Known>>,
    /// Requests that wait.
    waiting: Cell<u32>,
}

/// A host and a port.
type Name = (String, u16);

#[derive(Debug)]
struct Known {
    /// None: it does not resolve.
    endpoint: Option<Arc<Endpoint>>,
    /// Where each of its addresses is an endpoint.
    balancer: Option<RefCell<Balancer>>,
    state: Rc<EndpointState>,
    due: Instant,
    used: Cell<Instant>,
    failures: u32,
    /// Somebody is at it.
    looked_up: Cell<bool>,
}

/// A request that waits, until dropped.
struct Waiting<'h>(&'h Cell<u32>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

// === impl Upstream ===

impl Upstream {
    /// Waits until a host is resolved, by its cluster's own rules.
    pub(crate) async fn resolve_own(self: &Rc<Self>, authority: &[u8]) -> Result<(), Unresolved> {
        match &self.cluster().discovery {
            Discovery::DynamicForward(forward) => self.resolve(authority, &forward.cache).await,
            _ => Ok(()),
        }
    }

    /// The same for so long at most. What does not resolve is not there when it is picked.
    pub(crate) async fn resolve_within(
        self: &Rc<Self>,
        authority: &[u8],
        patience: Duration,
    ) -> Result<(), Unresolved> {
        match tokio::time::timeout(patience, self.resolve_own(authority)).await {
            Err(_) => Err(Unresolved::TooLate),
            Ok(Err(Unresolved::Failed)) => Ok(()),
            Ok(result) => result,
        }
    }

    /// Waits until a host is resolved, by these rules.
    pub(crate) async fn resolve(
        self: &Rc<Self>,
        authority: &[u8],
        cache: &DnsCache,
    ) -> Result<(), Unresolved> {
        let cluster = self.cluster();
        let name = name(authority, &cluster).ok_or(Unresolved::Failed)?;
        if let Some(known) = self.hosts.known.borrow().get(&name) {
            let is_due = known.due <= Instant::now();
            match (&known.endpoint, is_due) {
                (Some(_), true) => self.look_up_behind(&name, known),
                (Some(_), false) => {}
                (None, true) if !known.looked_up.get() => {}
                (None, _) => return Err(Unresolved::Failed),
            }
            if known.endpoint.is_some() {
                return Ok(());
            }
        } else if self.hosts.known.borrow().len() >= cache.max_hosts as usize {
            return Err(Unresolved::TooManyHosts);
        }
        let waiting = &self.hosts.waiting;
        if waiting.get() >= cache.max_pending {
            return Err(Unresolved::TooManyWait);
        }
        waiting.set(waiting.get() + 1);
        let _waits = Waiting(waiting);
        match self.look_up(cache, &name).await {
            true => Ok(()),
            false => Err(Unresolved::Failed),
        }
    }

    fn look_up_behind(self: &Rc<Self>, name: &Name, known: &Known) {
        if known.looked_up.replace(true) {
            return;
        }
        let (this, name) = (Rc::clone(self), name.clone());
        tokio::task::spawn_local(async move {
            let cluster = this.cluster();
            if let Discovery::DynamicForward(forward) = &cluster.discovery {
                this.look_up(&forward.cache, &name).await;
            }
        });
    }

    /// Whether there is an address, be it an old one.
    async fn look_up(&self, cache: &DnsCache, name: &Name) -> bool {
        let resolving = &cache.resolving;
        let looking = look_up_host(&name.0, name.1, resolving);
        let found = match cache.timeout {
            None => looking.await,
            Some(limit) => match tokio::time::timeout(limit, looking).await {
                Ok(found) => found,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            },
        };
        let found = found.ok();
        let address = found.as_ref().and_then(|found| found.addresses.first().copied());
        let now = Instant::now();
        let mut all = self.hosts.known.borrow_mut();
        let known = all.entry(name.clone()).or_insert_with(|| Known {
            endpoint: None,
            balancer: None,
            state: Rc::default(),
            due: now,
            used: Cell::new(now),
            failures: 0,
            looked_up: Cell::new(false),
        });
        known.looked_up.set(false);
        match address {
            Some(address) => {
                let others = found.iter().flat_map(|found| found.addresses.iter().skip(1));
                let endpoint = Endpoint {
                    hostname: name.0.clone(),
                    others: others.copied().collect(),
                    ..Endpoint::at(address)
                };
                if let Some(found) = &found {
                    known.balance(&self.cluster(), &name.0, &found.addresses, self.random.next());
                }
                // The same again: what is pooled stays in use.
                if known.endpoint.as_deref() != Some(&endpoint) {
                    known.endpoint = Some(Arc::new(endpoint));
                }
                known.failures = 0;
                known.due = now + found.map_or(resolving.refresh, |found| found.refresh(resolving));
            }
            None => {
                let (first, most) = resolving.after_failure;
                known.due = now + first.saturating_mul(1 << known.failures.min(16)).min(most);
                known.failures += 1;
            }
        }
        known.endpoint.is_some()
    }

    /// The endpoint that a request names, if it is resolved.
    pub(super) fn named(&self, cx: &PickContext<'_>) -> Result<Host, PickError> {
        let cluster = self.cluster();
        let name = cx.authority.and_then(|authority| name(authority, &cluster));
        let name = name.ok_or(PickError::NoHealthyEndpoint)?;
        let all = self.hosts.known.borrow();
        let known = all.get(&name).ok_or(PickError::NoHealthyEndpoint)?;
        known.used.set(Instant::now());
        if let Some(balancer) = &known.balancer {
            return balancer.borrow_mut().pick(cx);
        }
        Ok(Host {
            endpoint: known.endpoint.clone().ok_or(PickError::NoHealthyEndpoint)?,
            state: Rc::clone(&known.state),
        })
    }

    /// Forgets hosts that nobody has asked for.
    pub(super) fn forget(&self, now: Instant) {
        let state = self.state.borrow();
        if let Discovery::DynamicForward(forward) = &state.cluster.discovery {
            let ttl = forward.cache.host_ttl;
            let is_used = |known: &Known| now.saturating_duration_since(known.used.get()) < ttl;
            self.hosts.known.borrow_mut().retain(|_, known| is_used(known));
        }
    }
}

// === impl Known ===

impl Known {
    /// Over all of its addresses, where the cluster wants that.
    fn balance(&mut self, cluster: &Cluster, host: &str, addresses: &[SocketAddr], seed: u64) {
        let Discovery::DynamicForward(forward) = &cluster.discovery else {
            return;
        };
        let Some(policy) = &forward.each_address else {
            return;
        };
        let endpoint = |address: &SocketAddr| {
            Arc::new(Endpoint {
                hostname: host.to_owned(),
                ..Endpoint::at(*address)
            })
        };
        let locality = Locality {
            name: LocalityName::default(),
            weight: 1,
            endpoints: addresses.iter().map(endpoint).collect(),
        };
        let assignment = Arc::new(Assignment {
            priorities: vec![vec![locality]],
            overprovisioning: 140,
            ..Assignment::default()
        });
        let cluster = Cluster {
            balance: BalancePolicy::clone(policy),
            ..cluster.clone()
        };
        match &self.balancer {
            Some(balancer) => balancer.borrow_mut().update(&cluster, assignment, None),
            None => self.balancer = Some(RefCell::new(Balancer::new(&cluster, assignment, None, seed))),
        }
    }
}

/// `host:port`, `[::1]:port`; without a port the one of the scheme that the cluster speaks.
fn name(authority: &[u8], cluster: &Cluster) -> Option<Name> {
    let text = std::str::from_utf8(authority).ok()?;
    let usual = if cluster.transport.default.tls().is_some() {
        443
    } else {
        80
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, usual),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let host = match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    (!host.is_empty()).then_some((host, port))
}
