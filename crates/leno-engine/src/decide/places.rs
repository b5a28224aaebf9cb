//! So many at a time, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::runtime::Setting;

/// Equal to others with the same limit, whoever has a place there.
#[derive(Clone, Debug)]
pub struct Places {
    most: Setting<u64>,
    taken: Arc<AtomicU64>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU64>);

// === impl Places ===

impl Places {
    pub fn new(most: impl Into<Setting<u64>>) -> Self {
        Self {
            most: most.into(),
            taken: Arc::default(),
        }
    }

    /// Whether there is a limit at the moment.
    pub fn are_limited(&self) -> bool {
        self.most.now() != u64::MAX
    }

    /// None: all are taken.
    pub fn take(&self) -> Option<Place> {
        let most = self.most.now();
        let one_more = |taken: u64| (taken < most).then(|| taken + 1);
        let took = self.taken.fetch_update(Relaxed, Relaxed, one_more);
        took.ok().map(|_| Place(Arc::clone(&self.taken)))
    }

    /// How many of so many are taken.
    pub fn taken(&self) -> (u64, u64) {
        (self.taken.load(Relaxed), self.most.now())
    }
}

impl PartialEq for Places {
    fn eq(&self, other: &Self) -> bool {
        self.most == other.most
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let places = Places::new(2);
        let (one, other) = (places.take(), places.take());
        assert!(one.is_some() && other.is_some());
        assert!(places.take().is_none());
        drop(one);
        assert_eq!(places.taken(), (1, 2));
        assert!(places.take().is_some());
    }
}
