//! CLIENT_SIDE_WEIGHTED_ROUND_ROBIN: in turn, by weights that servers' own reports of their load have come to.
//!
//! Envoy docs: "Client-side weighted round robin". Weights are worked out anew from time to time, not with each report.

use std::time::Instant;

use super::schedule::Schedule;
use super::{Balancer, Host, PickContext, Policy};
use crate::compile::cluster::BalancePolicy;
use crate::decide::orca::LoadReport;

#[derive(Debug)]
pub(super) struct ClientSideWeighted(Schedule);

impl ClientSideWeighted {
    pub(super) fn new(hosts: usize, seed: u64, weight: impl Fn(usize) -> f64) -> Self {
        Self(Schedule::new(hosts, seed % 128, weight))
    }
}

impl Policy for ClientSideWeighted {
    fn pick(&mut self, hosts: &[Host], _cx: &PickContext<'_>, _attempt: u32) -> Option<usize> {
        self.0.serve(|index| hosts.get(index).map_or(1.0, Host::weight))
    }
}

// === impl Balancer ===

impl Balancer {
    /// Whether it matters what answers say of their server's load.
    pub fn heeds_loads(&self) -> bool {
        matches!(self.settings.choice.policy, BalancePolicy::ClientSide(_))
    }

    /// Takes what an endpoint tells of its load.
    pub fn report_load(&self, host: &Host, report: &LoadReport, now: Instant) {
        if let BalancePolicy::ClientSide(settings) = &self.settings.choice.policy
            && let Some(health) = host.health()
        {
            health.told.take(settings, report, now);
        }
    }

    /// Endpoints that have not told enough weigh as the one in the middle of the others.
    pub(super) fn weigh(&mut self, now: Instant) {
        let BalancePolicy::ClientSide(settings) = &self.settings.choice.policy else {
            return;
        };
        let last = *self.last_weighed.get_or_insert(now);
        if now.saturating_duration_since(last) < settings.update {
            return;
        }
        self.last_weighed = Some(now);
        for level in &self.levels {
            let valid = |host: &Host| host.health()?.told.valid(settings, now);
            let mut weights: Vec<u32> = level.hosts().filter_map(valid).collect();
            weights.sort_unstable();
            let middle = weights.get(weights.len() / 2).copied().unwrap_or(1);
            for host in level.hosts() {
                let weight = valid(host).unwrap_or(middle);
                host.state.told_weight.set(weight.max(1));
            }
        }
    }
}
