//! `leno.control.v1.Mesh`: what operators ask, and the side streams by which proxies report and are asked.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_core::Stream as FutureStream;
use leno_proto::control::mesh_server::Mesh;
use leno_proto::control::{
    Command, ConfigRequest, ConfigResponse, Diagnostic, Dump, DumpRequest, Report, StatusRequest,
    StatusResponse, TrafficRequest, TrafficResponse, command, report,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ca::Certificates;
use crate::error::STATE_NOT_WRITTEN;
use crate::listener::Peer;
use crate::push::Push;
use crate::roster::Roster;
use crate::state::State;
use crate::traffic::Traffic;
use crate::writer::Diagnostics;

/// A proxy that has not answered by then is taken for hung.
const DUMP_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct MeshService {
    pub(crate) push: Arc<Push>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) diagnostics: Arc<Diagnostics>,
    pub(crate) state: Arc<State>,
    pub(crate) attached: Arc<Attached>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) running: watch::Receiver<()>,
}

/// The proxies' side streams by node id.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    proxies: Mutex<HashMap<String, Side>>,
    traffic: Mutex<Traffic>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Side {
    stream: u64,
    commands: mpsc::Sender<Result<Command, Status>>,
    waiting: HashMap<u64, oneshot::Sender<Dump>>,
}

// === impl Attached ===

impl Attached {
    async fn listen(
        &self,
        mut reports: Streaming<Report>,
        commands: mpsc::Sender<Result<Command, Status>>,
        mut running: watch::Receiver<()>,
        may_speak_for: impl Fn(&str) -> Result<(), Status>,
    ) {
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        let mut node = None;
        loop {
            let report = tokio::select! {
                report = reports.message() => report,
                _ = running.changed() => break,
            };
            let Ok(Some(Report { what: Some(what) })) = report else {
                break;
            };
            match (what, &node) {
                (report::What::Hello(hello), None) => {
                    if let Err(status) = may_speak_for(&hello.node_id) {
                        let _ = commands.send(Err(status)).await;
                        break;
                    }
                    let side = Side {
                        stream,
                        commands: commands.clone(),
                        waiting: HashMap::new(),
                    };
                    self.lock().insert(hello.node_id.clone(), side);
                    self.traffic().arrived(&hello.node_id);
                    node = Some(hello.node_id);
                }
                (report::What::Hello(_), Some(_)) => {
                    let status = Status::invalid_argument("Hello comes once, as the first report");
                    let _ = commands.send(Err(status)).await;
                    break;
                }
                (report::What::Traffic(traffic), Some(node)) => self.traffic().report(node, traffic.edges),
                (report::What::Dump(dump), Some(node)) => {
                    if let Some(Some(waiting)) = self.with(node, |side| side.waiting.remove(&dump.id)) {
                        let _ = waiting.send(dump);
                    }
                }
                (_, None) => {
                    let status = Status::invalid_argument("the first report must be Hello with the node id");
                    let _ = commands.send(Err(status)).await;
                    break;
                }
            }
        }
        if let Some(node) = node {
            let mut proxies = self.lock();
            // A newer stream of the same proxy may have taken its place.
            if proxies.get(&node).is_some_and(|side| side.stream == stream) {
                proxies.remove(&node);
                self.traffic().ended(&node);
            }
        }
    }

    async fn dump(&self, node: &str, kind: &str) -> Result<Dump, Status> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let commands = self
            .with(node, |side| {
                side.waiting.insert(id, answer);
                side.commands.clone()
            })
            .ok_or_else(|| {
                Status::unavailable(format!(
                    "{node} has xDS but no side stream — proxy — it is not leno's, or is just starting"
                ))
            })?;
        let dump = command::What::Dump(DumpRequest {
            kind: kind.to_owned(),
        });
        let command = Command { id, what: Some(dump) };
        let gone = || Status::unavailable(format!("{node} went away before it answered"));
        let asked = async {
            commands.send(Ok(command)).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())
        };
        let outcome = tokio::time::timeout(DUMP_TIMEOUT, asked).await;
        self.with(node, |side| side.waiting.remove(&id));
        outcome.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "{node} did not answer within {} s — proxy — it may hang; see its log",
                DUMP_TIMEOUT.as_secs()
            )))
        })
    }

    fn with<T>(&self, node: &str, change: impl FnOnce(&mut Side) -> T) -> Option<T> {
        self.lock().get_mut(node).map(change)
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Side>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl MeshService ===

impl MeshService {
    /// The node id of the one proxy that is meant.
    fn find(&self, workload: &str) -> Result<String, Status> {
        let found = self.roster.named(workload);
        match found.as_slice() {
            [one] => Ok(one.node_id.clone()),
            [] => Err(Status::not_found(format!(
                "no proxy of {workload} is connected — workload — `leno status` lists those that are"
            ))),
            several => {
                let names: Vec<&str> = several.iter().map(|p| p.workload.as_str()).collect();
                Err(Status::invalid_argument(format!(
                    "{workload} is ambiguous — workload — name one of {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// What operators ask is not for whoever happens to reach the port: a member of the mesh may ask, and on this
    /// machine who can read the join token.
    fn member_or_operator<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match request.extensions().get::<Peer>() {
            Some(peer) if peer.identity.is_some() => Ok(()),
            Some(peer) if peer.address.ip().is_loopback() => {
                self.certificates.check_token(request.metadata())
            }
            _ => Err(Status::unauthenticated(
                "no mesh certificate — Mesh service — call it from the control plane's machine, or with a certificate",
            )),
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let state = self.state.failure().map(|message| Diagnostic {
            code: STATE_NOT_WRITTEN.to_owned(),
            severity: "error".to_owned(),
            message,
            ..Default::default()
        });
        let config = self.diagnostics.all().into_iter().map(|d| Diagnostic {
            code: d.code.to_string(),
            severity: d.severity.to_string(),
            place: d.place.to_string(),
            object: d.object.map(|o| o.to_string()).unwrap_or_default(),
            message: d.message,
            hint: d.hint,
        });
        state.into_iter().chain(config).collect()
    }
}

/// Over TLS a proxy speaks for itself only: its certificate is of the node's namespace, and the one that the node's
/// xDS stream has, if there is one.
fn may_speak_for(node: &str, peer: Option<&Peer>, roster: &Roster) -> Result<(), Status> {
    let Some(identity) = peer.filter(|peer| peer.secure).map(|peer| peer.identity.as_ref()) else {
        return Ok(()); // The plaintext port is bound to loopback only.
    };
    let identity = identity.ok_or_else(|| {
        Status::unauthenticated("no mesh certificate — Attach — get one with a join token first")
    })?;
    // `sidecar~<address>~<name>.<namespace>~<domain>`
    let namespace = node.split('~').nth(2).and_then(|name| name.rsplit('.').next());
    let principals = roster.principals_of(node);
    let of_node = principals.is_empty() || principals.contains(&identity.to_string());
    if of_node && namespace.is_some() && identity.namespace() == namespace {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "{identity} does not speak for {node} — Attach — use the node's own certificate"
    )))
}

type Streamed<T> = Pin<Box<dyn FutureStream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Mesh for MeshService {
    type AttachStream = Streamed<Command>;
    type TrafficStream = Streamed<TrafficResponse>;

    async fn attach(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (commands, sent) = mpsc::channel(16);
        let peer = request.extensions().get::<Peer>().cloned();
        let (attached, running, roster) = (self.attached.clone(), self.running.clone(), self.roster.clone());
        tokio::spawn(async move {
            let may_speak_for = |node: &str| may_speak_for(node, peer.as_ref(), &roster);
            attached
                .listen(request.into_inner(), commands, running, may_speak_for)
                .await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.member_or_operator(&request)?;
        Ok(Response::new(StatusResponse {
            proxies: self.roster.proxies(),
            diagnostics: self.diagnostics(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot: self.push.snapshot().version,
        }))
    }

    async fn config(&self, request: Request<ConfigRequest>) -> Result<Response<ConfigResponse>, Status> {
        self.member_or_operator(&request)?;
        let asked = request.into_inner();
        let node = self.find(&asked.workload)?;
        let dump = self.attached.dump(&node, &asked.kind).await?;
        if !dump.error.is_empty() {
            return Err(Status::failed_precondition(dump.error));
        }
        Ok(Response::new(ConfigResponse {
            resources: dump.resources,
        }))
    }

    async fn traffic(
        &self,
        request: Request<TrafficRequest>,
    ) -> Result<Response<Self::TrafficStream>, Status> {
        self.member_or_operator(&request)?;
        let interval = match request.get_ref().interval_ms {
            0 => DEFAULT_INTERVAL,
            ms => Duration::from_millis(ms.into()).max(SHORTEST_INTERVAL),
        };
        let (send, responses) = mpsc::channel(1);
        let (attached, mut running) = (self.attached.clone(), self.running.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = running.changed() => return,
                }
                let response = TrafficResponse {
                    edges: attached.traffic().edges(),
                };
                if send.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}
