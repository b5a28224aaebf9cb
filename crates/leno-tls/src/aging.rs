//! How much of a certificate's life is over, told three times.

use std::fmt;
use std::time::SystemTime;

/// Of a life, in percent: where it is told.
const TOLD_AT: [u8; 3] = [50, 75, 90];

/// What has been told of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aging {
    told: u8,
}

/// A share of a life that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(u8);

// === impl Age ===

impl Age {
    /// In whole percent; 100 from its end on.
    pub fn of(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> Age {
        let life = not_after.duration_since(not_before).unwrap_or_default();
        let lived = now.duration_since(not_before).unwrap_or_default().min(life);
        let percent = match life.as_millis() {
            0 => 100,
            life => lived.as_millis().saturating_mul(100) / life,
        };
        Age(u8::try_from(percent).unwrap_or(100))
    }

    pub const fn from_percent(percent: u8) -> Age {
        Age(percent)
    }

    pub fn percent(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

// === impl Aging ===

impl Aging {
    /// If half, three quarters or nine tenths are over, and that was not told: how much is.
    pub fn passed(&mut self, not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> Option<Age> {
        let age = Age::of(not_before, not_after, now);
        let mark = TOLD_AT.into_iter().rev().find(|mark| *mark <= age.0)?;
        let is_new = mark > self.told;
        self.told = mark.max(self.told);
        is_new.then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_mark_is_told_once() {
        let begin = SystemTime::UNIX_EPOCH;
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut aging = Aging::default();
        let mut told = Vec::new();
        for second in 0..=110 {
            told.extend(aging.passed(begin, at(100), at(second)).map(Age::percent));
        }
        assert_eq!(told, [50, 75, 90]);
        // Whoever looks late hears of the last one alone.
        let late = Aging::default().passed(begin, at(100), at(95)).unwrap();
        assert_eq!(late.to_string(), "95 %");
        assert_eq!(Age::of(begin, begin, at(1)).percent(), 100);
    }
}
