//! How often configuration has come from elsewhere, and what it was: for statistics. Nothing here is on a request's path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use leno_engine::compile::config_source::Origin;

use crate::resources::{Kind, Name};

#[derive(Debug, Default)]
pub(crate) struct Updates {
    connected: AtomicBool,
    known: Mutex<BTreeMap<Name, Subscription>>,
}

/// What has come of one resource, or of all of a kind that are asked for together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// None: of names that are resolved.
    origin: Option<Origin>,
    pub(crate) attempts: u64,
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) rejected: u64,
    /// Milliseconds since 1970 at the last success.
    pub(crate) time: u64,
}

// === impl Updates ===

impl Updates {
    /// It is asked for there.
    pub(crate) fn asked(&self, kind: Kind, name: &str, origin: &Origin) {
        self.of(kind, name, |one| {
            if one.origin.is_none() {
                one.attempts += 1;
                one.origin = Some(origin.clone());
            }
        });
    }

    pub(crate) fn came(&self, kind: Kind, name: &str, accepted: bool, now: SystemTime) {
        self.of(kind, name, |one| {
            one.attempts += 1;
            match accepted {
                true => {
                    one.successes += 1;
                    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                    one.time = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                }
                false => one.rejected += 1,
            }
        });
    }

    /// Of names that are resolved: they could not be.
    pub(crate) fn failed(&self, kind: Kind, name: &str) {
        self.of(kind, name, |one| {
            one.attempts += 1;
            one.failures += 1;
        });
    }

    /// The connection to there is lost, or could not be made.
    pub(crate) fn lost(&self, origin: &Origin) {
        self.connected.store(false, Relaxed);
        for one in self.known().values_mut() {
            if one.origin.as_ref() == Some(origin) {
                one.attempts += 1;
                one.failures += 1;
            }
        }
    }

    pub(crate) fn opened(&self) {
        self.connected.store(true, Relaxed);
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// Nobody asks for it any more.
    pub(crate) fn forget(&self, (kind, name): &Name) {
        self.known().remove(&(*kind, name.clone()));
    }

    pub(crate) fn all(&self) -> BTreeMap<Name, Subscription> {
        self.known().clone()
    }

    fn of(&self, kind: Kind, name: &str, count: impl FnOnce(&mut Subscription)) {
        count(self.known().entry((kind, name.to_owned())).or_default());
    }

    /// It stays whole whoever panics.
    fn known(&self) -> MutexGuard<'_, BTreeMap<Name, Subscription>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_a_failure_of_what_is_asked_for_there() {
        let updates = Updates::default();
        updates.asked(Kind::Cluster, "*", &Origin::Ads);
        updates.came(Kind::Endpoints, "resolved", true, UNIX_EPOCH);
        updates.came(Kind::Cluster, "*", true, UNIX_EPOCH);
        updates.came(Kind::Cluster, "*", false, UNIX_EPOCH);
        updates.lost(&Origin::Ads);
        let all = updates.all();
        let counts = |kind, name: &str| {
            let one = &all[&(kind, name.to_owned())];
            (one.attempts, one.successes, one.rejected, one.failures)
        };
        assert_eq!(counts(Kind::Cluster, "*"), (4, 1, 1, 1));
        assert_eq!(counts(Kind::Endpoints, "resolved"), (1, 1, 0, 0));
    }
}
