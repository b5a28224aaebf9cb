//! Who is in the mesh: workloads come with their proxy's stream and leave when it ends *and* nothing answers at
//! their address any more. A control plane that restarts, or a connection that breaks, thus takes nobody out.
//!
//! A workload's place belongs to the service account that registered it: over TLS a certificate proves which, and
//! nobody without one takes or holds such a place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leno_model::Change;
use leno_model::{Workload, WorkloadId};
use leno_proto::envoy::config::core::v3::Node;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::node::{Described, describe};
use crate::probe::{targets, until_refused};
use crate::state::{Known, State};

#[derive(Debug)]
pub(crate) struct Registrations {
    entries: Mutex<HashMap<WorkloadId, Entry>>,
    holders: AtomicU64,
    changes: mpsc::UnboundedSender<Change>,
    state: Arc<State>,
    /// Whether it is known who was here before the start. If not, nobody can tell when all are back.
    expected: AtomicBool,
    /// Turns true when everybody who was known is back or gone.
    complete: watch::Sender<bool>,
    /// Closed when the control plane ends: from then on nobody leaves.
    running: watch::Receiver<()>,
}

#[derive(Debug)]
struct Entry {
    node: String,
    workload: Workload,
    /// It proved its identity by a certificate.
    secure: bool,
    /// Tells its streams from those of who had the place before.
    holder: u64,
    streams: usize,
    probe: Option<AbortHandle>,
    /// Remembered from before the start, and not heard of since.
    awaited: bool,
}

/// A stream's hold on its workload.
#[derive(Debug)]
pub(crate) struct Presence {
    registrations: Arc<Registrations>,
    id: WorkloadId,
    holder: u64,
}

/// Why a workload's place is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Taken {
    #[error(
        "the workload {id} registered over TLS — xDS node — connect to the TLS port (15012) with its certificate, or use another name"
    )]
    OverTls { id: WorkloadId },
    #[error(
        "the workload {id} belongs to the service account {service_account} in the namespace {namespace} — xDS node — use another name"
    )]
    ByAnother {
        id: WorkloadId,
        namespace: String,
        service_account: String,
    },
}

// === impl Registrations ===

impl Registrations {
    pub(crate) fn new(
        changes: mpsc::UnboundedSender<Change>,
        state: Arc<State>,
        running: watch::Receiver<()>,
    ) -> Self {
        Self {
            entries: Mutex::default(),
            holders: AtomicU64::new(0),
            changes,
            state,
            expected: AtomicBool::new(false),
            complete: watch::Sender::new(false),
            running,
        }
    }

    /// Those who were in the mesh when the control plane ended are in it, until their address refuses.
    pub(crate) fn restore(self: &Arc<Self>, known: Option<Vec<Known>>) {
        let Some(known) = known else {
            return; // Whom to wait for is not known: the settling time runs to its end.
        };
        self.expected.store(true, Ordering::Relaxed);
        for known in known {
            let Known {
                id,
                node,
                healthy,
                secure,
            } = known;
            let Some(mut described) = decode(&node) else {
                tracing::warn!("the remembered workload {id} is not understood and left out");
                continue;
            };
            described.workload.healthy = healthy;
            let entry = Entry {
                node,
                workload: described.workload.clone(),
                secure,
                holder: self.holders.fetch_add(1, Ordering::Relaxed),
                streams: 0,
                probe: None,
                awaited: true,
            };
            let id = described.workload.id.clone();
            self.lock().insert(id.clone(), entry);
            self.tell(Change::Workload(described.workload));
            self.probe(&id);
        }
        self.check_complete();
    }

    /// Everybody who was known at the start is back, or gone.
    pub(crate) fn complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    /// Workloads that are in the mesh, have proved who they are, and whose proxy is not connected.
    pub(crate) fn away(&self) -> Vec<WorkloadId> {
        let entries = self.lock();
        let away = entries
            .iter()
            .filter(|(_, entry)| entry.secure && entry.streams == 0);
        let mut away: Vec<WorkloadId> = away.map(|(id, _)| id.clone()).collect();
        away.sort();
        away
    }

    /// A proxy has introduced itself; `secure` is one whose certificate says that it is who it says.
    pub(crate) fn join(
        self: &Arc<Self>,
        node: &Node,
        described: &Described,
        secure: bool,
    ) -> Result<Presence, Taken> {
        let mut workload = described.workload.clone();
        let id = workload.id.clone();
        let mut entries = self.lock();
        if let Some(before) = entries.get(&id) {
            before.may_be_taken(&workload, secure)?;
        }
        let mut streams = 0;
        let mut holder = self.holders.fetch_add(1, Ordering::Relaxed);
        if let Some(before) = entries.remove(&id) {
            if let Some(probe) = before.probe {
                probe.abort();
            }
            if before.secure == secure {
                (streams, holder) = (before.streams, before.holder);
                // It tells its health in a moment; until then nothing has changed.
                if described.reports_health && before.workload.ports == workload.ports {
                    workload.healthy = before.workload.healthy;
                }
            }
        }
        let entry = Entry {
            node: encode(node),
            workload: workload.clone(),
            secure,
            holder,
            streams: streams + 1,
            probe: None,
            awaited: false,
        };
        self.drop_leftovers(&mut entries, &entry);
        entries.insert(id.clone(), entry);
        self.tell(Change::Workload(workload));
        self.save(&entries);
        drop(entries);
        self.check_complete();
        Ok(Presence {
            registrations: self.clone(),
            id,
            holder,
        })
    }

    /// A sidecar that was killed and is back under another name has left an entry that looks alive: its address
    /// answers, for it is the newcomer's now.
    fn drop_leftovers(&self, entries: &mut HashMap<WorkloadId, Entry>, newcomer: &Entry) {
        entries.retain(|id, entry| {
            let leftover = entry.streams == 0 && newcomer.is_in_place_of(entry);
            if leftover {
                if let Some(probe) = entry.probe.take() {
                    probe.abort();
                }
                tracing::info!(workload = %id, by = %newcomer.workload.id, "replaced at its address");
                self.tell(Change::WorkloadGone(id.clone()));
            }
            !leftover
        });
    }

    fn set_health(&self, id: &WorkloadId, holder: u64, healthy: bool) {
        let mut entries = self.lock();
        let entry = entries.get_mut(id).filter(|e| e.holder == holder);
        let Some(entry) = entry.filter(|e| e.workload.healthy != healthy) else {
            return;
        };
        entry.workload.healthy = healthy;
        self.tell(Change::Workload(entry.workload.clone()));
        self.save(&entries);
    }

    fn leave(self: &Arc<Self>, id: &WorkloadId, holder: u64) {
        let mut entries = self.lock();
        let entry = entries.get_mut(id).filter(|e| e.holder == holder);
        let ended = entry.is_some_and(|entry| {
            entry.streams = entry.streams.saturating_sub(1);
            entry.streams == 0
        });
        let replaced = entries.get(id).is_some_and(|entry| {
            let mut others = entries.values();
            others.any(|other| other.streams > 0 && other.is_in_place_of(entry))
        });
        drop(entries);
        match (ended, replaced) {
            (false, _) => {}
            (true, true) => self.gone(id),
            (true, false) => self.probe(id),
        }
    }

    /// Looks at the workload's address until it refuses, or the workload is back.
    fn probe(self: &Arc<Self>, id: &WorkloadId) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(id) else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return; // The process ends.
        };
        let targets = targets(&entry.workload);
        let (this, id, mut running) = (self.clone(), id.clone(), self.running.clone());
        let task = runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = running.changed() => {}
                () = until_refused(&targets) => this.gone(&id),
            }
        });
        entry.probe = Some(task.abort_handle());
    }

    fn gone(&self, id: &WorkloadId) {
        let mut entries = self.lock();
        if entries.get(id).is_none_or(|entry| entry.streams > 0) {
            return;
        }
        entries.remove(id);
        tracing::info!(workload = %id, "left the mesh");
        self.tell(Change::WorkloadGone(id.clone()));
        self.save(&entries);
        drop(entries);
        self.check_complete();
    }

    fn check_complete(&self) {
        let expected = self.expected.load(Ordering::Relaxed);
        if expected && !self.lock().values().any(|entry| entry.awaited) {
            self.complete.send_replace(true);
        }
    }

    fn tell(&self, change: Change) {
        // Nobody listens only while the control plane ends.
        let _ = self.changes.send(change);
    }

    fn save(&self, entries: &HashMap<WorkloadId, Entry>) {
        let mut known: Vec<Known> = entries
            .iter()
            .map(|(id, entry)| Known {
                id: id.to_string(),
                node: entry.node.clone(),
                healthy: entry.workload.healthy,
                secure: entry.secure,
            })
            .collect();
        known.sort_by(|a, b| a.id.cmp(&b.id));
        self.state.save_registrations(&known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkloadId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Entry {
    /// Whether this one, of the same service account, is now where the other was.
    fn is_in_place_of(&self, other: &Entry) -> bool {
        let sockets = targets(&other.workload);
        self.workload.id != other.workload.id
            && self.secure >= other.secure
            && same_owner(&self.workload, &other.workload)
            && targets(&self.workload)
                .iter()
                .any(|socket| sockets.contains(socket))
    }

    /// Who has a certificate takes the place of who has none, and nobody else another's.
    fn may_be_taken(&self, by: &Workload, secure: bool) -> Result<(), Taken> {
        if self.secure && !secure {
            return Err(Taken::OverTls { id: by.id.clone() });
        }
        if self.secure == secure && !same_owner(&self.workload, by) {
            return Err(Taken::ByAnother {
                id: by.id.clone(),
                namespace: self.workload.namespace.clone(),
                service_account: self.workload.service_account.clone(),
            });
        }
        Ok(())
    }
}

// === impl Presence ===

impl Presence {
    pub(crate) fn set_health(&self, healthy: bool) {
        self.registrations.set_health(&self.id, self.holder, healthy);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.registrations.leave(&self.id, self.holder);
    }
}

fn same_owner(one: &Workload, other: &Workload) -> bool {
    (&one.namespace, &one.service_account) == (&other.namespace, &other.service_account)
}

fn encode(node: &Node) -> String {
    let short = Node {
        id: node.id.clone(),
        metadata: node.metadata.clone(),
        locality: node.locality.clone(),
        ..Default::default()
    };
    let hex = |byte: u8| [byte >> 4, byte & 15].map(|d| char::from_digit(d.into(), 16).unwrap_or('0'));
    short.encode_to_vec().into_iter().flat_map(hex).collect()
}

fn decode(hex: &str) -> Option<Described> {
    let digits: Option<Vec<u32>> = hex.chars().map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> = digits?
        .chunks_exact(2)
        .map(|d| (d.iter().fold(0, |sum, digit| sum * 16 + digit)) as u8)
        .collect();
    describe(&Node::decode(bytes.as_slice()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        registrations: Arc<Registrations>,
        changes: mpsc::UnboundedReceiver<Change>,
        _running: watch::Sender<()>,
        _directory: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let (state, _) = State::open(directory.path()).unwrap();
            let (tell, changes) = mpsc::unbounded_channel();
            let (running, stopped) = watch::channel(());
            Self {
                registrations: Arc::new(Registrations::new(tell, Arc::new(state), stopped)),
                changes,
                _running: running,
                _directory: directory,
            }
        }

        fn join(&self, name: &str, address: &str) -> Presence {
            let node = Node {
                id: format!("sidecar~{address}~{name}.shop~shop.svc.cluster.local"),
                ..Default::default()
            };
            let described = describe(&node).unwrap();
            self.registrations.join(&node, &described, true).unwrap()
        }

        /// Who is in the mesh by all that was told.
        fn present(&mut self) -> Vec<String> {
            let mut present = Vec::new();
            while let Ok(change) = self.changes.try_recv() {
                match change {
                    Change::Workload(workload) => present.push(workload.name),
                    Change::WorkloadGone(id) => present.retain(|name| !id.0.starts_with(name)),
                    _ => {}
                }
            }
            present
        }
    }

    #[tokio::test]
    async fn an_address_is_its_newest_holders_whether_the_old_streams_end_is_seen_before_or_after() {
        let mut rig = Rig::new();
        let killed = rig.join("a", "127.0.0.9");
        drop(killed);
        let _elsewhere = rig.join("b", "127.0.0.8");
        let _back = rig.join("c", "127.0.0.9");
        assert_eq!(rig.present(), ["b", "c"]);

        let mut rig = Rig::new();
        let killed = rig.join("a", "127.0.0.9");
        let _back = rig.join("c", "127.0.0.9");
        drop(killed);
        assert_eq!(rig.present(), ["c"]);
    }
}
