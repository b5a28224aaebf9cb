//! Slow start: a new endpoint gets its share little by little.

use std::time::Duration;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::cluster::cluster as older;
use crate::compile::pb::lb::common as pb;
use crate::compile::pb::{core, types};
use crate::runtime::Setting;

/// An endpoint that is `age` old weighs `(age / window) ^ (1 / aggression)` of its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowStart {
    pub window: Duration,
    pub aggression: Setting<f64>,
    /// Of the weight, at least: a fraction.
    pub minimum: f64,
}

// === impl SlowStart ===

impl SlowStart {
    /// What an endpoint of this age weighs of its weight: a fraction; 1 when the window is over.
    pub fn weight(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let age = age.as_secs_f64().max(1.0);
        let factor =
            (age / self.window.as_secs_f64()).powf(1.0 / self.aggression.now().max(f64::MIN_POSITIVE));
        factor.clamp(self.minimum, 1.0)
    }
}

pub(super) fn older(
    at: &At<'_>,
    message: Option<&older::SlowStartConfig>,
) -> Result<Option<SlowStart>, Rejection> {
    let same = message.map(|message| {
        let older::SlowStartConfig {
            slow_start_window,
            aggression,
            min_weight_percent,
        } = message;
        pb::SlowStartConfig {
            slow_start_window: *slow_start_window,
            aggression: aggression.clone(),
            min_weight_percent: *min_weight_percent,
        }
    });
    slow_start(at, same.as_ref())
}

pub(super) fn slow_start(
    at: &At<'_>,
    message: Option<&pb::SlowStartConfig>,
) -> Result<Option<SlowStart>, Rejection> {
    let Some(pb::SlowStartConfig {
        slow_start_window,
        aggression,
        min_weight_percent,
    }) = message
    else {
        return Ok(None);
    };
    let at = at.field("slow_start_config");
    let minimum = match min_weight_percent {
        None => 10.0,
        Some(types::Percent { value }) if (0.0..=100.0).contains(value) => *value,
        Some(_) => return Err(at.field("min_weight_percent").reject("0 to 100")),
    };
    let window = at.duration("slow_start_window", slow_start_window)?;
    let slow_start = SlowStart {
        window: window.ok_or_else(|| at.field("slow_start_window").reject("required"))?,
        aggression: double(&at, "aggression", aggression.as_ref())?.unwrap_or(1.0.into()),
        minimum: minimum / 100.0,
    };
    if aggression.as_ref().is_some_and(|said| said.default_value <= 0.0) {
        return Err(at.field("aggression").reject("must be more than 0"));
    }
    Ok(Some(slow_start).filter(|slow_start| !slow_start.window.is_zero()))
}

/// A number that is not below zero.
pub(super) fn double(
    at: &At<'_>,
    field: &'static str,
    message: Option<&core::RuntimeDouble>,
) -> Result<Option<Setting<f64>>, Rejection> {
    let Some(core::RuntimeDouble {
        default_value,
        runtime_key,
    }) = message
    else {
        return Ok(None);
    };
    let at = at.field(field);
    if !default_value.is_finite() || *default_value < 0.0 {
        return Err(at.field("default_value").reject("a number that is not below 0"));
    }
    Ok(Some(at.setting(*default_value, runtime_key)))
}
