//! What the process knows of its endpoints: their health, by active checks and by how their requests end, and what they
//! tell of their load.
//!
//! It is one for all workers, and outlives changes of the configuration. Who decides by it looks at one number for
//! whether anything has changed; what is written on the way of a request is written by outlier detection alone, where a
//! cluster has it.

mod check;
mod detect;
mod flags;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use check::{Change, Failure, Note, Verdict};
pub use detect::{Action, Rates, Told};
pub use flags::Flags;

use crate::compile::cluster::{BalancePolicy, Cluster, HealthCheck};
use crate::compile::endpoint::{Assignment, Endpoint, Health, Locality, Target};
use crate::decide::orca;
use crate::decide::outlier::Monitor;
use check::Streak;

/// Of a cluster.
#[derive(Debug, Default)]
pub struct ClusterHealth {
    /// One more with each change.
    generation: AtomicU64,
    /// There has been a connection.
    met: AtomicBool,
    hosts: Mutex<HashMap<Target, Arc<HostHealth>>>,
    counts: [AtomicU64; Counted::COUNT],
    /// Somebody writes down who is ejected.
    logs: AtomicBool,
    /// Endpoints that are asked for their load.
    sessions: AtomicU64,
    told: Mutex<Vec<Told>>,
}

/// Of an endpoint.
#[derive(Debug)]
pub struct HostHealth {
    flags: AtomicU8,
    streak: Mutex<Streak>,
    pub(super) monitor: Monitor,
    /// Of its load, where that counts.
    pub told: orca::Told,
}

/// An endpoint that is asked for its load.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Session(Arc<ClusterHealth>);

/// How well an endpoint is, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Healthy,
    Degraded,
    Unhealthy,
}

macro_rules! counted {
    ($($variant:ident $name:literal,)*) => {
        /// What is counted of checks and ejections.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counted {
            $($variant,)*
        }

        impl Counted {
            /// By Envoy's names, within the cluster's.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
            const COUNT: usize = Self::NAMES.len();
        }
    };
}

counted! {
    OobReport "lb_orca_oob.reports_received",
    OobUseless "lb_orca_oob.report_errors",
    OobFailure "lb_orca_oob.stream_failures",
    OobTerminated "lb_orca_oob.stream_terminated",
    Attempt "health_check.attempt",
    Success "health_check.success",
    Failure "health_check.failure",
    PassiveFailure "health_check.passive_failure",
    NetworkFailure "health_check.network_failure",
    VerifyCluster "health_check.verify_cluster",
    Consecutive5xx "outlier_detection.ejections_consecutive_5xx",
    SuccessRate "outlier_detection.ejections_success_rate",
    Total "outlier_detection.ejections_total",
    Overflow "outlier_detection.ejections_overflow",
    EnforcedTotal "outlier_detection.ejections_enforced_total",
    Detected5xx "outlier_detection.ejections_detected_consecutive_5xx",
    DetectedGateway "outlier_detection.ejections_detected_consecutive_gateway_failure",
    DetectedLocal "outlier_detection.ejections_detected_consecutive_local_origin_failure",
    DetectedSuccessRate "outlier_detection.ejections_detected_success_rate",
    DetectedLocalSuccessRate "outlier_detection.ejections_detected_local_origin_success_rate",
    DetectedFailurePercentage "outlier_detection.ejections_detected_failure_percentage",
    DetectedLocalFailurePercentage "outlier_detection.ejections_detected_local_origin_failure_percentage",
    Enforced5xx "outlier_detection.ejections_enforced_consecutive_5xx",
    EnforcedGateway "outlier_detection.ejections_enforced_consecutive_gateway_failure",
    EnforcedLocal "outlier_detection.ejections_enforced_consecutive_local_origin_failure",
    EnforcedSuccessRate "outlier_detection.ejections_enforced_success_rate",
    EnforcedLocalSuccessRate "outlier_detection.ejections_enforced_local_origin_success_rate",
    EnforcedFailurePercentage "outlier_detection.ejections_enforced_failure_percentage",
    EnforcedLocalFailurePercentage "outlier_detection.ejections_enforced_local_origin_failure_percentage",
}

// === impl ClusterHealth ===

impl ClusterHealth {
    /// None: nothing is known of endpoints besides what discovery says.
    pub fn of(cluster: &Cluster, old: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let tells = matches!(cluster.balance, BalancePolicy::ClientSide(_));
        let wanted = cluster.health_check.is_some() || cluster.outlier.is_some() || tells;
        wanted.then(|| old.map_or_else(Arc::default, Arc::clone))
    }

    /// Who belongs to the cluster now. Who did before keeps what is known of it, and stays in use until it is asked.
    pub fn set_members(&self, cluster: &Cluster, assignment: &Assignment) {
        let mut known = self.lock();
        let mut members = HashMap::with_capacity(known.len());
        for endpoint in assignment.endpoints() {
            let asked =
                cluster.health_check.is_some() && !endpoint.check.as_ref().is_some_and(|c| c.disabled);
            let host = match known.remove(&endpoint.address) {
                Some(host) => {
                    host.set_asked(asked);
                    host
                }
                None => Arc::new(HostHealth::new(asked, cluster.ignores_unchecked)),
            };
            members.insert(endpoint.address.clone(), host);
        }
        *known = members;
        drop(known);
        self.changed();
    }

    /// Discovery has taken those away, and nobody else.
    pub fn set_leaving(&self, leaving: &[Target]) {
        for (target, host) in self.lock().iter() {
            host.set(|flags| match leaving.contains(target) {
                true => flags.with(Flags::LEAVING),
                false => flags.without(Flags::LEAVING),
            });
        }
    }

    /// Whether an endpoint that discovery takes away stays: for as long as it is well.
    pub fn stays(&self, endpoint: &Endpoint) -> bool {
        let flags = self.host(&endpoint.address).map(|host| host.flags());
        let well = flags.is_some_and(|flags| !flags.has(Flags::FAILED_CHECK));
        well && endpoint.health != Health::Unhealthy
    }

    pub fn host(&self, target: &Target) -> Option<Arc<HostHealth>> {
        self.lock().get(target).cloned()
    }

    /// Another number: something may have changed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// There is a connection.
    pub fn meet(&self) {
        if !self.met.load(Ordering::Relaxed) {
            self.met.store(true, Ordering::Relaxed);
        }
    }

    pub fn is_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// All that are asked have answered once, or have failed to.
    pub fn has_first_answers(&self) -> bool {
        self.lock().values().all(|host| {
            let streak = host.streak();
            !streak.asked || !streak.first
        })
    }

    /// It is asked.
    pub fn attempt(&self) {
        self.count(Counted::Attempt);
    }

    /// It has answered as is wanted.
    pub fn pass(&self, host: &HostHealth, check: &HealthCheck, degraded: bool) -> Verdict {
        self.count(Counted::Success);
        self.judge(host, |streak, flags| streak.pass(check, flags, degraded))
    }

    pub fn fail(&self, host: &HostHealth, check: &HealthCheck, failure: Failure) -> Verdict {
        self.count(Counted::Failure);
        match failure {
            Failure::Network | Failure::Timeout => self.count(Counted::NetworkFailure),
            Failure::Passive => self.count(Counted::PassiveFailure),
            Failure::Active { .. } => {}
        }
        self.judge(host, |streak, flags| streak.fail(check, flags, failure))
    }

    /// It asks to get nothing more.
    pub fn exclude(&self, host: &HostHealth) {
        if host.set(|flags| flags.with(Flags::EXCLUDED)) {
            self.changed();
        }
    }

    fn judge(&self, host: &HostHealth, decide: impl FnOnce(&mut Streak, &mut Flags) -> Verdict) -> Verdict {
        let mut streak = host.streak();
        let before = host.flags();
        let mut after = before;
        let verdict = decide(&mut streak, &mut after);
        // Others may have changed other flags meanwhile.
        let changed = host.set(|flags| flags.without(before.without(after)).with(after.without(before)));
        drop(streak);
        if changed {
            self.changed();
        }
        verdict
    }

    pub fn count(&self, what: Counted) {
        self.add(what, 1);
    }

    fn add(&self, what: Counted, amount: u64) {
        if let Some(counter) = self.counts.get(what as usize) {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// An endpoint is asked for its load, until that is dropped.
    pub fn session(self: &Arc<Self>) -> Session {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Session(Arc::clone(self))
    }

    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// By their names.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let values = self.counts.iter().map(|counter| counter.load(Ordering::Relaxed));
        Counted::NAMES.iter().copied().zip(values)
    }

    pub fn reset_counters(&self) {
        for counter in &self.counts {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Who is asked: how many are well, and how many of these, or others, are degraded.
    pub fn checked(&self) -> (u64, u64) {
        let hosts = self.lock();
        let asked = || {
            hosts
                .values()
                .filter(|host| host.streak().asked)
                .map(|host| host.flags())
        };
        let count = |takes: fn(&Flags) -> bool| asked().filter(takes).count() as u64;
        (
            count(|flags| !flags.has(Flags::FAILED_CHECK)),
            count(|flags| flags.has(Flags::DEGRADED_CHECK)),
        )
    }

    fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Arc<HostHealth>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl HostHealth ===

impl HostHealth {
    fn new(asked: bool, ignores_unchecked: bool) -> Self {
        let flags = match (asked, ignores_unchecked) {
            (false, _) => Flags::default(),
            (true, false) => Flags::FAILED_CHECK,
            (true, true) => Flags::FAILED_CHECK | Flags::UNCHECKED,
        };
        Self {
            flags: AtomicU8::new(flags.bits()),
            streak: Mutex::new(Streak::new(asked)),
            monitor: Monitor::default(),
            told: orca::Told::default(),
        }
    }

    pub fn flags(&self) -> Flags {
        Flags::of_bits(self.flags.load(Ordering::Relaxed))
    }

    /// Its checks or its requests have put it out.
    pub fn is_out(&self) -> bool {
        self.flags().has(Flags::FAILED_CHECK | Flags::EJECTED)
    }

    /// True: they are others now.
    fn set(&self, change: impl Fn(Flags) -> Flags) -> bool {
        let change = |bits| Some(change(Flags::of_bits(bits)).bits());
        let before = self
            .flags
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        before.is_ok_and(|before| Some(before) != change(before))
    }

    /// Who is not asked any more is what it was before it was.
    fn set_asked(&self, asked: bool) {
        let mut streak = self.streak();
        if streak.asked == asked {
            return;
        }
        *streak = Streak::new(asked);
        let of_checks = Flags::FAILED_CHECK | Flags::DEGRADED_CHECK | Flags::UNCHECKED | Flags::TIMED_OUT;
        self.set(|flags| flags.without(of_checks | Flags::EXCLUDED));
    }

    fn streak(&self) -> MutexGuard<'_, Streak> {
        self.streak.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// With what is known besides its configuration.
    pub fn standing(&self, flags: Flags) -> Standing {
        if flags.has(Flags::FAILED_CHECK | Flags::EJECTED) {
            return Standing::Unhealthy;
        }
        match self.health {
            Health::Unhealthy | Health::Draining => Standing::Unhealthy,
            Health::Degraded => Standing::Degraded,
            _ if flags.has(Flags::DEGRADED_CHECK) => Standing::Degraded,
            Health::Unknown | Health::Healthy => Standing::Healthy,
        }
    }
}

impl Assignment {
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let localities = self.priorities.iter().flatten();
        localities.flat_map(|locality| &locality.endpoints)
    }

    /// With those of `old` that it does not have and that stay, where they were; and which these are.
    pub fn keeping(mut self, old: &Self, stays: impl Fn(&Endpoint) -> bool) -> (Self, Vec<Target>) {
        let here: HashSet<Target> = self
            .endpoints()
            .map(|endpoint| endpoint.address.clone())
            .collect();
        let mut kept = Vec::new();
        for (priority, localities) in old.priorities.iter().enumerate() {
            for locality in localities {
                let missing = locality.endpoints.iter();
                let missing = missing.filter(|endpoint| !here.contains(&endpoint.address) && stays(endpoint));
                let staying: Vec<Arc<Endpoint>> = missing.cloned().collect();
                if staying.is_empty() {
                    continue;
                }
                kept.extend(staying.iter().map(|endpoint| endpoint.address.clone()));
                if self.priorities.len() <= priority {
                    self.priorities.resize_with(priority + 1, Vec::new);
                }
                let Some(level) = self.priorities.get_mut(priority) else {
                    continue;
                };
                match level.iter_mut().find(|known| known.name == locality.name) {
                    Some(known) => known.endpoints.extend(staying),
                    None => level.push(Locality {
                        endpoints: staying,
                        ..locality.clone()
                    }),
                }
            }
        }
        (self, kept)
    }
}
