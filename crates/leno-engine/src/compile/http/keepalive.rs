//! `connection_keepalive`: how HTTP/2 finds out that a peer has gone without a word.

use std::time::Duration;

use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::pb::{core, types};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub interval: Duration,
    /// A connection whose peer takes longer to answer ends.
    pub timeout: Duration,
    /// Percent of the interval, up to which it is longer at random.
    pub jitter: u32,
}

/// Envoy's default.
const JITTER: u32 = 15;

/// None: nothing is asked in intervals.
pub(super) fn keepalive(
    at: &At<'_>,
    message: &core::KeepaliveSettings,
) -> Result<Option<Keepalive>, Rejection> {
    let core::KeepaliveSettings {
        interval,
        timeout,
        interval_jitter,
        connection_idle_interval,
    } = message;
    no_effect!(at, "idle connections are not asked before they are used"; connection_idle_interval);
    let least = |field, duration: Duration| match duration < Duration::from_millis(1) {
        true => Err(at.field(field).reject("at least 1 ms")),
        false => Ok(duration),
    };
    at.required("timeout", timeout)?;
    let timeout = least("timeout", at.duration("timeout", timeout)?.unwrap_or_default())?;
    let jitter = interval_jitter.map_or(f64::from(JITTER), |types::Percent { value }| value);
    if !(0.0..=100.0).contains(&jitter) {
        return Err(at.field("interval_jitter").reject("0 to 100"));
    }
    Ok(match at.duration("interval", interval)? {
        None => None,
        Some(interval) => Some(Keepalive {
            interval: least("interval", interval)?,
            timeout,
            jitter: jitter as u32,
        }),
    })
}
