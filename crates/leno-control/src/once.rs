//! Saying a thing once, or seldom: a peer that tries again every second does not fill the log.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many are remembered; the oldest is then forgotten, and would be said again.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Once {
    said: Mutex<(HashSet<String>, VecDeque<String>)>,
}

impl Once {
    /// Whether this has not been said yet.
    pub(crate) fn first(&self, what: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *said;
        if !known.insert(what.to_owned()) {
            return false;
        }
        order.push_back(what.to_owned());
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

/// So many lines, and then no more until this time is over.
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);

/// Saying things that are always new, at a bounded rate.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    began: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Pace {
    /// Whether a line may be said now, and how many before it were not.
    pub(crate) fn may_say(&mut self, now: Instant) -> Option<u64> {
        let over = |began: Instant| now.saturating_duration_since(began) >= PERIOD;
        if self.began.is_none_or(over) {
            (self.began, self.said) = (Some(now), 0);
        }
        if self.said == LINES {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_minute_are_said_and_then_how_many_were_not() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        let said = (0..1000).filter(|_| pace.may_say(begin).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!(pace.may_say(begin + PERIOD - Duration::from_nanos(1)), None);
        assert_eq!(pace.may_say(begin + PERIOD), Some(991));
        assert_eq!(pace.may_say(begin + PERIOD), Some(0));
    }
}
