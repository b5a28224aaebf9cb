//! Earliest deadline first, by weights that may be others at each turn: a host that has been served is due again when
//! it weighs up to its turn, `1 / weight` later.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What a host weighs at least: none is left out for ever.
const LEAST: f64 = 1e-6;

#[derive(Debug)]
pub(super) struct Schedule(BinaryHeap<Reverse<Due>>);

#[derive(Debug)]
struct Due {
    at: f64,
    /// Who has waited longer goes first.
    order: u64,
    index: usize,
}

// === impl Schedule ===

impl Schedule {
    /// `turns` are served at once, so that not everybody begins with the same host.
    pub(super) fn new(hosts: usize, turns: u64, weight: impl Fn(usize) -> f64) -> Self {
        let due = |index: usize| {
            Reverse(Due {
                at: 1.0 / weight(index).max(LEAST),
                order: index as u64,
                index,
            })
        };
        let mut schedule = Self((0..hosts).map(due).collect());
        for _ in 0..turns {
            schedule.serve(&weight);
        }
        schedule
    }

    /// The host whose turn it is. `weight`: what it weighs now, with this turn not counted.
    pub(super) fn serve(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let count = self.0.len() as u64;
        let mut first = self.0.peek_mut()?;
        let Reverse(due) = &mut *first;
        due.at += 1.0 / weight(due.index).max(LEAST);
        due.order += count;
        Some(due.index)
    }
}

// === impl Due ===

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}
