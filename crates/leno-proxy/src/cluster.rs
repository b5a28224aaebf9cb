//! A cluster in force.

use std::sync::Arc;

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::{Assignment, Endpoint};
use leno_engine::decide::health::{Flags, Standing};
use leno_engine::decide::limits::ClusterLimits;

use crate::health::Health;

/// A cluster with its endpoints. The limits outlive a change of either.
#[derive(Debug)]
pub struct ClusterState {
    pub cluster: Arc<Cluster>,
    /// None: not discovered yet.
    pub assignment: Option<Arc<Assignment>>,
    pub limits: Arc<ClusterLimits>,
    /// None: nobody looks after its endpoints.
    pub(crate) health: Option<Arc<Health>>,
}

// === impl ClusterState ===

impl ClusterState {
    /// What is known of an endpoint besides its configuration.
    pub(crate) fn flags(&self, endpoint: &Endpoint) -> Flags {
        let health = self.health.as_ref();
        let host = health.and_then(|health| health.known.host(&endpoint.address));
        host.map(|host| host.flags()).unwrap_or_default()
    }

    /// How many endpoints are healthy, how many degraded, and how many there are.
    pub(crate) fn membership(&self) -> (u64, u64, u64) {
        let (mut healthy, mut degraded, mut all) = (0, 0, 0);
        for endpoint in self
            .assignment
            .iter()
            .flat_map(|assignment| assignment.endpoints())
        {
            all += 1;
            match endpoint.standing(self.flags(endpoint)) {
                Standing::Healthy => healthy += 1,
                Standing::Degraded => degraded += 1,
                Standing::Unhealthy => {}
            }
        }
        (healthy, degraded, all)
    }
}
