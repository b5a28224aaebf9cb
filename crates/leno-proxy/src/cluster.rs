//! A cluster in force.

use std::sync::Arc;

use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::endpoint::{Assignment, Endpoint};
use leno_engine::decide::health::{ClusterHealth, Flags, Standing};
use leno_engine::decide::limits::ClusterLimits;

use crate::health::Health;

/// A cluster with its endpoints. The limits outlive a change of either.
#[derive(Debug)]
pub struct ClusterState {
    pub cluster: Arc<Cluster>,
    /// None: not discovered yet.
    pub assignment: Option<Arc<Assignment>>,
    pub limits: Arc<ClusterLimits>,
    /// How often other endpoints have come or gone.
    pub(crate) changes: u64,
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

    /// With other endpoints, and with those of before that stay for as long as they are well. None: nobody does any more.
    pub(crate) fn assigned(&self, assignment: Option<Arc<Assignment>>) -> Self {
        let assignment = assignment.map(|new| match &self.health {
            None => new,
            Some(health) => self.members(&health.known, new),
        });
        let now = assignment.as_deref();
        Self {
            changes: self.changes + u64::from(!self.has_members_of(now)),
            cluster: Arc::clone(&self.cluster),
            assignment,
            limits: Arc::clone(&self.limits),
            health: self.health.clone(),
        }
    }

    fn has_members_of(&self, other: Option<&Assignment>) -> bool {
        let addresses = |assignment: Option<&Assignment>| {
            let endpoints = assignment.into_iter().flat_map(Assignment::endpoints);
            endpoints
                .map(|endpoint| endpoint.address.clone())
                .collect::<Vec<_>>()
        };
        addresses(self.assignment.as_deref()) == addresses(other)
    }

    /// Those who have begun to leave and are not well any more have left.
    pub(crate) fn left(&self) -> Self {
        let mut now = self.assignment.as_deref().cloned().unwrap_or_default();
        // Those who are well are kept once more.
        for locality in now.priorities.iter_mut().flatten() {
            locality
                .endpoints
                .retain(|endpoint| !self.flags(endpoint).has(Flags::LEAVING));
        }
        self.assigned(Some(Arc::new(now)))
    }

    fn members(&self, known: &ClusterHealth, new: Arc<Assignment>) -> Arc<Assignment> {
        let cluster = &self.cluster;
        let dynamic = matches!(
            cluster.discovery,
            Discovery::Eds(..) | Discovery::StrictDns { .. }
        );
        let keeps = dynamic && cluster.health_check.is_some() && !cluster.ignores_health_on_removal;
        let (new, leaving) = match &self.assignment {
            Some(old) if keeps => {
                let (new, leaving) = Assignment::clone(&new).keeping(old, |endpoint| known.stays(endpoint));
                (Arc::new(new), leaving)
            }
            _ => (new, Vec::new()),
        };
        known.set_members(cluster, &new);
        known.set_leaving(&leaving);
        new
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
