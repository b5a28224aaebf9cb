//! The single writer: it alone changes the model. Everything that happens arrives here in one queue and leaves as a
//! snapshot with what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leno_api::{Diagnostic, Severity};
use leno_model::delta::Key;
use leno_model::{Change, VipTable, World};
use leno_proto::control;
use tokio::sync::mpsc;

use crate::audit::Audit;
use crate::catalogue::Catalogue;
use crate::error::STATE_NOT_WRITTEN;
use crate::keys::KeyKeeper;
use crate::push::Push;
use crate::state::State;

/// Changes that are there already are applied together: a start with a thousand files builds the mesh once.
const TOGETHER: usize = 4096;

/// What is wrong with the configuration now, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    /// By source file: what reading it said.
    reading: Mutex<BTreeMap<Arc<str>, Vec<Diagnostic>>>,
    mesh: Mutex<Vec<Diagnostic>>,
}

// === impl Diagnostics ===

impl Diagnostics {
    pub(crate) fn all(&self) -> Vec<Diagnostic> {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mesh = self.mesh.lock().unwrap_or_else(PoisonError::into_inner);
        reading.values().flatten().chain(mesh.iter()).cloned().collect()
    }

    /// All of it, and what is wrong with the control plane itself, as it is told to operators.
    pub(crate) fn told(&self, state: &State) -> Vec<control::Diagnostic> {
        let state = state.failure().map(|message| control::Diagnostic {
            code: STATE_NOT_WRITTEN.to_owned(),
            severity: "error".to_owned(),
            message,
            ..Default::default()
        });
        let config = self.all().into_iter().map(|d| control::Diagnostic {
            code: d.code.to_string(),
            severity: d.severity.to_string(),
            place: d.place.to_string(),
            object: d.object.map(|o| o.to_string()).unwrap_or_default(),
            message: d.message,
            hint: d.hint,
        });
        state.into_iter().chain(config).collect()
    }

    /// What reading a file said, in place of what it said before. What is new is logged, once.
    pub(crate) fn set_file(&self, file: &Arc<str>, found: Vec<Diagnostic>) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reading.remove(file).unwrap_or_default();
        log_new(&before, &found);
        if !found.is_empty() {
            reading.insert(file.clone(), found);
        }
    }

    fn set_mesh(&self, found: Vec<Diagnostic>) {
        let mut mesh = self.mesh.lock().unwrap_or_else(PoisonError::into_inner);
        log_new(&mesh, &found);
        *mesh = found;
    }
}

/// Owns the world.
pub(crate) struct Writer {
    world: World,
    changes: mpsc::UnboundedReceiver<Change>,
    state: Arc<State>,
    pub(crate) push: Arc<Push>,
    pub(crate) diagnostics: Arc<Diagnostics>,
    pub(crate) catalogue: Arc<Catalogue>,
    audit: Audit,
    keys: Arc<KeyKeeper>,
}

// === impl Writer ===

impl Writer {
    /// Begins with the addresses that services had before.
    pub(crate) fn new(
        vips: VipTable,
        changes: mpsc::UnboundedReceiver<Change>,
        state: Arc<State>,
        audit: Audit,
        keys: Arc<KeyKeeper>,
    ) -> Self {
        let world = World::new(vips);
        Self {
            push: Arc::new(Push::new(world.snapshot().clone())),
            world,
            changes,
            state,
            diagnostics: Arc::default(),
            catalogue: Arc::default(),
            audit,
            keys,
        }
    }

    /// Until nobody can change the mesh any more.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.changes.recv_many(&mut batch, TOGETHER).await > 0 {
            self.apply(batch.drain(..));
        }
    }

    /// What has happened so far.
    pub(crate) fn apply_waiting(&mut self) {
        let mut waiting = Vec::new();
        while let Ok(change) = self.changes.try_recv() {
            waiting.push(change);
        }
        self.apply(waiting.into_iter());
    }

    fn apply(&mut self, changes: impl Iterator<Item = Change>) {
        let (catalogue, audit) = (self.catalogue.clone(), self.audit.clone());
        let noted = changes.inspect(|change| catalogue.note(change, &audit));
        let outcome = self.world.apply(noted, since_epoch());
        if outcome.vips_changed {
            self.state.save_vips(self.world.vips());
        }
        self.diagnostics.set_mesh(outcome.diagnostics);
        if !outcome.delta.is_empty() {
            tracing::debug!(version = outcome.snapshot.version, changed = ?outcome.delta.changed, "snapshot");
            let mut changed = outcome.delta.changed.iter();
            if changed.any(|key| matches!(key, Key::Authentication(_))) {
                self.keys.only(&outcome.snapshot.key_sources());
            }
            self.push.publish(outcome.snapshot, &outcome.delta);
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn log_new(before: &[Diagnostic], now: &[Diagnostic]) {
    let known: BTreeSet<String> = before.iter().map(ToString::to_string).collect();
    for diagnostic in now {
        let line = diagnostic.to_string();
        if known.contains(&line) {
            continue;
        }
        match diagnostic.severity {
            Severity::Error => tracing::error!("{line}"),
            Severity::Warning => tracing::warn!("{line}"),
            Severity::Info => tracing::info!("{line}"),
        }
    }
}
