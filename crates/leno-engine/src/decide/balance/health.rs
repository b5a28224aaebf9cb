//! Priorities and localities: how load spreads over them by their health.
//!
//! Envoy's `LoadBalancerBase` (docs: "Priority levels", "Panic threshold", "Locality weighted load balancing").

use super::{Choice, Host, PickContext, Policy, WeightedHost, mix, policy};
use crate::compile::endpoint::{Assignment, Endpoint};

use std::sync::Arc;

/// One priority.
#[derive(Debug)]
pub(super) struct Level {
    /// Percent of the cluster's load that its healthy hosts take, and its degraded ones; all levels' add up to 100, or
    /// the cluster has nothing.
    load: [u32; 2],
    /// Too few are healthy: all are used.
    panic: bool,
    localities: Vec<LocalityHosts>,
    /// The sets that policies choose from, made when first used: all localities in one, or one each. Of healthy hosts,
    /// and of degraded ones.
    sets: [Option<Vec<HostSet>>; 2],
    overprovisioning: u32,
}

#[derive(Debug)]
struct LocalityHosts {
    weight: f64,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct HostSet {
    /// Share of the level's load, in no unit.
    weight: f64,
    hosts: Vec<Host>,
    policy: Box<dyn Policy>,
}

/// The levels of those endpoints of an assignment that belong to a set, with their loads. `scaled`: localities weigh
/// by the share of their endpoints that do.
pub(super) fn levels(
    assignment: &Assignment,
    panic_threshold: u32,
    belongs: &dyn Fn(&Endpoint) -> bool,
    scaled: bool,
    host: &mut dyn FnMut(&Arc<Endpoint>) -> Host,
) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::with_capacity(assignment.priorities.len());
    for localities in &assignment.priorities {
        let localities = localities.iter().map(|locality| {
            let endpoints = locality.endpoints.iter().filter(|endpoint| belongs(endpoint));
            let hosts: Vec<Host> = endpoints.map(&mut *host).collect();
            let share = match scaled {
                true => hosts.len() as f64 / locality.endpoints.len().max(1) as f64,
                false => 1.0,
            };
            LocalityHosts {
                weight: f64::from(locality.weight) * share,
                hosts,
            }
        });
        levels.push(Level {
            load: [0; 2],
            panic: false,
            localities: localities.collect(),
            sets: [None, None],
            overprovisioning: assignment.overprovisioning,
        });
    }
    spread(&mut levels, assignment.overprovisioning, panic_threshold);
    levels
}

/// One of the levels' hosts.
pub(super) fn pick(
    levels: &mut [Level],
    choice: &Choice,
    seed: u64,
    cx: &PickContext<'_>,
    attempt: u32,
) -> Option<Host> {
    // The hash decides on the priority too, so that it keeps deciding alone.
    let point = cx.hash.unwrap_or(cx.random) % 100;
    let (level, class) = choose_level(levels, point as u32)?;
    level.pick(class, choice, seed, cx, attempt)
}

/// One of the hosts of the levels that are not left out: what these took is the others', by their health.
pub(super) fn pick_among_others(
    levels: &mut [Level],
    left: &[usize],
    choice: &Choice,
    seed: u64,
    cx: &PickContext<'_>,
    attempt: u32,
) -> Option<Host> {
    let healths = other_healths(levels, left);
    let total: u32 = healths.iter().map(|(_, _, health)| health).sum();
    let mut point = (cx.hash.unwrap_or(cx.random) % u64::from(total.max(1))) as u32;
    let (at, class, _) = healths
        .into_iter()
        .find(|(_, _, health)| match point.checked_sub(*health) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        })?;
    levels.get_mut(at)?.pick(class, choice, seed, cx, attempt)
}

/// Whether there is a level with hosts to use besides those.
pub(super) fn has_others(levels: &[Level], left: &[usize]) -> bool {
    other_healths(levels, left)
        .iter()
        .any(|(_, _, health)| *health > 0)
}

/// Healthy hosts of all of them first.
fn other_healths(levels: &[Level], left: &[usize]) -> Vec<(usize, Class, u32)> {
    let of_class = |class: Class| {
        let others = levels.iter().enumerate().filter(|(at, _)| !left.contains(at));
        others.map(move |(at, level)| {
            let healths = level.healths(level.overprovisioning);
            (at, class, healths[class as usize])
        })
    };
    let mut all: Vec<_> = of_class(Class::Healthy).collect();
    // As far as they are needed: what is whole needs nobody besides.
    let mut missing = 100;
    all.extend(of_class(Class::Degraded));
    for (_, _, health) in &mut all {
        *health = (*health).min(missing);
        missing -= *health;
    }
    all
}

/// The level for a point in 0..100, and which of its hosts.
fn choose_level(levels: &mut [Level], mut point: u32) -> Option<(&mut Level, Class)> {
    for class in [Class::Healthy, Class::Degraded] {
        for (at, level) in levels.iter().enumerate() {
            let load = level.load[class as usize];
            match point.checked_sub(load) {
                Some(rest) => point = rest,
                None => return levels.get_mut(at).map(|level| (level, class)),
            }
        }
    }
    None
}

/// Healthy hosts of all levels go before degraded ones of any.
fn spread(levels: &mut [Level], overprovisioning: u32, panic_threshold: u32) {
    let health: Vec<[u32; 2]> = levels
        .iter()
        .map(|level| level.healths(overprovisioning))
        .collect();
    let total = health.iter().flatten().sum::<u32>().min(100);
    let mut left = 100;
    for class in [Class::Healthy, Class::Degraded] {
        for (level, health) in levels.iter_mut().zip(&health) {
            let load = (health[class as usize] * 100)
                .checked_div(total)
                .unwrap_or(0)
                .min(left);
            level.load[class as usize] = load;
            left -= load;
        }
    }
    // What rounding left over.
    let mut loads = levels.iter_mut().flat_map(|level| &mut level.load);
    if total > 0
        && let Some(first) = loads.find(|load| **load > 0)
    {
        *first += left;
    }
    let mut all = true;
    for level in levels.iter_mut() {
        let usable: u32 = level.healths(100).iter().sum();
        level.panic = total < 100 && usable < panic_threshold;
        all &= level.panic;
    }
    if all {
        spread_by_size(levels);
    }
}

/// When every level panics, health says nothing: the number of hosts decides.
fn spread_by_size(levels: &mut [Level]) {
    let total: usize = levels.iter().map(|l| l.hosts().count()).sum();
    let mut left = 100;
    for level in levels.iter_mut() {
        let share = (level.hosts().count() * 100).checked_div(total).unwrap_or(0) as u32;
        level.load = [share.min(left), 0];
        left -= level.load[0];
    }
    if total > 0
        && let Some(first) = levels.iter_mut().find(|l| l.hosts().next().is_some())
    {
        first.load[0] += left;
    }
}

/// How well hosts are that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Healthy = 0,
    Degraded = 1,
}

// === impl Level ===

impl Level {
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.localities.iter().flat_map(|locality| &locality.hosts)
    }

    fn pick(
        &mut self,
        class: Class,
        settings: &Choice,
        seed: u64,
        cx: &PickContext<'_>,
        attempt: u32,
    ) -> Option<Host> {
        if self.sets[class as usize].is_none() {
            self.sets[class as usize] = Some(self.make_sets(class, settings, seed));
        }
        let sets = self.sets[class as usize].as_mut()?;
        let total: f64 = sets.iter().map(|set| set.weight).sum();
        // The top 53 bits, as a fraction.
        let mut point = (mix(cx.random, 0x5e7) >> 11) as f64 / (1_u64 << 53) as f64 * total;
        let mut chosen = None;
        for set in sets.iter_mut().filter(|set| set.weight > 0.0) {
            let here = point < set.weight;
            point -= set.weight;
            chosen = Some(set);
            if here {
                break;
            }
        }
        let set = chosen?;
        let index = set.policy.pick(&set.hosts, cx, attempt)?;
        set.hosts.get(index).cloned()
    }

    /// Of healthy hosts, and of degraded ones: percent, 100 at most each.
    fn healths(&self, overprovisioning: u32) -> [u32; 2] {
        let total = self.hosts().filter(|host| !host.is_left_out()).count() as u64;
        [Class::Healthy, Class::Degraded].map(|class| {
            let count = self.hosts().filter(|host| host.class() == Some(class)).count() as u64;
            let percent = (u64::from(overprovisioning) * count).checked_div(total);
            percent.unwrap_or(0).min(100) as u32
        })
    }

    fn make_sets(&self, class: Class, settings: &Choice, seed: u64) -> Vec<HostSet> {
        let usable = |locality: &LocalityHosts| -> Vec<Host> {
            let hosts = locality.hosts.iter();
            hosts
                .filter(|host| self.panic || host.class() == Some(class))
                .cloned()
                .collect()
        };
        let hashing = matches!(
            settings.policy,
            crate::compile::cluster::BalancePolicy::RingHash { .. }
                | crate::compile::cluster::BalancePolicy::Maglev { .. }
        );
        // One ring over all localities keeps a hash in its place; weights go into the hosts' shares.
        if settings.locality_weighted && !hashing && !self.panic {
            let sets = self.localities.iter().filter_map(|locality| {
                let hosts = usable(locality);
                let weight = self.effective_weight(locality, hosts.len());
                HostSet::new(hosts, |_| 1.0, weight, settings, seed)
            });
            return sets.collect();
        }
        let mut hosts = Vec::new();
        let mut weights = Vec::new();
        for locality in &self.localities {
            let here = usable(locality);
            let sum: f64 = here.iter().map(|host| f64::from(host.endpoint.weight)).sum();
            let factor = if settings.locality_weighted {
                self.effective_weight(locality, here.len()) / sum.max(1.0)
            } else {
                1.0
            };
            weights.extend(here.iter().map(|_| factor));
            hosts.extend(here);
        }
        let factor = |at: usize| weights.get(at).copied().unwrap_or(1.0);
        HostSet::new(hosts, factor, 1.0, settings, seed)
            .into_iter()
            .collect()
    }

    /// A locality's weight, less what its sick hosts cannot take (overprovisioned).
    fn effective_weight(&self, locality: &LocalityHosts, usable: usize) -> f64 {
        let all = locality.hosts.iter().filter(|host| !host.is_left_out()).count();
        let ratio = usable as f64 / all.max(1) as f64;
        let available = ratio * f64::from(self.overprovisioning) / 100.0;
        locality.weight * available.min(1.0)
    }
}

// === impl HostSet ===

impl HostSet {
    /// None without hosts. `factor`: what each host's own weight is multiplied by.
    fn new(
        hosts: Vec<Host>,
        factor: impl Fn(usize) -> f64,
        weight: f64,
        settings: &Choice,
        seed: u64,
    ) -> Option<Self> {
        if hosts.is_empty() {
            return None;
        }
        let scaled = |(at, host): (usize, &Host)| f64::from(host.endpoint.weight) * factor(at);
        let total: f64 = hosts.iter().enumerate().map(scaled).sum();
        let weighted: Vec<WeightedHost<'_>> = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| WeightedHost {
                host,
                share: scaled((at, host)) / total,
            })
            .collect();
        let policy = policy(&settings.policy, &weighted, seed);
        Some(Self {
            weight,
            hosts,
            policy,
        })
    }
}
