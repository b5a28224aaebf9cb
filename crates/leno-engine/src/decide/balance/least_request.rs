//! LEAST_REQUEST: of a few hosts drawn at random, the one with the fewest requests under way for its weight.
//!
//! Envoy draws so only where weights are equal, and schedules by `weight / active` otherwise; drawing serves both and
//! stays constant in cost.

use super::{Host, PickContext, Policy, mix};

#[derive(Debug)]
pub(super) struct LeastRequest {
    choices: u32,
    full_scan: bool,
}

impl LeastRequest {
    pub(super) fn new(choices: u32, full_scan: bool) -> Self {
        Self { choices, full_scan }
    }
}

impl Policy for LeastRequest {
    fn pick(&mut self, hosts: &[Host], cx: &PickContext<'_>, _attempt: u32) -> Option<usize> {
        let draw = |n: u32| {
            mix(cx.random, n + 1)
                .checked_rem(hosts.len() as u64)
                .map(|at| at as usize)
        };
        // (active + 1) / weight, compared crosswise. The first drawn wins a tie.
        let lighter = |a: &usize, b: &usize| {
            let load = |at: usize, other: usize| {
                let active = hosts.get(at).map_or(0, |host| host.state.active.get());
                let weight = hosts.get(other).map_or(1, |host| host.endpoint.weight);
                (u64::from(active) + 1) * u64::from(weight)
            };
            load(*a, *b).cmp(&load(*b, *a))
        };
        if self.full_scan {
            // From anywhere, so that equals take turns.
            let from = draw(0)?;
            return (from..hosts.len()).chain(0..from).min_by(lighter);
        }
        (0..self.choices.max(1)).filter_map(draw).min_by(lighter)
    }
}
