//! Saying a thing once: a peer that tries again every second does not fill the log.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// So many are remembered; the oldest is then forgotten, and would be said again.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Once {
    said: Mutex<(HashSet<String>, VecDeque<String>)>,
}

impl Once {
    /// Whether this has not been said yet.
    pub(crate) fn first(&self, what: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *said;
        if !known.insert(what.to_owned()) {
            return false;
        }
        order.push_back(what.to_owned());
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}
