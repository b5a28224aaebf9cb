//! ROUND_ROBIN: in turn; with weights by earliest deadline first.
//!
//! A host of weight w is due at 1/w, 2/w, …; the earliest deadline is served. Fractions are compared exactly, so over
//! a cycle (as many picks as the weights' sum) every host has exactly its share, for ever.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::schedule::Schedule;
use super::{Host, PickContext, Policy, WeightedHost};

#[derive(Debug)]
pub(super) enum RoundRobin {
    Equal {
        next: usize,
    },
    Weighted(BinaryHeap<Reverse<Due>>),
    /// Some are in slow start: weights change.
    Growing(Schedule),
}

/// The `turn`-th turn of a host: due at `turn / weight`.
#[derive(Debug)]
pub(super) struct Due {
    turn: u64,
    weight: u32,
    index: usize,
}

impl RoundRobin {
    pub(super) fn new(hosts: &[WeightedHost<'_>], seed: u64) -> Self {
        if hosts.iter().any(|host| host.host.state.ramp.get() < 1.0) {
            let weight = |index: usize| hosts.get(index).map_or(1.0, |host| host.host.weight());
            return Self::Growing(Schedule::new(hosts.len(), seed % 128, weight));
        }
        let weight = |host: &WeightedHost<'_>| host.host.endpoint.weight.max(1);
        let mut weights = hosts.iter().map(weight);
        let first = weights.next();
        if weights.all(|weight| Some(weight) == first) {
            let next = seed.checked_rem(hosts.len() as u64).unwrap_or(0) as usize;
            return Self::Equal { next };
        }
        let due = |(index, host): (usize, &WeightedHost<'_>)| {
            Reverse(Due {
                turn: 1,
                weight: weight(host),
                index,
            })
        };
        let mut heap: BinaryHeap<_> = hosts.iter().enumerate().map(due).collect();
        for _ in 0..seed % 128 {
            serve(&mut heap);
        }
        Self::Weighted(heap)
    }
}

impl Policy for RoundRobin {
    fn pick(&mut self, hosts: &[Host], _cx: &PickContext<'_>, _attempt: u32) -> Option<usize> {
        match self {
            Self::Equal { next } => {
                let at = next.checked_rem(hosts.len())?;
                *next = at + 1;
                Some(at)
            }
            Self::Weighted(heap) => serve(heap),
            Self::Growing(schedule) => schedule.serve(|index| hosts.get(index).map_or(1.0, Host::weight)),
        }
    }
}

fn serve(heap: &mut BinaryHeap<Reverse<Due>>) -> Option<usize> {
    let mut first = heap.peek_mut()?;
    first.0.turn += 1;
    Some(first.0.index)
}

// === impl Due ===

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let own = u128::from(self.turn) * u128::from(other.weight);
        let others = u128::from(other.turn) * u128::from(self.weight);
        own.cmp(&others).then(self.index.cmp(&other.index))
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
