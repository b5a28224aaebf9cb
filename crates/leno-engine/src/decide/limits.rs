//! Circuit breakers: how much of a cluster the whole process may use at once.
//!
//! The only state that workers share on the request path. Relaxed counters are exact here: a permit is granted by
//! one compare-and-swap on one counter, and nothing else is read because of it. Each counter has its own cache line.

mod per_host;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::compile::cluster::{CircuitBreakers, RetryBudget, Thresholds};
use crate::runtime::Value;
use per_host::PerHost;
pub use per_host::Seat;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Connection,
    PendingRequest,
    Request,
    Retry,
}

/// Requests of different priorities have limits of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    #[default]
    Default,
    High,
}

/// A cluster's limits and what is in use; shared by all workers.
#[derive(Debug, Default)]
pub struct ClusterLimits {
    default: Budgeted<Padded>,
    /// Seldom used: not worth a cache line each.
    high: Budgeted<Gauge>,
    hosts: PerHost,
}

/// The limits of one priority.
#[derive(Debug, Default)]
struct Budgeted<G> {
    gauges: [G; 4],
    /// The budget's percent in millionths and its minimum, where there is one: [`NO_BUDGET`].
    budget: (AtomicU32, AtomicU32),
}

const NO_BUDGET: u32 = u32::MAX;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Gauge);

#[derive(Debug, Default)]
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
    priority: Priority,
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
        self.default.set(&limits.default);
        self.high.set(&limits.high);
        self.hosts.set(limits);
    }

    /// None: the circuit is open (`UO`).
    pub fn acquire(self: &Arc<Self>, resource: Resource, priority: Priority) -> Option<Permit> {
        let gauge = self.gauge(resource, priority);
        let limit = self.limit(resource, priority);
        let one_more = |used: u32| (used < limit).then(|| used + 1);
        gauge.used.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Permit {
            limits: self.clone(),
            resource,
            priority,
        })
    }

    pub fn used(&self, resource: Resource, priority: Priority) -> u32 {
        self.gauge(resource, priority).used.load(Relaxed)
    }

    /// Of retries under a budget, as of now.
    pub fn limit(&self, resource: Resource, priority: Priority) -> u32 {
        let fixed = || self.gauge(resource, priority).limit.load(Relaxed);
        if resource != Resource::Retry {
            return fixed();
        }
        let (percent, minimum) = match priority {
            Priority::Default => &self.default.budget,
            Priority::High => &self.high.budget,
        };
        match percent.load(Relaxed) {
            NO_BUDGET => fixed(),
            millionths => {
                let under_way = u64::from(self.used(Resource::Request, priority))
                    + u64::from(self.used(Resource::PendingRequest, priority));
                let allowed = under_way * u64::from(millionths) / 1_000_000;
                minimum
                    .load(Relaxed)
                    .max(u32::try_from(allowed).unwrap_or(u32::MAX))
            }
        }
    }

    fn gauge(&self, resource: Resource, priority: Priority) -> &Gauge {
        match priority {
            Priority::Default => &of(&self.default.gauges, resource).0,
            Priority::High => of(&self.high.gauges, resource),
        }
    }
}

impl<G: AsRef<Gauge>> Budgeted<G> {
    fn set(&self, limits: &Thresholds) {
        let Thresholds {
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            retry_budget,
            max_connections_per_host: _,
            track_remaining: _,
        } = *limits;
        for (resource, limit) in [
            (Resource::Connection, max_connections),
            (Resource::PendingRequest, max_pending_requests),
            (Resource::Request, max_requests),
            (Resource::Retry, max_retries),
        ] {
            of(&self.gauges, resource).as_ref().limit.store(limit, Relaxed);
        }
        let (percent, minimum) = match retry_budget {
            None => (NO_BUDGET, 0),
            Some(RetryBudget { percent, minimum }) => ((percent * 10_000.0) as u32, minimum),
        };
        self.budget.0.store(percent, Relaxed);
        self.budget.1.store(minimum, Relaxed);
    }
}

impl CircuitBreakers {
    /// With what the runtime says of this cluster: `circuit_breakers.CLUSTER.PRIORITY.LIMIT`.
    #[must_use]
    pub fn under(&self, cluster: &str, runtime: &BTreeMap<String, Value>) -> Self {
        // None of them, mostly.
        let mut all = runtime.range("circuit_breakers.".to_owned()..);
        if !all
            .next()
            .is_some_and(|(key, _)| key.starts_with("circuit_breakers."))
        {
            return *self;
        }
        let with = |limits: &Thresholds, priority: &str| {
            let said = |limit: &str| runtime.get(&format!("circuit_breakers.{cluster}.{priority}.{limit}"));
            let whole = |limit: &str| {
                let whole = said(limit).and_then(Value::whole);
                whole.map(|whole| u32::try_from(whole).unwrap_or(u32::MAX))
            };
            let percent = said("retry_budget.budget_percent").and_then(Value::number);
            let minimum = whole("retry_budget.min_retry_concurrency");
            let budget = limits.retry_budget.or_else(|| {
                let any = percent.is_some() || minimum.is_some();
                any.then(RetryBudget::default)
            });
            Thresholds {
                max_connections: whole("max_connections").unwrap_or(limits.max_connections),
                max_pending_requests: whole("max_pending_requests").unwrap_or(limits.max_pending_requests),
                max_requests: whole("max_requests").unwrap_or(limits.max_requests),
                max_retries: whole("max_retries").unwrap_or(limits.max_retries),
                max_connections_per_host: limits.max_connections_per_host,
                track_remaining: limits.track_remaining,
                retry_budget: budget.map(|budget| RetryBudget {
                    percent: percent.unwrap_or(budget.percent).clamp(0.0, 100.0),
                    minimum: minimum.unwrap_or(budget.minimum),
                }),
            }
        };
        Self {
            default: with(&self.default, "default"),
            high: with(&self.high, "high"),
        }
    }
}

fn of<G>(gauges: &[G; 4], resource: Resource) -> &G {
    let [connections, pending, requests, retries] = gauges;
    match resource {
        Resource::Connection => connections,
        Resource::PendingRequest => pending,
        Resource::Request => requests,
        Resource::Retry => retries,
    }
}

impl AsRef<Gauge> for Padded {
    fn as_ref(&self) -> &Gauge {
        &self.0
    }
}

impl AsRef<Gauge> for Gauge {
    fn as_ref(&self) -> &Gauge {
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits
            .gauge(self.resource, self.priority)
            .used
            .fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_one_is_never_exceeded_by_two_workers() {
        let limits = Arc::new(ClusterLimits::new(&CircuitBreakers {
            default: Thresholds {
                max_requests: 1,
                ..Default::default()
            },
            ..Default::default()
        }));
        let inside = AtomicU32::new(0);
        let granted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while granted.load(Relaxed) < 10_000 {
                        if let Some(_permit) = limits.acquire(Resource::Request, Priority::Default) {
                            assert_eq!(inside.fetch_add(1, Relaxed), 0);
                            granted.fetch_add(1, Relaxed);
                            inside.fetch_sub(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(limits.used(Resource::Request, Priority::Default), 0);
    }

    #[test]
    fn a_lowered_limit_grants_nothing_until_enough_is_given_back() {
        let limits = Arc::new(ClusterLimits::new(&CircuitBreakers::default()));
        let held: Vec<_> = (0..3)
            .filter_map(|_| limits.acquire(Resource::Retry, Priority::Default))
            .collect();
        assert_eq!(held.len(), 3);
        limits.set(&CircuitBreakers {
            default: Thresholds {
                max_retries: 1,
                ..Default::default()
            },
            ..Default::default()
        });
        assert!(limits.acquire(Resource::Retry, Priority::Default).is_none());
        drop(held);
        assert!(limits.acquire(Resource::Retry, Priority::Default).is_some());
    }
}
