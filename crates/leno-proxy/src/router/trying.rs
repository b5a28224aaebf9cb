//! Attempts under way, and what the health of their endpoints is told when they are late.

use std::cell::RefCell;

use smallvec::SmallVec;

use crate::outcome::Failure;
use crate::upstream::Picked;

#[derive(Debug, Default)]
pub(super) struct Trying(RefCell<SmallVec<[Attempt; 1]>>);

#[derive(Debug)]
struct Attempt {
    number: u32,
    picked: Picked,
    /// The endpoint's health has been told that it is late.
    late: bool,
}

// === impl Trying ===

impl Trying {
    pub(super) fn begin(&self, number: u32, picked: &Picked) {
        self.0.borrow_mut().push(Attempt {
            number,
            picked: picked.clone(),
            late: false,
        });
    }

    /// Whether it was late.
    pub(super) fn end(&self, number: u32) -> bool {
        let mut attempts = self.0.borrow_mut();
        let at = attempts.iter().position(|one| one.number == number);
        at.is_some_and(|at| attempts.swap_remove(at).late)
    }

    /// An attempt goes on, but as Envoy has it its endpoint has missed its time.
    pub(super) fn late(&self, number: u32) {
        let mut attempts = self.0.borrow_mut();
        let one = attempts.iter_mut().find(|one| one.number == number && !one.late);
        if let Some(Attempt { picked, late, .. }) = one {
            *late = true;
            picked.upstream.report_failure(&picked.host, &Failure::TryTimeout);
        }
    }

    /// Nobody waits any longer for those that are under way.
    pub(super) fn give_up(&self, failure: &Failure) {
        for Attempt { picked, late, .. } in self.0.take() {
            picked.host.state.load.settle(false);
            if matches!(failure, Failure::Timeout) && !late {
                picked.upstream.report_failure(&picked.host, failure);
            }
        }
    }
}
