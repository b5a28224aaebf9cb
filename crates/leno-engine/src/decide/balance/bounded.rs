//! Bounded loads for consistent hashing: who has more than its share of what is under way hands the next request on.
//!
//! Envoy's `hash_balance_factor`, after Mirrokni and others, "Consistent Hashing with Bounded Loads". A hash has its own
//! order of the others, so that the same hash goes to the same of them.

use super::{Host, PickContext, Policy, WeightedHost};

#[derive(Debug)]
pub(super) struct Bounded {
    inner: Box<dyn Policy>,
    /// Percent of the mean load that a host may have.
    factor: u32,
    /// By the hosts' order.
    shares: Vec<f64>,
}

impl Bounded {
    pub(super) fn new(inner: Box<dyn Policy>, factor: u32, hosts: &[WeightedHost<'_>]) -> Self {
        Self {
            inner,
            factor,
            shares: hosts.iter().map(|host| host.share).collect(),
        }
    }

    /// How full a host is: 1 is what it may have.
    fn fullness(&self, hosts: &[Host], all: u32, at: usize) -> f64 {
        let active = hosts.get(at).map_or(0, |host| host.state.active.get());
        let share = self.shares.get(at).copied().unwrap_or_default();
        let slots = (u64::from(all) + 1) * u64::from(self.factor);
        let own = (slots.div_ceil(100) as f64 * share).ceil().max(1.0);
        f64::from(active) / own
    }
}

impl Policy for Bounded {
    fn pick(&mut self, hosts: &[Host], cx: &PickContext<'_>, attempt: u32) -> Option<usize> {
        let first = self.inner.pick(hosts, cx, attempt)?;
        let all = hosts.iter().map(|host| host.state.active.get()).sum();
        let mut least = (self.fullness(hosts, all, first), first);
        if least.0 <= 1.0 {
            return Some(first);
        }
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        let mut random = Twister::new(cx.hash.unwrap_or(cx.random) as u32);
        for done in 0..order.len() {
            let left = order.len() - done;
            order.swap(done, done + random.below(left as u32) as usize);
            let Some(&other) = order.get(done).filter(|other| **other != first) else {
                continue;
            };
            let fullness = self.fullness(hosts, all, other);
            if fullness <= 1.0 {
                return Some(other);
            }
            if fullness < least.0 {
                least = (fullness, other);
            }
        }
        Some(least.1)
    }
}

/// The Mersenne twister MT19937 (Matsumoto and Nishimura, 1998), in which Envoy's order of the others is written.
struct Twister {
    state: Vec<u32>,
    at: usize,
}

const SIZE: usize = 624;
const SHIFT: usize = 397;

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(SIZE);
        let mut last = seed;
        state.push(last);
        for n in 1..SIZE as u32 {
            last = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(n);
            state.push(last);
        }
        Self { state, at: SIZE }
    }

    fn of(&self, at: usize) -> u32 {
        self.state.get(at % SIZE).copied().unwrap_or_default()
    }

    fn twist(&mut self) {
        for at in 0..SIZE {
            let bits = (self.of(at) & 0x8000_0000) | (self.of(at + 1) & 0x7fff_ffff);
            let odd = if bits & 1 == 0 { 0 } else { 0x9908_b0df };
            let next = self.of(at + SHIFT) ^ (bits >> 1) ^ odd;
            if let Some(place) = self.state.get_mut(at) {
                *place = next;
            }
        }
        self.at = 0;
    }

    fn next(&mut self) -> u32 {
        if self.at >= SIZE {
            self.twist();
        }
        let mut word = self.of(self.at);
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number in 0..k.
    fn below(&mut self, k: u32) -> u32 {
        let bucket = (1_u64 << 32) / u64::from(k.max(1));
        loop {
            let drawn = u64::from(self.next()) / bucket;
            if drawn < u64::from(k.max(1)) {
                return drawn as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard (C++, [rand.predef]) names the ten thousandth number of the default seed.
    #[test]
    fn it_is_the_twister_of_the_standard() {
        let mut twister = Twister::new(5489);
        let last = (0..10_000).map(|_| twister.next()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
