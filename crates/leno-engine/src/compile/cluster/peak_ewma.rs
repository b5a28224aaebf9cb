//! `peak_ewma`

use std::time::Duration;

use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::pb::lb::peak_ewma as pb;

/// By how long answers take, and how many are waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    /// What is as old as this counts `1/e` of what is new.
    pub decay: Duration,
    /// Of an endpoint that nobody has measured.
    pub default_latency: Duration,
    /// What an endpoint costs that has requests and no answer yet.
    pub penalty: f64,
}

pub(super) fn peak_ewma(at: &At<'_>, message: &pb::PeakEwma) -> Result<PeakEwma, Rejection> {
    let pb::PeakEwma {
        decay_time,
        aggregation_interval,
        max_samples_per_host,
        default_rtt,
        penalty_value,
    } = message;
    no_effect!(at, "each worker counts its own answers, and at once"; aggregation_interval, max_samples_per_host);
    let penalty = penalty_value.as_ref().map_or(1e6, |penalty| penalty.value);
    if !penalty.is_finite() || penalty < 0.0 {
        return Err(at.field("penalty_value").reject("not below 0"));
    }
    Ok(PeakEwma {
        decay: at.positive("decay_time", decay_time, Duration::from_secs(10))?,
        default_latency: at.positive("default_rtt", default_rtt, Duration::from_millis(10))?,
        penalty,
    })
}
