//! The proxy's side of ADS: one task that owns the client, compiles what arrives and publishes it to the workers.
//!
//! It also answers the workers' questions for what they met and do not know (on demand): an answer is what the
//! control plane said. Where it said nothing in time the question stays unanswered, and the connection or request
//! fails with a flag; nothing is ever let through because nobody answered.

mod own;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use leno_dns::NameTable;
use leno_engine::compile::cluster::Discovery as ClusterDiscovery;
use leno_engine::compile::endpoint::Assignment;
use leno_engine::compile::{Files, Warnings, cluster, endpoint, listener, route};
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use leno_proto::google::protobuf::Any;
use leno_proto::type_url;
use leno_xds::client::{Client, Lookup, Received};
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::Proxy;
use crate::control_plane::ControlPlane;
use crate::grpc::{self, Channel, Receiver, Sender};
use crate::lookup::{Answer, Question, Want};
use crate::resolve;
use crate::resources::{Change, Compiled, Kind, Name, Resources};
use crate::secret;

use own::Own;

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Names that were asked for and do not exist; the oldest is forgotten beyond this.
const MAX_NEGATIVE: usize = 1024;
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

/// A resource as `leno config` shows it.
#[derive(Clone, Debug)]
pub struct Dumped {
    pub name: Name,
    pub version: String,
    pub body: Bytes,
    pub error: Option<String>,
}

pub struct Discovery {
    pub client: Client,
    pub control: ControlPlane,
    pub proxy: Arc<Proxy>,
    pub questions: mpsc::UnboundedReceiver<Question>,
    pub dumps: mpsc::Receiver<oneshot::Sender<Vec<Dumped>>>,
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
}

/// How much of the mesh the proxy wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its own listeners, and what its workload really calls.
    OnDemand,
    /// Everything that the control plane gives: wildcard LDS and CDS.
    Full,
    /// As on demand, but what it serves is opened on the machine's own ports, and may be nothing.
    Gateway,
}

struct Link {
    /// Keeps the connection open.
    _channel: Channel,
    sender: Sender<DeltaDiscoveryRequest>,
    receiver: Receiver<DeltaDiscoveryResponse>,
}

/// What the task keeps beside its connections.
#[derive(Default)]
struct Memory {
    resources: Resources,
    /// Names that wildcard answers brought; they are roots.
    roots: BTreeSet<Name>,
    /// Names that workers asked for, oldest first; they are roots too.
    asked: VecDeque<Name>,
    /// Names that are subscribed to one by one.
    subscribed: BTreeSet<Name>,
    waiting: BTreeMap<Name, Vec<oneshot::Sender<Answer>>>,
    answered: BTreeSet<String>,
    /// What only a gateway has.
    own: Own,
    /// What clusters that wait are waiting for.
    resolving: JoinSet<(String, Assignment)>,
}

enum Event {
    Linked(Result<Link, grpc::Error>),
    Message(Result<Option<DeltaDiscoveryResponse>, grpc::Error>),
    Question(Question),
    Dump(oneshot::Sender<Vec<Dumped>>),
    Health,
    /// What a cluster's names resolve to.
    Resolved(String, Assignment),
    Tick,
    Stop,
}

impl Discovery {
    /// Runs until the workers' side of the questions is gone.
    #[allow(clippy::disallowed_methods)]
    pub async fn run(mut self) {
        let mut memory = Memory::default();
        self.client.subscribe_wildcard(type_url::LISTENER);
        self.client.subscribe_wildcard(type_url::NAME_TABLE);
        if self.mode == Mode::Full {
            self.client.subscribe_wildcard(type_url::CLUSTER);
        }
        self.client.set_health(self.health.borrow().clone());
        let mut link: Option<Link> = None;
        let mut connecting = self.connect(Duration::ZERO);
        let mut tick = tokio::time::interval(TICK);
        let mut look = tokio::time::interval(LOOK);
        loop {
            let event = tokio::select! {
                result = &mut connecting, if link.is_none() => {
                    Event::Linked(result.unwrap_or_else(|e| Err(grpc::Error::Protocol(e.to_string()))))
                }
                message = next(&mut link) => Event::Message(message),
                question = self.questions.recv() => question.map_or(Event::Stop, Event::Question),
                Some(reply) = self.dumps.recv() => Event::Dump(reply),
                Ok(()) = self.health.changed() => Event::Health,
                Some(Ok((cluster, resolved))) = memory.resolving.join_next() => Event::Resolved(cluster, resolved),
                _ = tick.tick(), if memory.needs_tick() => Event::Tick,
                _ = look.tick(), if self.mode == Mode::Gateway => Event::Tick,
            };
            let now = Instant::now();
            let lost = match event {
                Event::Linked(Ok(opened)) => {
                    link = Some(opened);
                    self.state.send_modify(|s| (s.connected, s.error) = (true, None));
                    let requests = self.client.on_connected();
                    send(&mut link, requests).err()
                }
                Event::Linked(Err(error)) => Some(error),
                Event::Message(Ok(Some(response))) => self.take(&mut memory, &mut link, response, now).err(),
                Event::Message(Ok(None)) => Some(grpc::Error::Ended),
                Event::Message(Err(error)) => Some(error),
                Event::Question(question) => {
                    memory.ask(question);
                    None
                }
                Event::Dump(reply) => {
                    // Nobody waits any more: nothing to do.
                    let _ = reply.send(memory.dump());
                    None
                }
                Event::Health => {
                    self.client.set_health(self.health.borrow_and_update().clone());
                    None
                }
                Event::Resolved(cluster, assignment) => {
                    memory.resources.resolved(&cluster, assignment);
                    None
                }
                Event::Tick => None,
                Event::Stop => return,
            };
            self.settle(&mut memory, now);
            let requests = self.client.next_requests();
            if let Some(error) = lost.or_else(|| send(&mut link, requests).err()) {
                link = None;
                let wait = self.client.on_disconnected((self.random)());
                self.report_loss(&error, wait);
                connecting = self.connect(wait);
            }
        }
    }

    fn report_loss(&self, error: &grpc::Error, wait: Duration) {
        let was_connected = self.state.borrow().connected;
        let address = self.control.address();
        if was_connected {
            tracing::warn!(%error, %address, "the control plane is away; what is known stays in force");
        } else {
            tracing::debug!(%error, %address, ?wait, "the control plane does not answer yet");
        }
        self.state
            .send_modify(|s| (s.connected, s.error) = (false, Some(error.to_string())));
    }

    fn connect(&mut self, wait: Duration) -> tokio::task::JoinHandle<Result<Link, grpc::Error>> {
        let target = self.control.joined();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let target = target.map_err(|e| grpc::Error::Protocol(e.to_string()))?;
            let channel = Channel::connect(&target).await?;
            let (sender, receiver) = channel.stream(DELTA, None).await?;
            Ok(Link {
                _channel: channel,
                sender,
                receiver,
            })
        })
    }

    /// A response: compile, remember, acknowledge.
    fn take(
        &mut self,
        memory: &mut Memory,
        link: &mut Option<Link>,
        response: DeltaDiscoveryResponse,
        now: Instant,
    ) -> Result<(), grpc::Error> {
        let received = self.client.on_response(response);
        memory.answered.insert(received.type_url.clone());
        let errors = match Kind::of(&received.type_url) {
            Some(kind) => self.take_resources(memory, kind, &received, now),
            None => self.take_names(&received),
        };
        let request = self.client.finish(received.ticket, &errors);
        send(link, request.into_iter().collect())
    }

    fn take_resources(
        &mut self,
        memory: &mut Memory,
        kind: Kind,
        received: &Received,
        now: Instant,
    ) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        for (name, version, body) in &received.updates {
            let key = (kind, name.clone());
            if self.is_root(memory, &key) {
                memory.roots.insert(key.clone());
            }
            match compile(kind, &body.value) {
                Ok(compiled) => {
                    memory.resolve(&compiled);
                    // A private key is shown to nobody.
                    let body = match kind {
                        Kind::Secret => Bytes::new(),
                        _ => Bytes::from(body.value.clone()),
                    };
                    memory.resources.accept(key, version.clone(), body, compiled, now);
                }
                Err(why) => {
                    tracing::warn!(resource = %name, kind = ?kind, %why, "rejected; the last good version stays in force");
                    memory.resources.reject(key, why.clone());
                    errors.push((name.clone(), why));
                }
            }
        }
        for name in &received.removed {
            let key = (kind, name.clone());
            memory.roots.remove(&key);
            memory.resources.remove(&key, now);
        }
        errors
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
    fn settle(&mut self, memory: &mut Memory, now: Instant) {
        self.promote(memory, now);
        let departed = memory.resources.depart(now);
        self.apply(memory, departed);
        if self.mode == Mode::Gateway {
            memory.own.tend(&self.proxy, &self.state, self.port_owner);
        }
        memory.forget_old_negatives();
        self.follow(memory);
        memory.answer();
        let any = self.mode == Mode::Gateway || memory.has_listener();
        let ready = memory.answered.contains(type_url::LISTENER) && any && memory.roots_in_force();
        self.state.send_if_modified(|s| {
            let first = ready && !s.ready;
            s.ready |= ready;
            first
        });
    }

    /// Subscriptions follow references: what can be reached from the roots is asked for, and nothing else.
    fn follow(&mut self, memory: &mut Memory) {
        let wanted = memory
            .resources
            .reachable(memory.roots.iter().chain(&memory.asked).cloned());
        let subscribed = &memory.subscribed;
        let new: Vec<_> = wanted
            .iter()
            .filter(|n| !subscribed.contains(*n) && !memory.roots.contains(*n))
            .cloned()
            .collect();
        let old: Vec<_> = subscribed
            .iter()
            .filter(|n| !wanted.contains(*n))
            .cloned()
            .collect();
        for name in new {
            self.client.subscribe(name.0.type_url(), &name.1);
            memory.subscribed.insert(name);
        }
        let mut changes = Vec::new();
        for name in old {
            self.client.unsubscribe(name.0.type_url(), &name.1);
            changes.extend(memory.resources.forget(&name));
            memory.subscribed.remove(&name);
        }
        self.apply(memory, changes);
    }

    fn promote(&mut self, memory: &mut Memory, now: Instant) {
        let client = &self.client;
        let changes = memory.resources.promote(now, |(kind, name)| {
            matches!(
                client.lookup(kind.type_url(), name),
                Lookup::Absent | Lookup::Rejected
            )
        });
        self.apply(memory, changes);
    }

    /// One batch is one new configuration.
    fn apply(&mut self, memory: &mut Memory, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut updater = self.proxy.updater();
        for change in changes {
            match change {
                Change::Set(name, Compiled::Endpoints(assignment)) => {
                    updater.upsert_endpoints(&name, *assignment)
                }
                Change::Set(name, Compiled::Secret(secret)) => updater.upsert_secret(&name, *secret),
                Change::Set(name, Compiled::Cluster(cluster)) => {
                    if let Err(error) = updater.upsert_cluster(*cluster) {
                        tracing::error!(%error, cluster = %name, "the cluster is not in force");
                    }
                }
                Change::Set(_, Compiled::Route(table)) => updater.upsert_route(*table),
                Change::Set(name, Compiled::Listener(listener)) => {
                    let (listener, gateway) = (*listener, self.mode == Mode::Gateway);
                    match updater.upsert_listener(listener.clone()) {
                        Ok(()) => memory
                            .own
                            .opened(&name, gateway.then(|| updater.addresses(&name))),
                        Err(error) if gateway => memory.own.postpone(name, listener, &error, self.port_owner),
                        Err(error) => tracing::error!(%error, listener = %name, "the listener is not opened"),
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
    }

    /// Nobody asked for it by name: the wildcard brought it.
    fn is_root(&self, memory: &Memory, name: &Name) -> bool {
        match name.0 {
            Kind::Listener => !memory.asked.contains(name),
            Kind::Cluster => self.mode == Mode::Full,
            Kind::Route | Kind::Endpoints | Kind::Secret => false,
        }
    }
}

impl Memory {
    fn ask(&mut self, question: Question) {
        let name = match question.want {
            Want::Listener(destination) => (Kind::Listener, listener_name(destination)),
            Want::Route(name) => (Kind::Route, name),
            Want::Cluster(name) => (Kind::Cluster, name),
        };
        if !self.asked.contains(&name) {
            self.asked.push_back(name.clone());
        }
        self.waiting.entry(name).or_default().push(question.answer);
    }

    fn has_listener(&self) -> bool {
        self.roots.iter().any(|(kind, _)| *kind == Kind::Listener)
    }

    fn roots_in_force(&self) -> bool {
        self.roots.iter().all(|name| self.resources.is_active(name))
    }

    /// A cluster whose endpoints are names waits for their addresses, so that its first request finds some.
    fn resolve(&mut self, compiled: &Compiled) {
        let Compiled::Cluster(cluster) = compiled else {
            return;
        };
        let (name, discovery) = (cluster.name.clone(), cluster.discovery.clone());
        if matches!(
            discovery,
            ClusterDiscovery::StrictDns { .. } | ClusterDiscovery::LogicalDns { .. }
        ) {
            self.resolving
                .spawn(async move { (name, resolve::first(&discovery).await.unwrap_or_default()) });
        }
    }

    fn needs_tick(&self) -> bool {
        !self.waiting.is_empty() || self.resources.is_warming()
    }

    /// A worker that no longer waits has closed its end: nothing to tell it.
    fn answer(&mut self) {
        let (resources, asked) = (&self.resources, &mut self.asked);
        self.waiting.retain(|name, waiters| {
            let answer = match (resources.is_active(name), resources.is_absent(name)) {
                (true, _) => Answer::Found,
                (_, true) => Answer::Absent,
                _ => {
                    waiters.retain(|w| !w.is_closed());
                    if waiters.is_empty() {
                        // Nobody waits and nobody knows it: asked again, it is subscribed to again.
                        asked.retain(|a| a != name);
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

    fn forget_old_negatives(&mut self) {
        let mut negatives = self.asked.iter().filter(|n| self.resources.is_absent(n)).count();
        while negatives > MAX_NEGATIVE {
            let Some(at) = self.asked.iter().position(|n| self.resources.is_absent(n)) else {
                return;
            };
            self.asked.remove(at);
            negatives -= 1;
        }
    }

    fn dump(&self) -> Vec<Dumped> {
        let dumped = |(name, version, body, error): (&Name, &str, &Bytes, Option<&str>)| Dumped {
            name: name.clone(),
            version: version.to_owned(),
            body: body.clone(),
            error: error.map(str::to_owned),
        };
        self.resources.dump().map(dumped).collect()
    }
}

async fn next(link: &mut Option<Link>) -> Result<Option<DeltaDiscoveryResponse>, grpc::Error> {
    match link {
        Some(link) => link.receiver.next().await,
        None => std::future::pending().await,
    }
}

fn send(link: &mut Option<Link>, requests: Vec<DeltaDiscoveryRequest>) -> Result<(), grpc::Error> {
    let Some(link) = link else { return Ok(()) };
    requests.iter().try_for_each(|request| link.sender.send(request))
}

fn name_table(body: &Any, namespace: &str) -> Result<NameTable, String> {
    let table = leno_proto::istio::networking::nds::v1::NameTable::decode(body.value.as_slice())
        .map_err(|e| e.to_string())?;
    Ok(NameTable::in_namespace(&table, namespace))
}

/// The name of the listener for an original destination: `240.240.0.7_9080`, `[fd00::7]_9080`.
fn listener_name(destination: SocketAddr) -> String {
    match destination {
        SocketAddr::V4(v4) => format!("{}_{}", v4.ip(), v4.port()),
        SocketAddr::V6(v6) => format!("[{}]_{}", v6.ip(), v6.port()),
    }
}

/// Makes the validated form of a resource, or says which field is why not.
fn compile(kind: Kind, body: &[u8]) -> Result<Compiled, String> {
    let mut warnings = Warnings::default();
    let compiled = match kind {
        Kind::Endpoints => {
            endpoint::compile(&decode(body)?, &mut warnings).map(|e| Compiled::Endpoints(Box::new(e)))
        }
        Kind::Secret => {
            let secret = secret::compile(&decode(body)?)?;
            return Ok(Compiled::Secret(Box::new(secret)));
        }
        Kind::Cluster => cluster::compile(&decode(body)?, &SystemTrust, &mut warnings)
            .map(|c| Compiled::Cluster(Box::new(c))),
        Kind::Route => route::compile(&decode(body)?, &mut warnings).map(|r| Compiled::Route(Box::new(r))),
        Kind::Listener => listener::compile(&decode(body)?, &SystemTrust, &mut warnings)
            .map(|l| Compiled::Listener(Box::new(l))),
    };
    for warning in &warnings.0 {
        tracing::debug!(%warning, ?kind, "a field has no effect");
    }
    compiled.map_err(|rejection| rejection.to_string())
}

/// The one file that a control plane may name: the machine's own trust store, for TLS to the outside (Istio's
/// `SIMPLE` without `caCertificates`).
struct SystemTrust;

const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Files for SystemTrust {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            SYSTEM_TRUST => std::fs::read(path).map_err(|e| e.to_string()),
            _ => Err("over xDS a secret is named, not a file".to_owned()),
        }
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, String> {
    M::decode(body).map_err(|e| e.to_string())
}
