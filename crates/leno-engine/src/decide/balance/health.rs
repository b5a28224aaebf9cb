//! Priorities and their localities: the hosts that policies choose from, by their health.
//!
//! Envoy docs: "Locality weighted load balancing".

use std::sync::Arc;

use smallvec::SmallVec;

use super::priority::{self, Class, Left, Load, Place, Standing};
use super::zone::{Note, Routing, Zone};
use super::{Choice, Host, PickContext, Policy, Rules, WeightedHost, mix, policy};
use crate::compile::cluster::BalancePolicy;
use crate::compile::endpoint::{Assignment, Endpoint, LocalityName};

/// One priority.
#[derive(Debug)]
pub(super) struct Level {
    load: Load,
    standing: Standing,
    localities: Vec<LocalityHosts>,
    /// The sets that policies choose from, made when first used: all localities in one, or one each. Of healthy hosts,
    /// and of degraded ones.
    sets: [Option<Vec<HostSet>>; 2],
    /// Where localities count: how requests are divided among them, and the sets of each.
    routing: Option<Routing>,
    by_locality: [Option<Vec<Option<HostSet>>>; 2],
}

#[derive(Debug)]
struct LocalityHosts {
    name: LocalityName,
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
    rules: &Rules<'_>,
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
                name: locality.name.clone(),
                weight: f64::from(locality.weight) * share,
                hosts,
            }
        });
        let localities: Vec<LocalityHosts> = localities.collect();
        levels.push(Level {
            load: Load::default(),
            standing: standing(&localities, assignment),
            localities,
            sets: [None, None],
            routing: None,
            by_locality: [None, None],
        });
    }
    let standings: SmallVec<[Standing; 4]> = standings(&levels);
    for (level, load) in levels
        .iter_mut()
        .zip(priority::spread(&standings, rules.panic_threshold))
    {
        level.load = load;
    }
    // Beyond the first priority localities do not count.
    if let (Some(first), Some(local)) = (levels.first_mut(), rules.local) {
        first.routing = Routing::new(&rules.zone, local, &first.zones(), rules.panic_threshold);
    }
    levels
}

fn standing(localities: &[LocalityHosts], assignment: &Assignment) -> Standing {
    let mut standing = Standing {
        overprovisioning: assignment.overprovisioning,
        ..Standing::default()
    };
    let mut weights = (0, [0; 2]);
    for host in localities.iter().flat_map(|locality| &locality.hosts) {
        standing.hosts += 1;
        standing.left_out += usize::from(host.is_left_out());
        let weight = u64::from(host.endpoint.weight);
        if !host.is_left_out() {
            weights.0 += weight;
        }
        if let Some(class) = host.class() {
            standing.usable[class as usize] += 1;
            weights.1[class as usize] += weight;
        }
    }
    standing.weights = assignment.weighted_health.then_some(weights);
    standing
}

pub(super) fn standings(levels: &[Level]) -> SmallVec<[Standing; 4]> {
    levels.iter().map(Level::standing).collect()
}

/// One of the levels' hosts.
pub(super) fn pick(
    levels: &mut [Level],
    choice: &Choice,
    seed: u64,
    cx: &PickContext<'_>,
    attempt: u32,
) -> Option<Host> {
    let place = match cx.place {
        Some(place) => place,
        None => {
            // The hash decides on the priority too, so that it keeps deciding alone.
            let point = cx.hash.unwrap_or(cx.random) % 100;
            priority::choose(levels.iter().map(|level| level.load.percent), point as u32)?
        }
    };
    pick_at(levels, place, choice, seed, cx, attempt)
}

/// One of the hosts of the levels that are not left out.
pub(super) fn pick_among_others(
    levels: &mut [Level],
    left: &Left,
    choice: &Choice,
    seed: u64,
    cx: &PickContext<'_>,
    attempt: u32,
) -> Option<Host> {
    let point = cx.hash.unwrap_or(cx.random);
    let place = priority::choose_among_others(&standings(levels), left, point)?;
    pick_at(levels, place, choice, seed, cx, attempt)
}

fn pick_at(
    levels: &mut [Level],
    place: Place,
    choice: &Choice,
    seed: u64,
    cx: &PickContext<'_>,
    attempt: u32,
) -> Option<Host> {
    let level = levels.get_mut(place.level)?;
    level.pick(place.class, choice, seed, cx, attempt)
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
        let hashing = is_hashing(settings);
        if self.load.panic {
            cx.note(Note::Panic);
            if settings.zone.fail_on_panic && !hashing {
                return None;
            }
        } else if !hashing
            && !settings.locality_weighted
            && let Some(routing) = &self.routing
            && let Some(locality) = routing.choose(&settings.zone, cx).ok()?
        {
            return self.pick_in(locality, class, settings, seed, cx, attempt);
        }
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
        chosen?.pick(cx, attempt)
    }

    fn pick_in(
        &mut self,
        locality: usize,
        class: Class,
        settings: &Choice,
        seed: u64,
        cx: &PickContext<'_>,
        attempt: u32,
    ) -> Option<Host> {
        let localities = &self.localities;
        let sets = self.by_locality[class as usize].get_or_insert_with(|| {
            let usable = |locality: &LocalityHosts| {
                let hosts = locality.hosts.iter().filter(|host| host.class() == Some(class));
                HostSet::new(hosts.cloned().collect(), |_| 1.0, 1.0, settings, seed)
            };
            localities.iter().map(usable).collect()
        });
        sets.get_mut(locality)?.as_mut()?.pick(cx, attempt)
    }

    fn zones(&self) -> Vec<Zone<'_>> {
        let zone = |locality: &'_ LocalityHosts| {
            let healthy = || {
                let hosts = locality.hosts.iter();
                hosts.filter(|host| host.class() == Some(Class::Healthy))
            };
            (
                locality.hosts.len(),
                healthy().count(),
                healthy().map(|host| u64::from(host.endpoint.weight)).sum(),
            )
        };
        let zones = self.localities.iter().map(|locality| {
            let (all, healthy, weight) = zone(locality);
            Zone {
                name: &locality.name,
                all,
                healthy,
                weight,
            }
        });
        zones.collect()
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    fn make_sets(&self, class: Class, settings: &Choice, seed: u64) -> Vec<HostSet> {
        let usable = |locality: &LocalityHosts| -> Vec<Host> {
            let hosts = locality.hosts.iter();
            hosts
                .filter(|host| self.load.panic || host.class() == Some(class))
                .cloned()
                .collect()
        };
        let hashing = is_hashing(settings);
        // One ring over all localities keeps a hash in its place; weights go into the hosts' shares.
        if settings.locality_weighted && !hashing && !self.load.panic {
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
        let available = ratio * f64::from(self.standing.overprovisioning) / 100.0;
        locality.weight * available.min(1.0)
    }
}

fn is_hashing(settings: &Choice) -> bool {
    matches!(
        settings.policy,
        BalancePolicy::RingHash { .. } | BalancePolicy::Maglev { .. }
    )
}

// === impl HostSet ===

impl HostSet {
    fn pick(&mut self, cx: &PickContext<'_>, attempt: u32) -> Option<Host> {
        let index = self.policy.pick(&self.hosts, cx, attempt)?;
        self.hosts.get(index).cloned()
    }

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
