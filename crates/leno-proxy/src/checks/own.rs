//! What the thread that asks has of its own.

use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use leno_engine::compile::endpoint::{Internal, Passed};
use leno_engine::decide::notes;
use leno_tls::{Crypto, Secrets};
use tokio::io::DuplexStream;

use super::files::Files;
use crate::codec::h1::Workspace;
use crate::connect::{Connector, InternalListeners, WorkloadSockets};
use crate::random::Random;
use crate::state::{Config, Published, Updater};
use crate::tcp::Scratch;
use crate::tls::Contexts;

/// What the thread is made of.
pub(crate) struct Parts {
    pub(crate) published: Arc<Published>,
    pub(crate) workload: Option<Arc<dyn WorkloadSockets>>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) crypto: Crypto,
    /// Told of who may leave.
    pub(crate) updater: Weak<Mutex<Updater>>,
}

/// What the thread has.
pub(super) struct Own {
    published: Arc<Published>,
    updater: Weak<Mutex<Updater>>,
    workload: Option<Arc<dyn WorkloadSockets>>,
    tls: Contexts,
    http1: Rc<Workspace>,
    scratch: Scratch,
    /// Of connections, which are nobody else's.
    ids: AtomicU64,
    pub(super) random: Random,
    pub(super) files: Files,
}

// === impl Own ===

impl Own {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            published: parts.published,
            updater: parts.updater,
            workload: parts.workload,
            tls: Contexts::new(parts.crypto, parts.secrets),
            http1: Rc::default(),
            scratch: Scratch::default(),
            ids: AtomicU64::default(),
            random: Random::default(),
            files: Files::default(),
        }
    }

    /// What is in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.published.load()
    }

    /// An endpoint of the cluster that was to leave is not well any more.
    pub(super) fn let_leave(&self, cluster: &str) {
        if let Some(updater) = self.updater.upgrade() {
            let mut updater = updater.lock().unwrap_or_else(PoisonError::into_inner);
            updater.let_leave(cluster);
        }
    }

    pub(super) fn connector(&self) -> Connector<'_> {
        Connector {
            tls: &self.tls,
            workload: self.workload.as_deref(),
            http1: &self.http1,
            scratch: &self.scratch,
            internal: self,
            ids: &self.ids,
        }
    }
}

/// Listeners are the workers'.
impl InternalListeners for Own {
    fn connect(&self, _to: &Internal, _passed: Passed, _notes: notes::Passed) -> Option<DuplexStream> {
        None
    }
}
