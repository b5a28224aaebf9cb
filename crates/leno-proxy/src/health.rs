//! The health of a cluster's endpoints, as all workers know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leno_engine::compile::cluster::Cluster;
use leno_engine::decide::health::ClusterHealth;
use tokio::sync::watch;

/// Of a cluster.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) known: Arc<ClusterHealth>,
    /// Everybody who is asked has answered once.
    is_answered: AtomicBool,
    answered: watch::Sender<bool>,
}

// === impl Health ===

impl Health {
    /// None: endpoints are as discovery says.
    pub(crate) fn of(cluster: &Cluster, old: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if let Some(old) = old {
            return ClusterHealth::of(cluster, Some(&old.known)).map(|_| Arc::clone(old));
        }
        let known = ClusterHealth::of(cluster, None)?;
        let answered = cluster.health_check.is_none();
        Some(Arc::new(Self {
            known,
            is_answered: AtomicBool::new(answered),
            answered: watch::Sender::new(answered),
        }))
    }

    /// Nobody knows yet who is well.
    pub(crate) fn is_cold(&self) -> bool {
        !self.is_answered.load(Ordering::Acquire)
    }

    /// Until it is known who is well.
    pub(crate) async fn first_answers(&self) {
        let mut answered = self.answered.subscribe();
        // Without a sender there is nobody to wait for.
        let _ = answered.wait_for(|answered| *answered).await;
    }

    /// Looks whether there is still somebody to wait for.
    pub(crate) fn note_answers(&self) {
        if self.is_cold() && self.known.has_first_answers() {
            self.is_answered.store(true, Ordering::Release);
            self.answered.send_replace(true);
        }
    }
}
