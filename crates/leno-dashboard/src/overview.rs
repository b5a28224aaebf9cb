//! The line above everything: how the mesh is as a whole.

use serde::Serialize;

use crate::facts::Facts;
use crate::history::{History, Measures};

#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// leno's version.
    pub version: String,
    pub snapshot: u64,
    /// Milliseconds since 1970.
    pub now: u64,
    pub workloads: usize,
    pub ready: usize,
    pub services: usize,
    pub proxies: usize,
    pub rejecting: usize,
    pub errors: usize,
    pub warnings: usize,
    pub traffic: Measures,
    /// Nothing has ever been called.
    pub quiet: bool,
}

impl Overview {
    pub fn new(facts: &Facts, history: &History) -> Self {
        let snapshot = &facts.snapshot;
        let of = |severity: &str| {
            facts
                .diagnostics
                .iter()
                .filter(|d| d.severity == severity)
                .count()
        };
        let rejects = |state: &str| state == "REJECTED";
        Self {
            version: facts.version.clone(),
            snapshot: snapshot.version,
            now: u64::try_from(facts.now.as_millis()).unwrap_or(u64::MAX),
            workloads: snapshot.workloads.len(),
            ready: snapshot.workloads.values().filter(|w| w.healthy).count(),
            services: snapshot.services.len(),
            proxies: facts.proxies.len(),
            rejecting: facts
                .proxies
                .iter()
                .filter(|p| p.types.iter().any(|t| rejects(&t.state)))
                .count(),
            errors: of("error"),
            warnings: of("warning"),
            traffic: history.measures(history.links()),
            quiet: history.links().next().is_none(),
        }
    }
}
