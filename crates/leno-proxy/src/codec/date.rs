//! `Date` (RFC 9110 §6.6.1), which every answer has: formatted at most once a second for a connection. HTTP/1 has its
//! own for a whole worker.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{DATE, HeaderMap, HeaderValue};

#[derive(Debug, Default)]
pub(super) struct Date(RefCell<Option<(u64, HeaderValue)>>);

impl Date {
    /// Adds it where the upstream has not.
    pub(super) fn add(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(DATE)
            && let Some(value) = self.at(SystemTime::now())
        {
            headers.insert(DATE, value);
        }
    }

    fn at(&self, now: SystemTime) -> Option<HeaderValue> {
        let second = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let mut kept = self.0.borrow_mut();
        if let Some((of, value)) = &*kept
            && *of == second
        {
            return Some(value.clone());
        }
        let value = HeaderValue::from_str(&httpdate::fmt_http_date(now)).ok()?;
        *kept = Some((second, value.clone()));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_date_moves_with_the_second() {
        let date = Date::default();
        let at = |millis| date.at(UNIX_EPOCH + Duration::from_millis(millis)).unwrap();
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
