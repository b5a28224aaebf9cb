//! `Date` (RFC 9110 §6.6.1), which every answer has: formatted at most once a second for a connection. HTTP/1 has its
//! own for a whole worker.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Default)]
pub(super) struct Date(RefCell<(u64, String)>);

impl Date {
    /// Lends it as of now.
    pub(super) fn with<R>(&self, write: impl FnOnce(&str) -> R) -> R {
        self.at(SystemTime::now(), write)
    }

    fn at<R>(&self, now: SystemTime, write: impl FnOnce(&str) -> R) -> R {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut kept = self.0.borrow_mut();
        if kept.0 != second || kept.1.is_empty() {
            *kept = (second, httpdate::fmt_http_date(now));
        }
        write(&kept.1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_date_moves_with_the_second() {
        let date = Date::default();
        let at = |millis| date.at(UNIX_EPOCH + Duration::from_millis(millis), str::to_owned);
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
