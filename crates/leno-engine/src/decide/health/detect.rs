//! Outlier detection: who leaves the balance for a while because its requests end badly, by itself or compared to the
//! others (Envoy docs: "Outlier detection").

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{ClusterHealth, Counted, Flags, HostHealth};
use crate::compile::cluster::OutlierDetection;
use crate::compile::endpoint::Target;
use crate::decide::outlier::{Kind, Outcome};

type Members = HashMap<Target, Arc<HostHealth>>;

/// What somebody who logs it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub target: Target,
    pub at: Instant,
    /// Since it came back, or since it went out.
    pub since: Option<Duration>,
    /// How often it has been out.
    pub ejections: u32,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    Ejected {
        kind: Kind,
        enforced: bool,
        rates: Rates,
    },
    Returned,
}

/// Percent, of kinds that compare.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub host: f64,
    pub average: f64,
    pub threshold: f64,
}

impl ClusterHealth {
    /// How a request to an endpoint has ended; may eject it.
    pub fn report(
        &self,
        host: &Arc<HostHealth>,
        config: &OutlierDetection,
        outcome: Outcome,
        now: Instant,
        random: u64,
    ) {
        let kinds = host.monitor.count(config, outcome);
        if kinds.is_empty() {
            return;
        }
        let members = self.lock();
        for kind in kinds {
            let is_member = members.values().any(|member| Arc::ptr_eq(member, host));
            if !is_member || host.flags().has(Flags::EJECTED) {
                continue;
            }
            self.count(kind.detected());
            self.eject(&members, host, config, (kind, Rates::default()), now, random);
            if kind == Kind::Consecutive5xx {
                self.count(Counted::Consecutive5xx);
            }
            host.monitor.forget(kind);
        }
    }

    /// Once an interval: who may come back does, and who does worse than the others goes.
    pub fn look(&self, config: &OutlierDetection, now: Instant, random: u64) {
        let members = self.lock();
        let mut rates: [Vec<(&Arc<HostHealth>, f64, u64)>; 2] = [Vec::new(), Vec::new()];
        for host in members.values() {
            if host.flags().has(Flags::EJECTED) && host.monitor.ejection().is_over(config, now) {
                self.take_back(&members, host, now);
            }
            let taken = host.monitor.rates.each_ref().map(|rate| rate.take());
            if host.flags().has(Flags::EJECTED) {
                continue;
            }
            for (rates, taken) in rates.iter_mut().zip(taken) {
                rates.extend(taken.map(|(percent, volume)| (host, percent, volume)));
            }
        }
        let kinds = [
            (Kind::SuccessRate, Kind::FailurePercentage),
            (Kind::LocalOriginSuccessRate, Kind::LocalOriginFailurePercentage),
        ];
        for (rates, (success_rate, failure_percentage)) in rates.iter().zip(kinds) {
            let mut out: Vec<(&Arc<HostHealth>, Kind, Rates)> = Vec::new();
            let setting = &config.success_rate;
            let heard =
                |volume: u64, setting: &crate::compile::cluster::Compared| volume >= setting.request_volume;
            let valid: Vec<_> = rates
                .iter()
                .filter(|(_, _, volume)| heard(*volume, setting))
                .collect();
            if valid.len() as u64 >= setting.minimum_hosts {
                let percents: Vec<f64> = valid.iter().map(|(_, percent, _)| *percent).collect();
                let (average, threshold) = least_success(&percents, config.success_rate_stdev_factor);
                let worse = valid.iter().filter(|(_, percent, _)| *percent < threshold);
                out.extend(worse.map(|(host, percent, _)| {
                    let rates = Rates {
                        host: *percent,
                        average,
                        threshold,
                    };
                    (*host, success_rate, rates)
                }));
            }
            let setting = &config.failure_percentage;
            let valid: Vec<_> = rates
                .iter()
                .filter(|(_, _, volume)| heard(*volume, setting))
                .collect();
            if valid.len() as u64 >= setting.minimum_hosts {
                let most = f64::from(config.failure_percentage_threshold);
                let worse = valid.iter().filter(|(_, percent, _)| 100.0 - *percent >= most);
                out.extend(worse.map(|(host, percent, _)| {
                    let rates = Rates {
                        host: *percent,
                        ..Rates::default()
                    };
                    (*host, failure_percentage, rates)
                }));
            }
            for (host, kind, rates) in out {
                if kind == Kind::SuccessRate || kind == Kind::LocalOriginSuccessRate {
                    self.count(Counted::SuccessRate);
                }
                self.count(kind.detected());
                self.eject(&members, host, config, (kind, rates), now, random);
            }
        }
        for host in members.values() {
            if !host.flags().has(Flags::EJECTED) {
                host.monitor.ejection().forgive(config, now);
            }
        }
    }

    /// An active check has found it well.
    pub fn absolve(&self, host: &HostHealth, now: Instant) {
        let flags = host.flags();
        if flags.has(Flags::EJECTED) && !flags.has(Flags::FAILED_CHECK) {
            self.take_back(&self.lock(), host, now);
        }
    }

    /// How many are out.
    pub fn ejected(&self) -> usize {
        ejected(&self.lock())
    }

    fn take_back(&self, members: &Members, host: &HostHealth, now: Instant) {
        self.tell(members, host, Action::Returned, now);
        host.set(|flags| flags.without(Flags::EJECTED));
        host.monitor.returned(now);
        self.changed();
    }

    fn eject(
        &self,
        members: &Members,
        host: &HostHealth,
        config: &OutlierDetection,
        (kind, rates): (Kind, Rates),
        now: Instant,
        random: u64,
    ) {
        if !may_eject(config, ejected(members), members.len()) {
            return self.count(Counted::Overflow);
        }
        if matches!(kind, Kind::Consecutive5xx | Kind::SuccessRate) {
            self.count(Counted::Total);
        }
        let enforced = random % 100 < u64::from(kind.enforced(config));
        let action = Action::Ejected {
            kind,
            enforced,
            rates,
        };
        if !enforced {
            return self.tell(members, host, action, now);
        }
        // It may be out for another reason already, and is then counted twice, as by Envoy.
        self.count(Counted::EnforcedTotal);
        self.count(kind.counted());
        host.monitor.ejection().begin(config, now, random >> 8);
        self.tell(members, host, action, now);
        host.set(|flags| flags.with(Flags::EJECTED));
        self.changed();
    }
}

impl ClusterHealth {
    /// From now on somebody wants to be told.
    pub fn log_ejections(&self) {
        self.logs.store(true, Ordering::Relaxed);
    }

    /// What has happened since the last time.
    pub fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told())
    }

    fn tell(&self, members: &Members, host: &HostHealth, action: Action, now: Instant) {
        if !self.logs.load(Ordering::Relaxed) {
            return;
        }
        let is_it = |member: &Arc<HostHealth>| std::ptr::eq(Arc::as_ptr(member), host);
        let Some((target, _)) = members.iter().find(|(_, member)| is_it(member)) else {
            return;
        };
        let ejected = action != Action::Returned;
        let (since, ejections) = host.monitor.ejection().told(ejected, now);
        self.told().push(Told {
            target: target.clone(),
            at: now,
            since,
            ejections,
            action,
        });
    }
}

fn ejected(members: &Members) -> usize {
    let out = members.values().filter(|host| host.flags().has(Flags::EJECTED));
    out.count()
}

/// Whether one more of `total` endpoints may go when `ejected` are out.
fn may_eject(config: &OutlierDetection, ejected: usize, total: usize) -> bool {
    let share = (ejected as u64 + 1) * 100;
    share <= u64::from(config.max_ejection_percent) * total as u64
        || (config.always_eject_one_host && ejected == 0)
}

/// The mean, and so many standard deviations below it; the factor is in thousandths.
fn least_success(percents: &[f64], factor: u32) -> (f64, f64) {
    let count = percents.len().max(1) as f64;
    let mean = percents.iter().sum::<f64>() / count;
    let variance = percents
        .iter()
        .map(|percent| (percent - mean).powi(2))
        .sum::<f64>()
        / count;
    (mean, mean - f64::from(factor) / 1000.0 * variance.sqrt())
}

// === impl Kind ===

impl Kind {
    /// Percent.
    fn enforced(self, config: &OutlierDetection) -> u32 {
        match self {
            Self::Consecutive5xx => config.consecutive_5xx.enforcing,
            Self::ConsecutiveGatewayFailure => config.consecutive_gateway_failure.enforcing,
            Self::ConsecutiveLocalOriginFailure => config.consecutive_local_origin_failure.enforcing,
            Self::SuccessRate => config.success_rate.enforcing,
            Self::LocalOriginSuccessRate => config.success_rate.enforcing_local,
            Self::FailurePercentage => config.failure_percentage.enforcing,
            Self::LocalOriginFailurePercentage => config.failure_percentage.enforcing_local,
        }
    }

    fn detected(self) -> Counted {
        match self {
            Self::Consecutive5xx => Counted::Detected5xx,
            Self::ConsecutiveGatewayFailure => Counted::DetectedGateway,
            Self::ConsecutiveLocalOriginFailure => Counted::DetectedLocal,
            Self::SuccessRate => Counted::DetectedSuccessRate,
            Self::LocalOriginSuccessRate => Counted::DetectedLocalSuccessRate,
            Self::FailurePercentage => Counted::DetectedFailurePercentage,
            Self::LocalOriginFailurePercentage => Counted::DetectedLocalFailurePercentage,
        }
    }

    fn counted(self) -> Counted {
        match self {
            Self::Consecutive5xx => Counted::Enforced5xx,
            Self::ConsecutiveGatewayFailure => Counted::EnforcedGateway,
            Self::ConsecutiveLocalOriginFailure => Counted::EnforcedLocal,
            Self::SuccessRate => Counted::EnforcedSuccessRate,
            Self::LocalOriginSuccessRate => Counted::EnforcedLocalSuccessRate,
            Self::FailurePercentage => Counted::EnforcedFailurePercentage,
            Self::LocalOriginFailurePercentage => Counted::EnforcedLocalFailurePercentage,
        }
    }
}
