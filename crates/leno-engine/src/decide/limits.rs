//! Circuit breakers: how much of a cluster the whole process may use at once.
//!
//! The only state that workers share on the request path. Relaxed counters are exact here: a permit is granted by
//! one compare-and-swap on one counter, and nothing else is read because of it. Each counter has its own cache line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::compile::cluster::CircuitBreakers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Connection,
    PendingRequest,
    Request,
    Retry,
}

/// A cluster's limits and what is in use; shared by all workers.
#[derive(Debug, Default)]
pub struct ClusterLimits {
    gauges: [Gauge; 4],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Gauge {
    used: AtomicU32,
    limit: AtomicU32,
}

/// The right to use one of a resource, until dropped.
#[derive(Debug)]
#[must_use = "a permit is given back when dropped"]
pub struct Permit {
    limits: Arc<ClusterLimits>,
    resource: Resource,
}

// === impl ClusterLimits ===

impl ClusterLimits {
    pub fn new(limits: &CircuitBreakers) -> Self {
        let this = Self::default();
        this.set(limits);
        this
    }

    /// Takes new limits; what is in use stays in use.
    pub fn set(&self, limits: &CircuitBreakers) {
        let CircuitBreakers {
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
        } = *limits;
        for (resource, limit) in [
            (Resource::Connection, max_connections),
            (Resource::PendingRequest, max_pending_requests),
            (Resource::Request, max_requests),
            (Resource::Retry, max_retries),
        ] {
            self.gauge(resource).limit.store(limit, Relaxed);
        }
    }

    /// None: the circuit is open (`UO`).
    pub fn acquire(self: &Arc<Self>, resource: Resource) -> Option<Permit> {
        let gauge = self.gauge(resource);
        let limit = gauge.limit.load(Relaxed);
        let one_more = |used: u32| (used < limit).then(|| used + 1);
        gauge.used.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Permit {
            limits: self.clone(),
            resource,
        })
    }

    pub fn used(&self, resource: Resource) -> u32 {
        self.gauge(resource).used.load(Relaxed)
    }

    pub fn limit(&self, resource: Resource) -> u32 {
        self.gauge(resource).limit.load(Relaxed)
    }

    fn gauge(&self, resource: Resource) -> &Gauge {
        let [connections, pending, requests, retries] = &self.gauges;
        match resource {
            Resource::Connection => connections,
            Resource::PendingRequest => pending,
            Resource::Request => requests,
            Resource::Retry => retries,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.gauge(self.resource).used.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_one_is_never_exceeded_by_two_workers() {
        let limits = Arc::new(ClusterLimits::new(&CircuitBreakers {
            max_requests: 1,
            ..Default::default()
        }));
        let inside = AtomicU32::new(0);
        let granted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while granted.load(Relaxed) < 10_000 {
                        if let Some(_permit) = limits.acquire(Resource::Request) {
                            assert_eq!(inside.fetch_add(1, Relaxed), 0);
                            granted.fetch_add(1, Relaxed);
                            inside.fetch_sub(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(limits.used(Resource::Request), 0);
    }

    #[test]
    fn a_lowered_limit_grants_nothing_until_enough_is_given_back() {
        let limits = Arc::new(ClusterLimits::new(&CircuitBreakers::default()));
        let held: Vec<_> = (0..3).filter_map(|_| limits.acquire(Resource::Retry)).collect();
        assert_eq!(held.len(), 3);
        limits.set(&CircuitBreakers {
            max_retries: 1,
            ..Default::default()
        });
        assert!(limits.acquire(Resource::Retry).is_none());
        drop(held);
        assert!(limits.acquire(Resource::Retry).is_some());
    }
}
