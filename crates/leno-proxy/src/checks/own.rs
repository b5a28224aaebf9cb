//! What the thread that asks has of its own.

use std::rc::Rc;
use std::sync::Arc;

use leno_tls::{Crypto, Secrets};

use super::events::Events;
use crate::codec::h1::Workspace;
use crate::connect::{Connector, WorkloadSockets};
use crate::random::Random;
use crate::state::{Config, Published};
use crate::tcp::Scratch;
use crate::tls::Contexts;

/// What the thread is made of.
pub(crate) struct Parts {
    pub(crate) published: Arc<Published>,
    pub(crate) workload: Option<Arc<dyn WorkloadSockets>>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) crypto: Crypto,
}

/// What the thread has.
pub(super) struct Own {
    published: Arc<Published>,
    workload: Option<Arc<dyn WorkloadSockets>>,
    tls: Contexts,
    http1: Rc<Workspace>,
    scratch: Scratch,
    pub(super) random: Random,
    pub(super) events: Events,
}

// === impl Own ===

impl Own {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            published: parts.published,
            workload: parts.workload,
            tls: Contexts::new(parts.crypto, parts.secrets),
            http1: Rc::default(),
            scratch: Scratch::default(),
            random: Random::default(),
            events: Events::default(),
        }
    }

    /// What is in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.published.load()
    }

    pub(super) fn connector(&self) -> Connector<'_> {
        Connector {
            tls: &self.tls,
            workload: self.workload.as_deref(),
            http1: &self.http1,
            scratch: &self.scratch,
        }
    }
}
