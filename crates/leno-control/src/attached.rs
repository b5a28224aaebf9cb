//! The proxies' side streams: each speaks for its own node, reports traffic and answers what operators ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leno_proto::control::{Command, Dump, DumpRequest, Hello, Report, TapStop, command, report};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Status, Streaming};

use crate::listener::Peer;
use crate::roster::Roster;
use crate::tap::{Tap, Taps};
use crate::traffic::Traffic;

/// A proxy that has not answered by then is taken for hung.
const DUMP_TIMEOUT: Duration = Duration::from_secs(5);
/// The side stream may be there before the proxy's xDS stream.
const XDS_TIMEOUT: Duration = Duration::from_secs(5);

/// The proxies' side streams by node id.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    proxies: Mutex<HashMap<String, Side>>,
    traffic: Mutex<Traffic>,
    taps: Taps,
    next: AtomicU64,
}

#[derive(Debug)]
struct Side {
    stream: u64,
    commands: mpsc::Sender<Result<Command, Status>>,
    waiting: HashMap<u64, oneshot::Sender<Dump>>,
}

/// A stream's entry; it goes when dropped.
struct Place<'a> {
    attached: &'a Attached,
    node: String,
    stream: u64,
}

/// Who is at the other end of a side stream, and whom it may speak for.
pub(crate) struct Speaker {
    pub(crate) peer: Option<Peer>,
    pub(crate) roster: Arc<Roster>,
}

// === impl Attached ===

impl Attached {
    /// Serves a side stream until the proxy, a newer stream of the same proxy or the control plane ends it.
    pub(crate) async fn listen(
        &self,
        mut reports: Streaming<Report>,
        commands: mpsc::Sender<Result<Command, Status>>,
        mut running: watch::Receiver<()>,
        speaker: Speaker,
    ) {
        let ended = tokio::select! {
            ended = self.converse(&mut reports, &commands, &speaker) => ended,
            () = commands.closed() => return,
            _ = running.changed() => return,
        };
        if let Err(status) = ended {
            let _ = commands.send(Err(status)).await;
        }
    }

    async fn converse(
        &self,
        reports: &mut Streaming<Report>,
        commands: &mpsc::Sender<Result<Command, Status>>,
        speaker: &Speaker,
    ) -> Result<(), Status> {
        let Some(report::What::Hello(hello)) = next(reports).await else {
            return Err(Status::invalid_argument(
                "the first report must be Hello with the node id",
            ));
        };
        speaker.may_speak_for(&hello.node_id).await?;
        let place = self.take_place(hello, commands.clone());
        self.ask_newcomer(&place.node, &speaker.roster);
        while let Some(what) = next(reports).await {
            let heard = match what {
                report::What::Hello(_) => {
                    return Err(Status::invalid_argument("Hello comes once, as the first report"));
                }
                report::What::Traffic(traffic) => {
                    let told = place.with(|_| self.traffic().report(&place.node, traffic.edges));
                    told.transpose()
                        .map_err(|bad| Status::invalid_argument(bad.to_string()))?
                }
                report::What::Tap(report) => {
                    place.with(|_| ()).map(|()| self.taps.heard(&place.node, report))
                }
                report::What::Problems(told) => {
                    place.with(|_| speaker.roster.set_problems(&place.node, told.problems))
                }
                report::What::Dump(dump) => place.with(|side| {
                    if let Some(waiting) = side.waiting.remove(&dump.id) {
                        let _ = waiting.send(dump);
                    }
                }),
            };
            if heard.is_none() {
                return Err(Status::aborted("a newer side stream of this node has taken over"));
            }
        }
        Ok(())
    }

    fn take_place(&self, hello: Hello, commands: mpsc::Sender<Result<Command, Status>>) -> Place<'_> {
        let node = hello.node_id;
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        let side = Side {
            stream,
            commands,
            waiting: HashMap::new(),
        };
        let mut proxies = self.lock();
        proxies.insert(node.clone(), side);
        self.traffic().arrived(&node, hello.start);
        drop(proxies);
        Place {
            attached: self,
            node,
            stream,
        }
    }

    pub(crate) async fn dump(&self, node: &str, kind: &str) -> Result<Dump, Status> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let commands = self
            .with(node, |side| {
                // Who asked may have gone meanwhile.
                side.waiting.retain(|_, waiting| !waiting.is_closed());
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

    /// Asks these proxies for their requests, and those that come later and are meant as well. Without a side stream:
    /// none of them can be asked.
    pub(crate) fn open_tap(&self, tap: &Arc<Tap>, nodes: &[String]) {
        self.taps.open(Arc::clone(tap));
        for node in nodes {
            self.ask(tap, node);
        }
    }

    pub(crate) fn close_tap(&self, tap: &Tap) {
        self.taps.close(tap.id);
        for node in tap.nodes() {
            self.command(&node, command::What::Untap(TapStop { id: tap.id }), 0);
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn ask_newcomer(&self, node: &str, roster: &Roster) {
        for tap in self.taps.all() {
            // An older stream's may not have reached it.
            tap.ended(node);
            if roster
                .meant(&tap.target)
                .iter()
                .any(|proxy| proxy.node_id == node)
            {
                self.ask(&tap, node);
            }
        }
    }

    fn ask(&self, tap: &Tap, node: &str) {
        if self.command(node, command::What::Tap(tap.start.clone()), tap.id) {
            tap.ask(node);
        }
    }

    /// False: the proxy has no side stream.
    fn command(&self, node: &str, what: command::What, id: u64) -> bool {
        let Some(commands) = self.with(node, |side| side.commands.clone()) else {
            return false;
        };
        let command = Command { id, what: Some(what) };
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(Ok(command)) {
            tokio::spawn(async move { commands.send(command).await });
        }
        true
    }

    fn with<T>(&self, node: &str, change: impl FnOnce(&mut Side) -> T) -> Option<T> {
        self.lock().get_mut(node).map(change)
    }

    pub(crate) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Side>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place<'_> {
    /// None when a newer stream of the same proxy has taken the place.
    fn with<T>(&self, change: impl FnOnce(&mut Side) -> T) -> Option<T> {
        let mut proxies = self.attached.lock();
        let side = proxies.get_mut(&self.node);
        side.filter(|side| side.stream == self.stream).map(change)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut proxies = self.attached.lock();
        if proxies
            .get(&self.node)
            .is_some_and(|side| side.stream == self.stream)
        {
            proxies.remove(&self.node);
            self.attached.traffic().ended(&self.node);
            for tap in self.attached.taps.all() {
                tap.ended(&self.node);
            }
        }
    }
}

// === impl Speaker ===

impl Speaker {
    /// A proxy speaks for itself only: its node has an xDS stream, and if that one proved its identity by a
    /// certificate, this one has the same.
    async fn may_speak_for(&self, node: &str) -> Result<(), Status> {
        let peer = self.peer.as_ref();
        let peer = peer.ok_or_else(|| Status::internal("the connection is not known"))?;
        if peer.secure && peer.identity.is_none() {
            return Err(Status::unauthenticated(
                "no mesh certificate — Attach — get one with a join token first",
            ));
        }
        let seated = tokio::time::timeout(XDS_TIMEOUT, self.roster.seated(node));
        let principals = seated.await.map_err(|_| {
            Status::failed_precondition(format!(
                "{node} has no xDS stream — Attach — open one first, with the same node id"
            ))
        })?;
        let claimed = peer.identity.as_ref().map(ToString::to_string);
        let proven: Vec<&String> = principals.iter().filter(|p| !p.is_empty()).collect();
        let is_one = |claimed: &String| proven.contains(&claimed);
        // Without TLS on either side nothing is proven: those ports are bound to loopback only.
        if (proven.is_empty() && claimed.is_none()) || claimed.as_ref().is_some_and(is_one) {
            return Ok(());
        }
        let claimed = claimed.unwrap_or_else(|| "a peer without TLS".to_owned());
        Err(Status::permission_denied(format!(
            "{claimed} does not speak for {node} — Attach — use the certificate of the node's xDS stream"
        )))
    }
}

/// What is reported next. None at the end, and for what a newer proxy says.
async fn next(reports: &mut Streaming<Report>) -> Option<report::What> {
    reports.message().await.ok().flatten()?.what
}
