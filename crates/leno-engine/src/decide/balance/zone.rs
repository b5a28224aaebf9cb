//! Zone-aware routing: requests stay in the proxy's own locality, as far as that has its share of the endpoints.
//!
//! Envoy docs: "Zone aware routing". The proxies of this one's own kind are a cluster too (`local_cluster_name`): where
//! they are says how much of the load comes from each locality.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PickContext, mix};
use crate::compile::cluster::ZoneAware;
use crate::compile::endpoint::{Assignment, Endpoint, Health, LocalityName};

/// The proxies of this one's kind, and where it is itself.
#[derive(Debug, PartialEq)]
pub struct LocalCluster {
    pub own: LocalityName,
    pub assignment: Arc<Assignment>,
}

/// What picks have met, for the statistics.
#[derive(Debug, Default)]
pub struct Notes(Cell<u16>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Too few are healthy.
    Panic,
    /// Too few of the proxies' own cluster are, or this one is not among them.
    LocalNotOk,
    /// All that comes from here stays here.
    Direct,
    /// A part stays here, and this does.
    Sampled,
    CrossZone,
    NoCapacityLeft,
}

/// How a level's requests are divided among its localities.
#[derive(Debug)]
pub(super) struct Routing {
    local_panics: bool,
    how: How,
}

#[derive(Debug)]
enum How {
    Direct(usize),
    Residual {
        /// The own locality, and how many of ten thousand requests stay there.
        own: Option<(usize, u64)>,
        /// What the others can take more than comes from them, one added to the other.
        residual: Vec<(usize, u64)>,
    },
}

/// A locality's healthy endpoints.
pub(super) struct Zone<'l> {
    pub(super) name: &'l LocalityName,
    /// Whatever their health.
    pub(super) all: usize,
    pub(super) healthy: usize,
    pub(super) weight: u64,
}

// === impl Notes ===

impl Notes {
    pub const ALL: [Note; 6] = [
        Note::Panic,
        Note::LocalNotOk,
        Note::Direct,
        Note::Sampled,
        Note::CrossZone,
        Note::NoCapacityLeft,
    ];

    pub(super) fn note(&self, note: Note) {
        self.0.set(self.0.get() | 1 << note as u16);
    }

    pub fn is_empty(&self) -> bool {
        self.0.get() == 0
    }

    pub fn has(&self, note: Note) -> bool {
        self.0.get() & 1 << note as u16 != 0
    }
}

// === impl PickContext ===

impl PickContext<'_> {
    pub(super) fn note(&self, note: Note) {
        if let Some(notes) = self.notes {
            notes.note(note);
        }
    }
}

// === impl Routing ===

impl Routing {
    /// None: localities do not count. `zones`: of the first priority, by their place there.
    pub(super) fn new(
        zone: &ZoneAware,
        local: &LocalCluster,
        zones: &[Zone<'_>],
        panic_threshold: u32,
    ) -> Option<Self> {
        let proxies = count(&local.assignment);
        let count_of = |healthy: u64, weight: u64| if zone.by_weight { weight } else { healthy };
        let there: Vec<(usize, &Zone<'_>)> = zones.iter().enumerate().filter(|(_, z)| z.all > 0).collect();
        let healthy: usize = zones.iter().map(|zone| zone.healthy).sum();
        let is_alone = proxies.len() < 2 && zone.force_own.is_none();
        if there.len() < 2 || is_alone || !proxies.contains_key(&local.own) {
            return None;
        }
        if (healthy as u64) < zone.min_cluster_size {
            return None;
        }
        let all: usize = proxies.values().map(|proxies| proxies.all).sum();
        let well: usize = proxies.values().map(|proxies| proxies.healthy).sum();
        let local_panics = (100 * well) < panic_threshold as usize * all;
        // Of ten thousand.
        let local_total: u64 = proxies
            .values()
            .map(|p| count_of(p.healthy as u64, p.weight))
            .sum();
        let total: u64 = zones.iter().map(|z| count_of(z.healthy as u64, z.weight)).sum();
        let shares = |zone: &Zone<'_>| {
            let here = count_of(zone.healthy as u64, zone.weight);
            let from = proxies
                .get(zone.name)
                .map_or(0, |p| count_of(p.healthy as u64, p.weight));
            let share = |part: u64, whole: u64| (10_000 * part).checked_div(whole).unwrap_or(0);
            match here {
                0 => (0, 0),
                here => (share(from, local_total), share(here, total)),
            }
        };
        let own = there.iter().find(|(_, zone)| *zone.name == local.own);
        if let Some((at, zone_here)) = own {
            let (from, to) = shares(zone_here);
            let forced = zone
                .force_own
                .is_some_and(|least| zone_here.healthy >= least as usize);
            if (to > 0 && to >= from) || forced {
                let how = How::Direct(*at);
                return Some(Self { local_panics, how });
            }
        }
        let mut residual = Vec::new();
        let mut sum = 0;
        for (at, other) in there.iter().filter(|(_, zone)| *zone.name != local.own) {
            let (from, to) = shares(other);
            sum += to.saturating_sub(from);
            residual.push((*at, sum));
        }
        let own = own.map(|(at, zone)| {
            let (from, to) = shares(zone);
            (*at, (to * 10_000).checked_div(from).unwrap_or(0))
        });
        Some(Self {
            local_panics,
            how: How::Residual { own, residual },
        })
    }

    /// The locality for a request; None: any. Err: nobody.
    pub(super) fn choose(&self, zone: &ZoneAware, cx: &PickContext<'_>) -> Result<Option<usize>, ()> {
        let random = |n: u32| mix(cx.random, 0x20e + n);
        if random(0) % 100 >= u64::from(zone.routing_enabled) {
            return Ok(None);
        }
        if self.local_panics {
            cx.note(Note::LocalNotOk);
            return if zone.fail_on_panic { Err(()) } else { Ok(None) };
        }
        let (own, residual) = match &self.how {
            How::Direct(at) => {
                cx.note(Note::Direct);
                return Ok(Some(*at));
            }
            How::Residual { own, residual } => (own, residual),
        };
        if let Some((at, share)) = own
            && random(1) % 10_000 < *share
        {
            cx.note(Note::Sampled);
            return Ok(Some(*at));
        }
        cx.note(Note::CrossZone);
        let most = residual.last().map_or(0, |(_, sum)| *sum);
        if most == 0 {
            cx.note(Note::NoCapacityLeft);
            let all: Vec<usize> = own.iter().chain(residual).map(|(at, _)| *at).collect();
            let any = random(2).checked_rem(all.len() as u64).unwrap_or(0) as usize;
            return Ok(all.get(any).copied());
        }
        let point = random(2) % most;
        Ok(residual.iter().find(|(_, sum)| point < *sum).map(|(at, _)| *at))
    }
}

/// The proxies of each locality.
struct Proxies {
    all: usize,
    healthy: usize,
    weight: u64,
}

fn count(assignment: &Assignment) -> BTreeMap<&LocalityName, Proxies> {
    let mut all = BTreeMap::new();
    for locality in assignment.priorities.first().into_iter().flatten() {
        if locality.endpoints.is_empty() {
            continue;
        }
        let proxies = all.entry(&locality.name).or_insert(Proxies {
            all: 0,
            healthy: 0,
            weight: 0,
        });
        for endpoint in &locality.endpoints {
            proxies.all += 1;
            if is_healthy(endpoint) {
                proxies.healthy += 1;
                proxies.weight += u64::from(endpoint.weight);
            }
        }
    }
    all
}

fn is_healthy(endpoint: &Endpoint) -> bool {
    matches!(endpoint.health, Health::Unknown | Health::Healthy)
}
