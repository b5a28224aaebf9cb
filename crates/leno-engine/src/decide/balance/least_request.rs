//! LEAST_REQUEST: where all weigh the same, of a few hosts drawn at random the one with the fewest requests under
//! way. Else by earliest deadline, each weighing `weight / (requests under way + 1) ^ bias`: as Envoy.

use super::schedule::Schedule;
use super::{Host, PickContext, Policy, WeightedHost, is_uneven, mix};
use crate::compile::cluster::LeastRequest as Settings;
use crate::runtime::Setting;

#[derive(Debug)]
pub(super) enum LeastRequest {
    Drawn { choices: u32, full_scan: bool },
    Scheduled { schedule: Schedule, bias: Setting<f64> },
}

impl LeastRequest {
    pub(super) fn new(settings: &Settings, hosts: &[WeightedHost<'_>], seed: u64) -> Self {
        if !is_uneven(hosts) {
            return Self::Drawn {
                choices: settings.choices,
                full_scan: settings.full_scan,
            };
        }
        let weight = |index: usize| {
            hosts
                .get(index)
                .map_or(1.0, |host| weight(host.host, settings.bias.now()))
        };
        Self::Scheduled {
            schedule: Schedule::new(hosts.len(), seed % 128, weight),
            bias: settings.bias.clone(),
        }
    }
}

fn weight(host: &Host, bias: f64) -> f64 {
    let active = f64::from(host.state.active.get()) + 1.0;
    // Most leave it at one.
    let load = if bias == 1.0 { active } else { active.powf(bias) };
    host.weight() / load
}

impl Policy for LeastRequest {
    fn pick(&mut self, hosts: &[Host], cx: &PickContext<'_>, _attempt: u32) -> Option<usize> {
        let (choices, full_scan) = match self {
            Self::Scheduled { schedule, bias } => {
                let bias = bias.now();
                return schedule.serve(|index| hosts.get(index).map_or(1.0, |host| weight(host, bias)));
            }
            Self::Drawn { choices, full_scan } => (*choices, *full_scan),
        };
        let draw = |n: u32| {
            mix(cx.random, n + 1)
                .checked_rem(hosts.len() as u64)
                .map(|at| at as usize)
        };
        // The first drawn wins a tie.
        let active = |at: &usize| hosts.get(*at).map_or(0, |host| host.state.active.get());
        if full_scan {
            // From anywhere, so that equals take turns.
            let from = draw(0)?;
            return (from..hosts.len()).chain(0..from).min_by_key(active);
        }
        (0..choices.max(1)).filter_map(draw).min_by_key(active)
    }
}
