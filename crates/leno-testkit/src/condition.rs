//! Waiting for something to become true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a loaded two-core machine; a condition that holds returns at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `check` until it gives `Ok`; panics with its last `Err`.
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, check: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(PATIENCE, what, check)
}

#[track_caller]
pub fn eventually_within<T, E: Debug>(limit: Duration, what: &str, mut check: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => panic!("not within {limit:?}: {what}; last: {last:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
