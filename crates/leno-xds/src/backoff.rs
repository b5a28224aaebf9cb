//! How long to wait before connecting again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Exponential back-off with full jitter: each wait is uniform between nothing and a bound that doubles from 100 ms
/// to 2 s. After a control plane's restart its clients thus come back spread out, most of them within the first tenth
/// of a second, and all of them while a young control plane still holds back what it does not know yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `random` is uniform over all of `u32`.
    pub fn next(&mut self, random: u32) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The other side answered: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_two_seconds() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..7).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn an_answer_makes_the_next_retry_quick_again() {
        let mut backoff = Backoff::default();
        backoff.next(0);
        backoff.next(0);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), FIRST);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(Backoff::default().next(0), Duration::ZERO);
    }
}
