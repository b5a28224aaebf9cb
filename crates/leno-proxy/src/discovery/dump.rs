//! What is known, for those who look at it from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use leno_engine::compile::secret;

use super::Discovery;
use super::memory::Memory;
use crate::resources::{Kind, Known, Name, Rejected, Stage};

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// By kind and name.
    pub resources: Vec<Dumped>,
    /// Of the last response of a kind that was taken whole.
    pub versions: BTreeMap<Kind, String>,
    /// What is not in force yet, and what it waits for.
    pub waiting: Vec<(Name, Vec<Name>)>,
}

/// One resource.
#[derive(Clone, Debug)]
pub struct Dumped {
    pub name: Name,
    /// The bootstrap's own: nobody can change it.
    pub fixed: bool,
    pub active: Option<Version>,
    pub warming: Option<Version>,
    /// A listener that is gone, and has connections.
    pub draining: Option<Version>,
    pub rejected: Option<Refusal>,
    /// The control plane says that there is none.
    pub absent: bool,
    /// Since when it is asked for by its name.
    pub requested: Option<SystemTime>,
}

/// A version that was accepted.
#[derive(Clone, Debug)]
pub struct Version {
    pub version: String,
    /// The message; of a secret without what is secret in it.
    pub body: Bytes,
    pub updated: SystemTime,
}

/// A version that could not be taken.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub why: String,
    pub version: String,
    pub body: Bytes,
    pub tried: SystemTime,
}

/// Two clocks at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) time: SystemTime,
}

// === impl Discovery ===

impl Discovery {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn dump(&self, memory: &mut Memory, now: Instant) -> Dump {
        let time = SystemTime::now();
        let updater = self.proxy.updater();
        memory.dump(Moment { now, time }, |listener| updater.is_draining(listener))
    }
}

// === impl Moment ===

impl Moment {
    fn at(self, instant: Instant) -> SystemTime {
        let age: Duration = self.now.saturating_duration_since(instant);
        self.time.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn version(self, stage: Stage<'_>) -> Version {
        Version {
            version: stage.version.to_owned(),
            body: stage.body.clone(),
            updated: self.at(stage.since),
        }
    }

    fn refusal(self, rejected: &Rejected) -> Refusal {
        Refusal {
            why: rejected.why.clone(),
            version: rejected.version.clone(),
            body: rejected.body.clone(),
            tried: self.at(rejected.since),
        }
    }
}

// === impl Dumped ===

impl Dumped {
    /// It was asked for, and nothing was said of it.
    fn requested(name: Name) -> Self {
        Self {
            name,
            fixed: false,
            active: None,
            warming: None,
            draining: None,
            rejected: None,
            absent: false,
            requested: None,
        }
    }
}

// === impl Memory ===

impl Memory {
    /// `drains`: whether a listener that is gone has connections.
    pub(super) fn dump(&mut self, moment: Moment, drains: impl Fn(&str) -> bool) -> Dump {
        let known = self.resources.known();
        let mut resources: BTreeMap<Name, Dumped> = known
            .map(|known| (known.name.clone(), self.dumped(known, moment)))
            .collect();
        for (name, stage) in self.resources.draining(drains) {
            let name = (Kind::Listener, name.to_owned());
            let dumped = resources
                .entry(name.clone())
                .or_insert_with(|| Dumped::requested(name));
            dumped.draining = Some(moment.version(stage));
        }
        for (name, since) in &self.requested {
            let dumped = resources
                .entry(name.clone())
                .or_insert_with(|| Dumped::requested(name.clone()));
            dumped.requested = Some(moment.at(*since));
        }
        let waiting = self.resources.waiting();
        Dump {
            resources: resources.into_values().collect(),
            versions: self.versions.clone(),
            waiting: waiting
                .map(|(name, missing)| (name.clone(), missing.into_iter().cloned().collect()))
                .collect(),
        }
    }

    fn version(&self, kind: Kind, stage: Stage<'_>, moment: Moment) -> Version {
        let mut version = moment.version(stage);
        version.body = self.whole(kind, &version.body);
        version
    }

    fn dumped(&self, known: Known<'_>, moment: Moment) -> Dumped {
        Dumped {
            name: known.name.clone(),
            fixed: self.fixed.contains(known.name),
            active: known
                .active
                .map(|stage| self.version(known.name.0, stage, moment)),
            warming: known
                .warming
                .map(|stage| self.version(known.name.0, stage, moment)),
            draining: None,
            rejected: known.rejected.map(|rejected| moment.refusal(rejected)),
            absent: known.absent,
            requested: None,
        }
    }
}

/// What of a resource may be kept, and shown.
pub(super) fn shown(kind: Kind, body: &[u8]) -> Bytes {
    match kind {
        Kind::Secret => secret::redacted(body).into(),
        _ => Bytes::copy_from_slice(body),
    }
}
