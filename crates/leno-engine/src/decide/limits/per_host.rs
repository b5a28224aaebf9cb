//! How many connections there may be to each endpoint of a cluster (`per_host_thresholds`).
//!
//! To make a connection is no small thing: a lock is nothing beside it, and where there is no limit none is taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ClusterLimits, Priority};
use crate::compile::address::Address;
use crate::compile::cluster::CircuitBreakers;

/// A cluster's.
#[derive(Debug)]
pub(super) struct PerHost {
    /// Of each priority.
    limits: [AtomicU32; 2],
    used: Mutex<HashMap<Address, u32>>,
}

/// A connection's place at its endpoint, until dropped.
#[derive(Debug)]
#[must_use = "the connection counts as ended when this is dropped"]
pub struct Seat {
    limits: Arc<ClusterLimits>,
    address: Address,
}

impl Default for PerHost {
    fn default() -> Self {
        Self {
            limits: [const { AtomicU32::new(u32::MAX) }; 2],
            used: Mutex::default(),
        }
    }
}

impl PerHost {
    pub(super) fn set(&self, limits: &CircuitBreakers) {
        let [default, high] = &self.limits;
        default.store(limits.default.max_connections_per_host, Relaxed);
        high.store(limits.high.max_connections_per_host, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, u32>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ClusterLimits ===

impl ClusterLimits {
    /// Whether connections to each endpoint are limited.
    pub fn is_per_host(&self) -> bool {
        self.hosts
            .limits
            .iter()
            .any(|limit| limit.load(Relaxed) != u32::MAX)
    }

    /// Whether there is room for one more connection to it.
    pub fn has_room_at(&self, address: &Address, priority: Priority) -> bool {
        let [default, high] = &self.hosts.limits;
        let limit = match priority {
            Priority::Default => default,
            Priority::High => high,
        };
        let limit = limit.load(Relaxed);
        limit == u32::MAX || self.hosts.lock().get(address).copied().unwrap_or(0) < limit
    }

    /// Counts a connection to it, whether or not there is room.
    pub fn seat(self: &Arc<Self>, address: &Address) -> Seat {
        *self.hosts.lock().entry(address.clone()).or_insert(0) += 1;
        Seat {
            limits: Arc::clone(self),
            address: address.clone(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut used = self.limits.hosts.lock();
        if let Some(count) = used.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.address);
            }
        }
    }
}
