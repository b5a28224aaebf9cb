//! What is known, what of it is asked for, and who waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::config_source::{Origin, Source};
use leno_engine::compile::endpoint::Assignment;
use leno_engine::jwt::Remotes;
use leno_xds::client::Received;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::feeds::Feeds;
use super::hosts::{VirtualHosts, route_of};
use super::own::Own;
use super::rotation::Rotation;
use super::trusted::Trusted;
use crate::lookup::{Answer, Question, Want};
use crate::resolve;
use crate::resources::{Compiled, Kind, Name, Needs, Resources};
use crate::state::Defaults;

/// Names that somebody waits for; of more nobody is asked.
const MAX_WAITING: usize = 4096;
/// Names that were asked for and do not exist; the oldest is forgotten beyond this.
const MAX_NEGATIVE: usize = 1024;

/// What the task keeps beside its connections.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) resources: Resources,
    /// Names that wildcard answers brought; they are roots.
    pub(super) roots: BTreeSet<Name>,
    /// Names that workers asked for, oldest first; they are roots too.
    pub(super) asked: VecDeque<Name>,
    /// What workers asked for of a source that they named.
    pub(super) sought: Needs,
    /// Those of route configurations that have some of their hosts from elsewhere.
    pub(super) virtual_hosts: VirtualHosts,
    /// What is followed from the beginning to the end.
    pub(super) always: Needs,
    /// Of the roots, what is the bootstrap's own: nobody can change it.
    pub(super) fixed: BTreeSet<Name>,
    /// Of what is here, what an earlier process has kept and no source was told of yet.
    pub(super) restored: Vec<Name>,
    /// Of these all that there is was kept by an earlier process, and their source has not said anything yet: what is not
    /// there may be on its way.
    pub(super) unheard: BTreeSet<Kind>,
    /// Names that are subscribed to one by one, and where.
    pub(super) subscribed: Needs,
    /// Since when.
    pub(super) requested: BTreeMap<Name, Instant>,
    /// What is to be said again until then, or it is gone.
    pub(super) leases: BTreeMap<Name, (Instant, Source)>,
    pub(super) waiting: BTreeMap<Name, Vec<oneshot::Sender<Answer>>>,
    pub(super) answered: BTreeSet<String>,
    /// Of the last response of a kind that was taken whole.
    pub(super) versions: BTreeMap<Kind, String>,
    /// Secrets that name files.
    pub(super) rotation: Rotation,
    /// Sets of keys that are fetched: a new configuration has what an older one got.
    pub(super) keys: Remotes,
    /// Whom the mesh trusts.
    pub(super) trust: Trusted,
    /// What only a gateway has.
    pub(super) own: Own,
    /// What clusters that wait are waiting for.
    pub(super) resolving: JoinSet<(String, Assignment)>,
}

// === impl Memory ===

impl Memory {
    /// Known from the beginning, and nobody can change it.
    pub(super) fn fix(&mut self, name: Name, compiled: Compiled, defaults: &Defaults, now: Instant) {
        self.resolve(&compiled, defaults);
        self.roots.insert(name.clone());
        self.fixed.insert(name.clone());
        self.resources
            .accept(name, String::new(), Bytes::new(), compiled, now);
    }

    pub(super) fn ask(&mut self, question: Question) {
        let name = match question.want {
            Want::Listener(destination) => (Kind::Listener, listener_name(destination)),
            Want::Route(name) => (Kind::Route, name),
            Want::Cluster(name) => (Kind::Cluster, name),
            Want::VirtualHost(name) => (Kind::VirtualHost, name),
        };
        // Dropped, the question stays without an answer.
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&name) {
            return;
        }
        match question.source {
            // What is to come anyway is not asked for.
            Some(_) if self.roots.contains(&name) => {}
            Some(source) => {
                self.sought.entry(name.clone()).or_insert(source);
            }
            None if self.asked.contains(&name) => {}
            None => self.asked.push_back(name.clone()),
        }
        self.waiting.entry(name).or_default().push(question.answer);
    }

    /// Everything that somebody refers to.
    pub(super) fn reachable(&self) -> Needs {
        let roots = self.roots.iter().chain(&self.asked).cloned();
        let roots = roots.map(|name| (name, Source::ads()));
        let always = self.always.iter().chain(&self.sought);
        let always = always.map(|(name, source)| (name.clone(), source.clone()));
        self.resources.reachable(roots.chain(always))
    }

    pub(super) fn has_listener(&self) -> bool {
        self.roots.iter().any(|(kind, _)| *kind == Kind::Listener)
    }

    pub(super) fn roots_in_force(&self) -> bool {
        self.roots.iter().all(|name| self.resources.is_active(name))
    }

    /// A cluster whose endpoints are names waits for their addresses, so that its first request finds some.
    pub(super) fn resolve(&mut self, compiled: &Compiled, defaults: &Defaults) {
        let Compiled::Cluster(cluster) = compiled else {
            return;
        };
        let mut cluster = cluster.clone();
        defaults.complete(&mut cluster);
        let (name, discovery) = (cluster.name, cluster.discovery);
        if matches!(
            discovery,
            Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }
        ) {
            let waits = cluster.waits_for_names;
            self.resolving.spawn(async move {
                let first = match waits {
                    true => resolve::first(&discovery).await,
                    false => None,
                };
                (name, first.unwrap_or_default())
            });
        }
    }

    pub(super) fn needs_tick(&self) -> bool {
        !self.waiting.is_empty()
            || !self.leases.is_empty()
            || self.resources.is_warming()
            || self.trust.is_held()
    }

    /// How long what was said just now is to live.
    pub(super) fn lease(&mut self, kind: Kind, received: &Received, origin: &Origin, now: Instant) {
        for (name, lease) in &received.leases {
            let name = (kind, name.clone());
            let source = Source {
                origin: origin.clone(),
                initial_fetch_timeout: None,
            };
            match lease {
                Some(lease) => self.leases.insert(name, (now + *lease, source)),
                None => self.leases.remove(&name),
            };
        }
    }

    /// What was not said again in time is gone, as if it had been removed.
    pub(super) fn expire(&mut self, feeds: &mut Feeds, now: Instant) {
        let over = self.leases.iter().filter(|(_, (until, _))| *until <= now);
        let over: Vec<_> = over
            .map(|(name, (_, source))| (name.clone(), source.clone()))
            .collect();
        for (name, source) in over {
            tracing::warn!(resource = %name.1, kind = ?name.0, "its time to live is over");
            self.leases.remove(&name);
            feeds.expire(&source, &name);
            self.roots.remove(&name);
            self.resources.remove(&name, now);
        }
    }

    /// A worker that no longer waits has closed its end: nothing to tell it.
    pub(super) fn answer(&mut self) {
        let (resources, asked, sought) = (&self.resources, &mut self.asked, &mut self.sought);
        self.waiting.retain(|name, waiters| {
            // A virtual host is there when it is in its table.
            let table = match name.0 {
                Kind::VirtualHost => route_of(&name.1).map(|route| (Kind::Route, route.to_owned())),
                _ => None,
            };
            let waits = table.is_some_and(|table| resources.waits(&table));
            let answer = match (resources.is_active(name) && !waits, resources.is_absent(name)) {
                (true, _) => Answer::Found,
                (_, true) => {
                    // Asked again, it is asked for again.
                    sought.remove(name);
                    Answer::Absent
                }
                _ => {
                    waiters.retain(|w| !w.is_closed());
                    if waiters.is_empty() {
                        // Nobody waits and nobody knows it: asked again, it is subscribed to again.
                        asked.retain(|a| a != name);
                        sought.remove(name);
                    }
                    return !waiters.is_empty();
                }
            };
            for waiter in waiters.drain(..) {
                let _ = waiter.send(answer);
            }
            false
        });
    }

    pub(super) fn forget_old_negatives(&mut self) {
        let mut negatives = self.asked.iter().filter(|n| self.resources.is_absent(n)).count();
        while negatives > MAX_NEGATIVE {
            let Some(at) = self.asked.iter().position(|n| self.resources.is_absent(n)) else {
                return;
            };
            self.asked.remove(at);
            negatives -= 1;
        }
    }
}

/// The name of the listener for an original destination: `240.240.0.7_9080`, `[fd00::7]_9080`.
fn listener_name(destination: SocketAddr) -> String {
    match destination {
        SocketAddr::V4(v4) => format!("{}_{}", v4.ip(), v4.port()),
        SocketAddr::V6(v6) => format!("[{}]_{}", v6.ip(), v6.port()),
    }
}
