//! What is asked, and what comes of an answer.

use std::time::Instant;

use leno_engine::compile::cluster::{Cluster, HealthCheck};
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::decide::health::{Failure, HostHealth, Verdict};

use crate::health::Health;

/// What a check has found: well, or degraded.
pub(super) struct Well {
    pub(super) degraded: bool,
}

/// What an answer is about.
#[derive(Clone, Copy)]
pub(super) struct One<'o> {
    pub(super) cluster: &'o Cluster,
    pub(super) check: &'o HealthCheck,
    pub(super) health: &'o Health,
    pub(super) endpoint: &'o Endpoint,
    pub(super) host: &'o HostHealth,
}

impl One<'_> {
    pub(super) fn judge(&self, result: Result<Well, Failure>) -> Verdict {
        let known = &self.health.known;
        let verdict = match result {
            Ok(Well { degraded }) => known.pass(self.host, self.check, degraded),
            Err(failure) => return known.fail(self.host, self.check, failure),
        };
        if self
            .cluster
            .outlier
            .is_some_and(|detection| detection.checks_absolve)
        {
            known.absolve(self.host, Instant::now());
        }
        verdict
    }

    /// By what name it is asked: its own, the one that the check says, the cluster's.
    pub(super) fn hostname<'n>(&'n self, said: &'n str) -> &'n str {
        let own = self
            .endpoint
            .check
            .as_ref()
            .map_or("", |check| check.hostname.as_str());
        let mut names = [own, said].into_iter();
        names.find(|name| !name.is_empty()).unwrap_or(&self.cluster.name)
    }
}
