//! A token bucket of the whole process.
//!
//! It is kept as the moment at which it was, or will be, empty (the "theoretical arrival time" of GCRA): one word, one
//! compare-and-swap a token, and nobody fills it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct TokenBucket {
    /// Nanoseconds of one token.
    token: u64,
    /// Nanoseconds of a full bucket.
    full: u64,
    /// When it was first asked, full.
    began: OnceLock<Instant>,
    /// Nanoseconds since then, and a full bucket's more: when it is empty.
    empty: AtomicU64,
}

impl TokenBucket {
    /// `tokens` come each `interval`, evenly; at most `most` are kept.
    pub fn new(most: u32, tokens: u32, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let token = (interval / u64::from(tokens.max(1))).max(1);
        Self {
            token,
            full: token.saturating_mul(u64::from(most)),
            began: OnceLock::new(),
            empty: AtomicU64::new(0),
        }
    }

    /// A full one of the same kind.
    pub fn anew(&self) -> Self {
        Self {
            token: self.token,
            full: self.full,
            began: OnceLock::new(),
            empty: AtomicU64::new(0),
        }
    }

    /// Takes one; false: there is none.
    pub fn take(&self, now: Instant) -> bool {
        self.take_some(1, now)
    }

    /// Takes as many as are asked for; false: there are not so many, and none is taken.
    pub fn take_some(&self, tokens: u64, now: Instant) -> bool {
        let now = self.now(now);
        let next = |empty: u64| {
            let taken = empty
                .max(now - self.full)
                .checked_add(self.token.checked_mul(tokens)?)?;
            (taken <= now).then_some(taken)
        };
        self.empty.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// How many it holds when it is full.
    pub fn most(&self) -> u64 {
        self.full / self.token
    }

    /// How many are left.
    pub fn left(&self, now: Instant) -> u64 {
        self.filled(now) / self.token
    }

    /// How long until there is one.
    pub fn until_next(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.token.saturating_sub(self.filled(now)))
    }

    /// Nanoseconds of one token.
    pub fn pace(&self) -> u64 {
        self.token
    }

    /// Nanoseconds of what is in it.
    fn filled(&self, now: Instant) -> u64 {
        let now = self.now(now);
        let empty = self.empty.load(Relaxed).max(now - self.full);
        now.saturating_sub(empty)
    }

    /// Nanoseconds since it began, and a full bucket's more.
    fn now(&self, now: Instant) -> u64 {
        let began = *self.began.get_or_init(|| now);
        let passed = now.saturating_duration_since(began).as_nanos();
        u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .saturating_add(self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_at_first_and_filled_evenly() {
        let bucket = TokenBucket::new(2, 4, Duration::from_secs(1));
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!([0, 0, 0].map(|t| bucket.take(at(t))), [true, true, false]);
        assert_eq!([249, 250, 251].map(|t| bucket.take(at(t))), [false, true, false]);
        // No more than fit are kept.
        assert_eq!([60_000; 3].map(|t| bucket.take(at(t))), [true, true, false]);
    }

    #[test]
    fn it_tells_what_is_left_and_when_the_next_one_comes() {
        let bucket = TokenBucket::new(3, 2, Duration::from_secs(60));
        let start = Instant::now();
        assert_eq!((bucket.most(), bucket.left(start)), (3, 3));
        assert!(bucket.take_some(2, start) && !bucket.take_some(2, start));
        assert_eq!(
            (bucket.left(start), bucket.until_next(start)),
            (1, Duration::ZERO)
        );
        assert!(bucket.take(start));
        let later = start + Duration::from_secs(3);
        assert_eq!(
            (bucket.left(later), bucket.until_next(later)),
            (0, Duration::from_secs(27))
        );
        assert_eq!(bucket.left(start + Duration::from_secs(3600)), 3);
    }

    #[test]
    fn two_workers_never_take_more_than_there_are() {
        let bucket = TokenBucket::new(1000, 1, Duration::from_secs(3600));
        let now = Instant::now();
        let take = || (0..1000).filter(|_| bucket.take(now)).count();
        let taken: usize = std::thread::scope(|scope| {
            let both = [scope.spawn(take), scope.spawn(take)];
            both.map(|one| one.join().unwrap()).iter().sum()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn one_without_room_gives_nothing() {
        let bucket = TokenBucket::new(0, 1, Duration::from_secs(1));
        assert!(!bucket.take(Instant::now()));
    }
}
