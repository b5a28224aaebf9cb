//! Distributions of times, as Envoy keeps and tells them: in bins of two significant digits
//! (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--stats>).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Powers of ten that are kept apart: below 10^12.
const DECADES: usize = 11;
const BINS: usize = 100;

/// One worker's. What it holds is made when it is first needed, decade by decade.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    decades: [OnceLock<Box<[AtomicU64; BINS]>>; DECADES],
}

/// What was observed, by bin: not cumulative, the smallest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution(Vec<(Bin, u64)>);

/// From `lower` on, of this width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bin {
    decade: u8,
    /// 0 to 9 only in the first decade.
    digits: u8,
}

/// What of a distribution is told.
pub const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// Upper bounds where none are configured.
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

// === impl Histogram ===

impl Histogram {
    pub(super) fn observe(&self, value: u64) {
        let bin = Bin::of(value);
        let Some(decade) = self.decades.get(usize::from(bin.decade)) else {
            return;
        };
        let bins = decade.get_or_init(|| Box::new([const { AtomicU64::new(0) }; BINS]));
        if let Some(count) = bins.get(usize::from(bin.digits)) {
            super::add(count, 1);
        }
    }

    pub(super) fn reset(&self) {
        for count in self
            .decades
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|bins| bins.iter())
        {
            count.store(0, Relaxed);
        }
    }

    pub(super) fn distribution(&self) -> Distribution {
        let mut bins = Vec::new();
        for (decade, of_decade) in (0..).zip(&self.decades) {
            let Some(of_decade) = of_decade.get() else {
                continue;
            };
            for (digits, count) in (0..).zip(of_decade.iter()) {
                match count.load(Relaxed) {
                    0 => {}
                    count => bins.push((Bin { decade, digits }, count)),
                }
            }
        }
        Distribution(bins)
    }
}

// === impl Bin ===

impl Bin {
    fn of(mut value: u64) -> Self {
        let mut decade = 0;
        while value >= BINS as u64 {
            value /= 10;
            decade += 1;
        }
        Self {
            decade,
            digits: value as u8,
        }
    }

    pub fn lower(self) -> f64 {
        f64::from(self.digits) * 10_f64.powi(self.decade.into())
    }

    /// Zero has a bin of its own, without a width; below ten there are tenths.
    pub fn width(self) -> f64 {
        match (self.decade, self.digits) {
            (0, 0) => 0.0,
            (0, 1..=9) => 0.1,
            (decade, _) => 10_f64.powi(decade.into()),
        }
    }

    /// Where what is in it is taken to be for a sum: nearer to its lower end than to its upper.
    fn middle(self) -> f64 {
        let (lower, width) = (self.lower(), self.width());
        match lower > 0.0 {
            true => lower + width * lower / (lower + lower + width),
            false => 0.0,
        }
    }
}

// === impl Distribution ===

impl Distribution {
    pub fn bins(&self) -> &[(Bin, u64)] {
        &self.0
    }

    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.wrapping_add(*count))
    }

    /// Nearly: a bin knows no values.
    pub fn sum(&self) -> f64 {
        self.0
            .iter()
            .map(|(bin, count)| bin.middle() * *count as f64)
            .sum()
    }

    /// How many are in bins that begin below this.
    pub fn below(&self, bound: f64) -> u64 {
        let below = self.0.iter().take_while(|(bin, _)| bin.lower() < bound);
        below.fold(0, |sum, (_, count)| sum.wrapping_add(*count))
    }

    /// What of a bin's values is told is spread over it. None: there are none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut before = 0;
        for (bin, count) in &self.0 {
            if wanted <= before + count {
                let place = (wanted - before) as f64 / (count + 1) as f64;
                return Some(bin.lower() + bin.width() * place);
            }
            before += count;
        }
        None
    }

    /// What is not in the other, which is a part of it.
    pub(super) fn without(&self, part: &Self) -> Self {
        let left = self.0.iter().map(|(bin, count)| {
            let at = part.0.binary_search_by_key(bin, |(bin, _)| *bin);
            let taken = at
                .ok()
                .and_then(|at| part.0.get(at))
                .map_or(0, |(_, count)| *count);
            (*bin, count.saturating_sub(taken))
        });
        Self(left.filter(|(_, count)| *count > 0).collect())
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (bin, count) in &other.0 {
            match self.0.binary_search_by_key(bin, |(bin, _)| *bin) {
                Ok(at) => self.0[at].1 = self.0[at].1.wrapping_add(*count),
                Err(at) => self.0.insert(at, (*bin, *count)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Distribution {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.observe(*value));
        histogram.distribution()
    }

    /// As the real one tells them.
    #[test]
    fn quantiles_are_envoys() {
        let five = of(&[48, 0, 44, 46, 43]);
        let told: Vec<f64> = QUANTILES
            .iter()
            .filter_map(|share| five.quantile(*share))
            .collect();
        assert_eq!(told, [0.0, 43.5, 44.5, 46.5, 48.5, 48.5, 48.5, 48.5, 48.5, 48.5]);
        assert!(
            (five.sum() - 182.978_103_912_773_86).abs() < 1e-9,
            "{}",
            five.sum()
        );
        assert_eq!(
            [0.5, 43.0, 44.0, 50.0].map(|bound| five.below(bound)),
            [1, 1, 2, 5]
        );
        let two = of(&[1, 1]);
        assert_eq!(two.quantile(0.5), Some(1.0 + 0.1 / 3.0));
        assert_eq!(of(&[1050, 995]).quantile(0.0), Some(995.0));
        assert_eq!(of(&[1050, 995]).quantile(1.0), Some(1050.0));
        assert_eq!(of(&[]).quantile(0.5), None);
    }

    #[test]
    fn what_is_beyond_all_bins_is_left_out() {
        assert_eq!(of(&[u64::MAX, 999_999_999_999]).count(), 1);
    }

    #[test]
    fn a_part_is_taken_out_of_a_distribution() {
        let left = of(&[5, 5, 700, 12_345]).without(&of(&[5, 12_345]));
        assert_eq!(left, of(&[5, 700]));
    }

    #[test]
    fn distributions_are_added_up() {
        let mut all = of(&[5, 700]);
        all.add(&of(&[5, 6, 12_345]));
        assert_eq!(all.count(), 5);
        assert_eq!(
            all.bins().first().map(|(bin, count)| (bin.lower(), *count)),
            Some((5.0, 2))
        );
        assert_eq!(all.bins().last().map(|(bin, _)| bin.lower()), Some(12_000.0));
    }
}
