//! The proxy's side of ADS: one task that owns the client, compiles what arrives and publishes it to the workers.
//!
//! It also answers the workers' questions for what they met and do not know (on demand): an answer is what the
//! control plane said. Where it said nothing in time the question stays unanswered, and the connection or request
//! fails with a flag; nothing is ever let through because nobody answered.

mod compile;
mod counted;
mod dump;
mod feeds;
mod file;
mod hosts;
mod keeper;
mod memory;
mod own;
mod rest;
mod resume;
mod rotation;
mod said;
mod stream;
mod text;
mod trust;
mod trusted;
mod virtual_hosts;
mod way;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_dns::NameTable;
use leno_engine::compile::Files;
use leno_engine::compile::config_source::{Origin, Source};
use leno_engine::compile::endpoint::Assignment;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::type_url;
use leno_xds::WILDCARD;
use leno_xds::client::{Lookup, Received};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Proxy;
use crate::lookup::Question;
use crate::resources::{Change, Compiled, Kind, Name, Needs, Rejected, Resources};
use crate::state::Refused;

pub use compile::{hostname, time_zone};
pub use dump::{Dump, Dumped, Refusal, Version};
pub use keeper::Keeper;
pub use stream::Via;
pub use text::Text;
pub use trust::Teller;

use compile::{Disk, SystemTrust, compile, name_table};
use dump::shown;
use feeds::Feeds;
use hosts::route_of;
use memory::Memory;
use rotation::Recorded;
use said::Said;

const TICK: Duration = Duration::from_millis(250);
/// How often a gateway looks whether certificates were replaced, or expired, and ports became free.
const LOOK: Duration = Duration::from_secs(2);

/// What the rest of the process sees of the task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub connected: bool,
    /// The roots are in force: the proxy can serve.
    pub ready: bool,
    /// Why there is no connection.
    pub error: Option<String>,
    /// What the bootstrap itself says and cannot be in force.
    pub refused: Option<String>,
    /// Of a gateway: what cannot be served as it is configured (a port taken, a certificate missing), and how to mend
    /// it.
    pub problems: Vec<Problem>,
}

/// What it is about, and what is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    pub message: String,
}

pub struct Discovery {
    pub node: Node,
    /// What `ads` means in configuration sources.
    pub ads: Option<Via>,
    pub proxy: Arc<Proxy>,
    pub questions: mpsc::UnboundedReceiver<Question>,
    pub dumps: mpsc::Receiver<oneshot::Sender<Dump>>,
    /// Why the workload is unhealthy; None: healthy.
    pub health: watch::Receiver<Option<String>>,
    pub names: watch::Sender<Arc<NameTable>>,
    /// Whose short names are answered.
    pub namespace: String,
    pub state: watch::Sender<State>,
    pub random: fn() -> u32,
    pub mode: Mode,
    /// Who holds a port of this machine, for messages.
    pub port_owner: fn(SocketAddr) -> Option<String>,
    /// Reads what is YAML or JSON; None: nothing is.
    pub text: Option<Text>,
    /// Keeps what is in force for the next process.
    pub keeper: Option<Keeper>,
    /// Of a mesh: who is told whom to trust.
    pub trust: Option<Teller>,
}

/// What the proxy wants to know.
#[derive(Debug)]
pub enum Mode {
    /// Of a mesh: its own listeners, and what its workload really calls.
    OnDemand,
    /// As on demand, but what it serves is opened on the machine's own ports, and may be nothing.
    Gateway,
    /// As an Envoy bootstrap says it: everything that these sources have, and what is static.
    Bootstrap(Box<Dynamic>),
}

/// What a bootstrap makes known by itself and by its `dynamic_resources`.
#[derive(Debug, Default)]
pub struct Dynamic {
    pub listeners: Option<Source>,
    pub clusters: Option<Source>,
    /// Layers of the runtime.
    pub layers: Needs,
    pub resources: Vec<(Name, Compiled)>,
}

enum Event {
    Said(Box<Said>),
    Question(Question),
    Dump(oneshot::Sender<Dump>),
    Health,
    /// What a cluster's names resolve to.
    Resolved(String, Assignment),
    Tick,
    /// The files that a secret names.
    Moved(String),
    /// What is in force is to be kept now.
    Keep,
    Stop,
}

impl Discovery {
    /// Runs until the workers' side of the questions is gone.
    #[allow(clippy::disallowed_methods)]
    pub async fn run(mut self) {
        let in_mesh = !matches!(self.mode, Mode::Bootstrap(_));
        let mut memory = Memory {
            resources: Resources::new(in_mesh),
            ..Memory::default()
        };
        let way = self.ads.as_ref().and_then(way::to_control_plane);
        let mut feeds = Feeds::new(
            self.node.clone(),
            self.ads.take(),
            self.text.take(),
            self.random,
            Arc::clone(&self.proxy),
        );
        self.begin(&mut memory, &mut feeds, Instant::now());
        if let Some((name, compiled)) = way {
            memory.fix(name, compiled, self.proxy.updater().defaults(), Instant::now());
        }
        self.settle(&mut memory, &mut feeds, Instant::now());
        self.resume(&mut memory, &mut feeds);
        feeds.flush();
        let mut tick = tokio::time::interval(TICK);
        let mut look = tokio::time::interval(LOOK);
        loop {
            let needs_tick = memory.needs_tick();
            let event = tokio::select! {
                said = feeds.next() => Event::Said(Box::new(said)),
                question = self.questions.recv() => question.map_or(Event::Stop, Event::Question),
                Some(reply) = self.dumps.recv() => Event::Dump(reply),
                Ok(()) = self.health.changed() => Event::Health,
                Some(Ok((cluster, resolved))) = memory.resolving.join_next() => Event::Resolved(cluster, resolved),
                name = memory.rotation.moved() => Event::Moved(name),
                _ = tick.tick(), if needs_tick => Event::Tick,
                _ = look.tick(), if matches!(self.mode, Mode::Gateway) => Event::Tick,
                () = Keeper::due(&mut self.keeper) => Event::Keep,
            };
            let now = Instant::now();
            match event {
                Event::Said(said) => self.take(&mut memory, &mut feeds, *said, now),
                Event::Question(question) => memory.ask(question),
                Event::Dump(reply) => {
                    // Nobody waits any more: nothing to do.
                    let _ = reply.send(self.dump(&mut memory, now));
                }
                Event::Health => feeds.set_health(self.health.borrow_and_update().clone()),
                Event::Resolved(cluster, assignment) => memory.resources.resolved(&cluster, assignment),
                Event::Tick => {}
                Event::Moved(secret) => self.read_again(&mut memory, &feeds, secret, now),
                Event::Keep => self.keep(&memory),
                Event::Stop => return,
            }
            self.acknowledge_trust(&mut memory, &mut feeds);
            memory.expire(&mut feeds, now);
            self.settle(&mut memory, &mut feeds, now);
            feeds.flush();
        }
    }

    /// Asks for the roots.
    fn begin(&mut self, memory: &mut Memory, feeds: &mut Feeds, now: Instant) {
        let Mode::Bootstrap(dynamic) = &mut self.mode else {
            feeds.subscribe_type(type_url::LISTENER);
            feeds.subscribe_type(type_url::NAME_TABLE);
            feeds.set_health(self.health.borrow().clone());
            self.ask_for_trust(memory);
            return;
        };
        memory.always = std::mem::take(&mut dynamic.layers);
        memory.resources = std::mem::take(&mut memory.resources).waiting_for(memory.always.clone());
        for (name, compiled) in std::mem::take(&mut dynamic.resources) {
            memory.fix(name, compiled, self.proxy.updater().defaults(), now);
        }
        let roots = [
            (Kind::Cluster, &dynamic.clusters),
            (Kind::Listener, &dynamic.listeners),
        ];
        for (kind, source) in roots {
            if let Some(source) = source {
                feeds.subscribe(source, kind, WILDCARD);
                self.proxy
                    .handle()
                    .updates()
                    .asked(kind, WILDCARD, &source.origin);
            }
        }
        self.restore(memory, feeds, now);
    }

    /// What a source says: compile, remember, acknowledge.
    fn take(&mut self, memory: &mut Memory, feeds: &mut Feeds, said: Said, now: Instant) {
        let origin = said.key.origin().clone();
        let (received, connection) = feeds.take(said, (self.random)());
        self.report(&origin, connection);
        let Some((key, received)) = received else { return };
        memory.answered.insert(received.type_url.clone());
        self.keeper.iter_mut().for_each(Keeper::mark);
        let errors = match Kind::of(&received.type_url) {
            Some(kind) => {
                memory.unheard.remove(&kind);
                let errors = self.take_resources(memory, feeds, kind, &received, now);
                self.count(kind, &received, key.origin(), &errors);
                memory.lease(kind, &received, key.origin(), now);
                if errors.is_empty() {
                    memory.versions.insert(kind, received.version.clone());
                }
                errors
            }
            None => self.take_names(&received),
        };
        self.acknowledge(memory, feeds, (key, received.ticket), &errors);
    }

    fn take_resources(
        &mut self,
        memory: &mut Memory,
        feeds: &Feeds,
        kind: Kind,
        received: &Received,
        now: Instant,
    ) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        let said = received.updates.iter().map(|(name, ..)| name);
        memory
            .resources
            .expect(kind, said.chain(&received.removed).cloned());
        for (name, version, body) in &received.updates {
            let key = (kind, name.clone());
            if memory.fixed.contains(&key) {
                tracing::warn!(resource = %name, ?kind, "the bootstrap has one of this name, which stays");
                continue;
            }
            if self.is_root(memory, &key) {
                memory.roots.insert(key.clone());
            }
            if let Some(taken) = self.take_trust(memory, (kind, name), body) {
                errors.extend(taken.err().map(|why| (name.clone(), why)));
                continue;
            }
            if memory.resources.is_same(&key, version, &body.value) {
                continue;
            }
            let files = self.files();
            let files = Recorded::new(&*files, &memory.keys);
            let hosted = match kind {
                Kind::VirtualHost => self.take_virtual_host(memory, feeds, name, Some(&body.value), now),
                _ => Ok(()),
            };
            let compiled = hosted.and_then(|()| self.compile(memory, feeds, kind, &body.value, &files));
            match compiled {
                Ok(compiled) => {
                    if kind == Kind::Secret {
                        memory.rotation.follow(name, version, &body.value, &files);
                    }
                    memory.resolve(&compiled, self.proxy.updater().defaults());
                    let body = shown(kind, &body.value);
                    memory.resources.accept(key, version.clone(), body, compiled, now);
                }
                Err(why) => {
                    tracing::warn!(resource = %name, kind = ?kind, %why, "rejected; the last good version stays in force");
                    let rejected = Rejected {
                        why: why.clone(),
                        version: version.clone(),
                        body: shown(kind, &body.value),
                        since: now,
                    };
                    memory.resources.reject(key, rejected);
                    errors.push((name.clone(), why));
                }
            }
        }
        for name in &received.removed {
            let key = (kind, name.clone());
            if !memory.fixed.contains(&key) {
                memory.roots.remove(&key);
                memory.resources.remove(&key, now);
                if kind == Kind::VirtualHost
                    && let Err(why) = self.take_virtual_host(memory, feeds, name, None, now)
                {
                    tracing::debug!(host = %name, %why, "nobody has it");
                }
            }
        }
        errors
    }

    /// The files that it names have been replaced; while they do not fit together, the last good ones stay.
    fn read_again(&self, memory: &mut Memory, feeds: &Feeds, secret: String, now: Instant) {
        let Some((body, version)) = memory.rotation.of(&secret) else {
            return;
        };
        match self.compile(memory, feeds, Kind::Secret, &body, &*self.files()) {
            Ok(compiled) => {
                tracing::debug!(secret, "its files are taken again");
                let name = (Kind::Secret, secret);
                memory
                    .resources
                    .accept(name, version, shown(Kind::Secret, &body), compiled, now);
            }
            Err(why) => tracing::warn!(secret, %why, "its files are not taken; the last good ones stay"),
        }
    }

    fn compile(
        &self,
        memory: &Memory,
        feeds: &Feeds,
        kind: Kind,
        body: &[u8],
        files: &dyn Files,
    ) -> Result<Compiled, String> {
        let body = match kind {
            Kind::Route => memory.virtual_hosts.put_into(body),
            _ => body.into(),
        };
        let compiled = compile(kind, &body, files)?;
        Self::check_virtual_hosts(&compiled, feeds)?;
        let has = |origin: &Origin| feeds.has(origin);
        let conflict = memory.resources.conflict(&compiled, &memory.subscribed, has);
        conflict.map_or(Ok(compiled), Err)
    }

    fn take_names(&mut self, received: &Received) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        for (name, _, body) in &received.updates {
            match name_table(body, &self.namespace) {
                Ok(table) => {
                    self.names.send_replace(Arc::new(table));
                }
                Err(why) => errors.push((name.clone(), why)),
            }
        }
        errors
    }

    /// After every event: put in force what can be, drop what is gone after what replaces it, subscribe to what is
    /// named, answer.
    fn settle(&mut self, memory: &mut Memory, feeds: &mut Feeds, now: Instant) {
        self.promote(memory, feeds, now);
        let departed = memory.resources.depart(now);
        self.apply(memory, departed);
        if matches!(self.mode, Mode::Gateway) {
            memory.own.tend(&self.proxy, &self.state, self.port_owner);
        }
        memory.forget_old_negatives();
        self.follow(memory, feeds, now);
        let resources = &memory.resources;
        memory
            .rotation
            .retain(|secret| resources.is_known(&(Kind::Secret, secret.to_owned())));
        memory.answer();
        let ready = match &self.mode {
            Mode::OnDemand => memory.answered.contains(type_url::LISTENER) && memory.has_listener(),
            Mode::Gateway => memory.answered.contains(type_url::LISTENER),
            Mode::Bootstrap(dynamic) => {
                let answered = |source: &Option<Source>, kind: Kind| {
                    source.is_none() || memory.answered.contains(kind.type_url())
                };
                answered(&dynamic.listeners, Kind::Listener) && answered(&dynamic.clusters, Kind::Cluster)
            }
        };
        let ready = ready && memory.roots_in_force();
        self.state.send_if_modified(|s| {
            let first = ready && !s.ready;
            s.ready |= ready;
            first
        });
    }

    /// Subscriptions follow references: what can be reached from the roots is asked for, and nothing else.
    fn follow(&mut self, memory: &mut Memory, feeds: &mut Feeds, now: Instant) {
        let resources = &memory.resources;
        memory.sought.retain(|(kind, name), _| {
            let route = route_of(name).map(|route| (Kind::Route, route.to_owned()));
            *kind != Kind::VirtualHost || route.is_some_and(|route| resources.is_known(&route))
        });
        let mut wanted = memory.reachable();
        wanted.retain(|name, _| {
            let alone = self.comes_by_name(name.0) || memory.sought.contains_key(name);
            let of_all = matches!(name.0, Kind::Scope | Kind::VirtualHost);
            let one_of_all = of_all && name.1 != WILDCARD && !memory.sought.contains_key(name);
            alone && !one_of_all && !memory.roots.contains(name)
        });
        let same = |name: &Name, source: &Source, all: &Needs| {
            let other = all.get(name);
            other.is_some_and(|other| other.origin == source.origin)
        };
        let subscribed = memory.subscribed.iter();
        let old = subscribed.filter(|(name, source)| !same(name, source, &wanted));
        let old: Vec<_> = old.map(|(name, source)| (name.clone(), source.clone())).collect();
        let mut changes = Vec::new();
        for (name, source) in old {
            feeds.unsubscribe(&source, &name);
            memory.leases.remove(&name);
            match name.1 == WILDCARD {
                true => {
                    if name.0 == Kind::VirtualHost {
                        memory.virtual_hosts.clear();
                    }
                    changes.extend(memory.resources.forget_all(name.0));
                }
                false => changes.extend(memory.resources.forget(&name)),
            }
            memory.subscribed.remove(&name);
            memory.requested.remove(&name);
        }
        for (name, source) in wanted {
            if let Entry::Vacant(new) = memory.subscribed.entry(name) {
                let (kind, name) = new.key();
                feeds.subscribe(&source, *kind, name);
                memory.requested.insert(new.key().clone(), now);
                new.insert(source);
            }
        }
        feeds.retain(|kind, origin| {
            self.root(kind).is_some_and(|source| source.origin == *origin)
                || memory
                    .subscribed
                    .iter()
                    .any(|(name, source)| name.0 == kind && source.origin == *origin)
        });
        self.apply(memory, changes);
    }

    /// Where all of a kind comes from.
    fn root(&self, kind: Kind) -> Option<&Source> {
        let Mode::Bootstrap(dynamic) = &self.mode else {
            return None;
        };
        match kind {
            Kind::Listener => dynamic.listeners.as_ref(),
            Kind::Cluster => dynamic.clusters.as_ref(),
            _ => None,
        }
    }

    /// Under a bootstrap listeners and clusters come all, or not at all.
    fn comes_by_name(&self, kind: Kind) -> bool {
        !matches!(kind, Kind::Cluster | Kind::Listener) || !matches!(self.mode, Mode::Bootstrap(_))
    }

    fn promote(&mut self, memory: &mut Memory, feeds: &Feeds, now: Instant) {
        let (unheard, answered) = (&memory.unheard, &memory.answered);
        let sought = &memory.sought;
        let changes = memory.resources.promote(now, |name, source| {
            if name.1 == WILDCARD {
                return answered.contains(name.0.type_url());
            }
            !self.comes_by_name(name.0) && !unheard.contains(&name.0) && !sought.contains_key(name)
                || matches!(feeds.lookup(source, name), Lookup::Absent | Lookup::Rejected)
        });
        self.apply(memory, changes);
    }

    /// Files of this machine that a resource may name.
    fn files(&self) -> Box<dyn Files> {
        match self.mode {
            Mode::OnDemand | Mode::Gateway => Box::new(SystemTrust),
            Mode::Bootstrap(_) => Box::new(Disk(self.proxy.handle().runtime().runtime().clone())),
        }
    }

    /// One batch is one new configuration.
    fn apply(&mut self, memory: &mut Memory, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let handle = self.proxy.handle();
        let mut updater = self.proxy.updater();
        for change in changes {
            match change {
                Change::Set(name, Compiled::Runtime(values)) => {
                    handle.runtime().discover(&name, values);
                    updater.take_runtime();
                }
                Change::Remove((Kind::Runtime, name)) => {
                    handle.runtime().discover(&name, BTreeMap::new());
                    updater.take_runtime();
                }
                Change::Set(name, Compiled::Endpoints(assignment)) => {
                    updater.upsert_endpoints(&name, *assignment)
                }
                Change::Set(name, Compiled::Secret(secret)) => updater.upsert_secret(&name, *secret),
                Change::Set(name, Compiled::Cluster(cluster)) => {
                    if let Err(error) = updater.upsert_cluster(*cluster) {
                        self.refused(memory, (Kind::Cluster, &name), &error);
                        tracing::error!(%error, cluster = %name, "the cluster is not in force");
                    }
                }
                Change::Set(_, Compiled::Route(table)) => updater.upsert_route(*table),
                Change::Set(_, Compiled::VirtualHost) | Change::Remove((Kind::VirtualHost, _)) => {}
                Change::Set(_, Compiled::Scope(scope)) => updater.upsert_scope(*scope),
                Change::Set(name, Compiled::Extension(extension)) => {
                    updater.upsert_extension(name, extension.filter)
                }
                Change::Remove((Kind::Scope, name)) => updater.remove_scope(&name),
                Change::Remove((Kind::Extension, name)) => updater.remove_extension(&name),
                Change::Set(name, Compiled::Listener(listener)) => {
                    let (listener, gateway) = (*listener, matches!(self.mode, Mode::Gateway));
                    match updater.upsert_listener(listener.clone()) {
                        Ok(()) => memory
                            .own
                            .opened(&name, gateway.then(|| updater.addresses(&name))),
                        Err(error) if gateway => memory.own.postpone(name, listener, &error, self.port_owner),
                        Err(error) => {
                            self.refused(memory, (Kind::Listener, &name), &error);
                            tracing::error!(%error, listener = %name, "the listener is not opened");
                        }
                    }
                }
                Change::Remove((Kind::Endpoints, name)) => updater.remove_endpoints(&name),
                Change::Remove((Kind::Secret, name)) => updater.remove_secret(&name),
                Change::Remove((Kind::Cluster, name)) => updater.remove_cluster(&name),
                Change::Remove((Kind::Route, name)) => updater.remove_route(&name),
                Change::Remove((Kind::Listener, name)) => {
                    memory.own.closed(&name);
                    updater.remove_listener(&name);
                }
            }
        }
        updater.publish();
        drop(updater);
        self.keeper.iter_mut().for_each(Keeper::mark);
    }

    /// Of the bootstrap itself an error is everybody's.
    fn refused(&self, memory: &Memory, (kind, name): (Kind, &str), error: &Refused) {
        if memory.fixed.contains(&(kind, name.to_owned())) {
            self.state
                .send_modify(|state| state.refused = Some(error.to_string()));
        }
    }

    /// Nobody asked for it by name: the wildcard brought it.
    fn is_root(&self, memory: &Memory, name: &Name) -> bool {
        match name.0 {
            Kind::Listener => !memory.asked.contains(name),
            Kind::Cluster => matches!(self.mode, Mode::Bootstrap(_)) && !memory.sought.contains_key(name),
            _ => false,
        }
    }
}
