//! What filters may know of the process.

use std::sync::atomic::Ordering;

use leno_engine::decide::filter::{Membership, Process};

use crate::worker::Worker;

impl Process for Worker {
    fn fails_health_checks(&self) -> bool {
        self.shared.health_failed.load(Ordering::Relaxed)
    }

    fn cluster_name(&self) -> &str {
        &self.shared.node.cluster
    }

    fn membership(&self, cluster: &str) -> Option<Membership> {
        let snapshot = self.snapshot();
        let (healthy, degraded, all) = snapshot.cluster(cluster)?.membership();
        Some(Membership {
            well: healthy + degraded,
            all,
        })
    }
}
