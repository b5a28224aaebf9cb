//! How load spreads over levels by their health.
//!
//! Envoy docs: "Priority levels", "Panic threshold". A level is a priority of a cluster, or of one of those that an
//! aggregate cluster has in a row.

use smallvec::SmallVec;

use crate::compile::endpoint::Target;

/// How many of a level's hosts are well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) hosts: usize,
    /// Of which it is not to be said how well they are.
    pub(super) left_out: usize,
    /// Of each [`Class`].
    pub(super) usable: [usize; 2],
    /// What those weigh of whom it is to be said, and the usable ones of each class: where that decides.
    pub(super) weights: Option<(u64, [u64; 2])>,
    /// Percent.
    pub(super) overprovisioning: u32,
}

/// How well hosts are that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Healthy = 0,
    Degraded = 1,
}

/// A level and which of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) level: usize,
    pub(super) class: Class,
}

/// What a level takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Percent of all that its healthy hosts take, and its degraded ones; all levels' add up to 100, or there is nobody.
    pub(super) percent: [u32; 2],
    /// Too few are healthy: all are used.
    pub(super) panic: bool,
}

pub(super) type Loads = SmallVec<[Load; 4]>;

/// Levels that are left out.
pub(super) type Left = SmallVec<[usize; 4]>;

// === impl Standing ===

impl Standing {
    /// Of healthy hosts, and of degraded ones: percent, 100 at most each.
    fn overprovisioned(&self) -> [u32; 2] {
        let (all, usable) = self.weights.unwrap_or_else(|| self.counts());
        shares(usable, all, self.overprovisioning)
    }

    fn counts(&self) -> (u64, [u64; 2]) {
        let all = self.hosts.saturating_sub(self.left_out) as u64;
        (all, self.usable.map(|count| count as u64))
    }

    /// Percent, by their number.
    fn is_below(&self, threshold: u32) -> bool {
        let (all, usable) = self.counts();
        shares(usable, all, 100).iter().sum::<u32>() < threshold
    }
}

/// In percent of the whole, 100 at most each.
fn shares(parts: [u64; 2], whole: u64, factor: u32) -> [u32; 2] {
    parts.map(|part| {
        let percent = (u64::from(factor) * part).checked_div(whole);
        percent.unwrap_or(0).min(100) as u32
    })
}

/// Healthy hosts of all levels go before degraded ones of any.
pub(super) fn spread(standings: &[Standing], panic_threshold: u32) -> Loads {
    let mut loads: Loads = standings.iter().map(|_| Load::default()).collect();
    let healths = || standings.iter().map(Standing::overprovisioned);
    let total = healths().flatten().sum::<u32>().min(100);
    let mut left = 100;
    for class in [Class::Healthy, Class::Degraded] {
        for (load, health) in loads.iter_mut().zip(healths()) {
            let percent = (health[class as usize] * 100)
                .checked_div(total)
                .unwrap_or(0)
                .min(left);
            load.percent[class as usize] = percent;
            left -= percent;
        }
    }
    // What rounding left over.
    let mut percents = loads.iter_mut().flat_map(|load| &mut load.percent);
    if total > 0
        && let Some(first) = percents.find(|percent| **percent > 0)
    {
        *first += left;
    }
    let mut all = true;
    for (load, standing) in loads.iter_mut().zip(standings) {
        load.panic = total < 100 && standing.is_below(panic_threshold);
        all &= load.panic;
    }
    if all {
        spread_by_size(standings, &mut loads);
    }
    loads
}

/// When every level panics, health says nothing: the number of hosts decides.
fn spread_by_size(standings: &[Standing], loads: &mut Loads) {
    let total: usize = standings.iter().map(|level| level.hosts).sum();
    let mut left = 100;
    for (load, standing) in loads.iter_mut().zip(standings) {
        let share = (standing.hosts * 100).checked_div(total).unwrap_or(0) as u32;
        load.percent = [share.min(left), 0];
        left -= load.percent[0];
    }
    let mut both = loads.iter_mut().zip(standings);
    if total > 0
        && let Some((first, _)) = both.find(|(_, standing)| standing.hosts > 0)
    {
        first.percent[0] += left;
    }
}

/// The level for a point in 0..100.
pub(super) fn choose(loads: impl Iterator<Item = [u32; 2]> + Clone, mut point: u32) -> Option<Place> {
    for class in [Class::Healthy, Class::Degraded] {
        for (level, load) in loads.clone().enumerate() {
            match point.checked_sub(load[class as usize]) {
                Some(rest) => point = rest,
                None => return Some(Place { level, class }),
            }
        }
    }
    None
}

/// One of the levels that are not left out: what these took is the others', by their health.
pub(super) fn choose_among_others(standings: &[Standing], left: &Left, point: u64) -> Option<Place> {
    let healths = others(standings, left);
    let total: u32 = healths.iter().map(|(_, health)| health).sum();
    let mut point = (point % u64::from(total.max(1))) as u32;
    let found = healths
        .into_iter()
        .find(|(_, health)| match point.checked_sub(*health) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        });
    found.map(|(place, _)| place)
}

/// The priorities that a retry leaves out (`envoy.retry_priorities.previous_priorities`): those of its earlier attempts,
/// looked at anew after `every` of them. Where nothing would be left, it begins anew.
pub(super) fn tried(
    standings: &[Standing],
    previous: &[Target],
    every: u32,
    level_of: impl Fn(&Target) -> Option<usize>,
) -> Left {
    let (mut left, mut since) = (Left::new(), Left::new());
    for (tried, target) in (1..).zip(previous) {
        since.extend(level_of(target));
        if tried % every == 0 {
            left.extend(since.drain(..));
            if !others(standings, &left).iter().any(|(_, health)| *health > 0) {
                left.clear();
            }
        }
    }
    left
}

/// Healthy hosts of all of them first.
fn others(standings: &[Standing], left: &Left) -> SmallVec<[(Place, u32); 8]> {
    let of_class = |class: Class| {
        let others = standings
            .iter()
            .enumerate()
            .filter(|(level, _)| !left.contains(level));
        others.map(move |(level, standing)| {
            (Place { level, class }, standing.overprovisioned()[class as usize])
        })
    };
    let mut all: SmallVec<[(Place, u32); 8]> = of_class(Class::Healthy).collect();
    // As far as they are needed: what is whole needs nobody besides.
    let mut missing = 100;
    all.extend(of_class(Class::Degraded));
    for (_, health) in &mut all {
        *health = (*health).min(missing);
        missing -= *health;
    }
    all
}
