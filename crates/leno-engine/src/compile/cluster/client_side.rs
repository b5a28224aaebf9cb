//! `client_side_weighted_round_robin`

use std::sync::Arc;
use std::time::Duration;

use super::slow_start::{SlowStart, slow_start};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::pb::lb::client_side as pb;

/// Weights by what servers tell of their load.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSide {
    /// So long an endpoint has to tell before it counts.
    pub blackout: Duration,
    /// After which what was told last counts no more.
    pub expiration: Duration,
    /// How often weights are worked out.
    pub update: Duration,
    pub error_penalty: f64,
    /// What of a report says how busy the server is, before its own words for it.
    pub metrics: Arc<[String]>,
    pub slow_start: Option<SlowStart>,
}

pub(super) fn client_side(
    at: &At<'_>,
    message: &pb::ClientSideWeightedRoundRobin,
) -> Result<ClientSide, Rejection> {
    let pb::ClientSideWeightedRoundRobin {
        enable_oob_load_report,
        oob_reporting_period,
        blackout_period,
        weight_expiration_period,
        weight_update_period,
        error_utilization_penalty,
        metric_names_for_computing_utilization,
        slow_start_config,
        oob_reporting_config,
    } = message;
    if enable_oob_load_report.is_some_and(|enabled| enabled.value) {
        refuse!(at; enable_oob_load_report);
    }
    no_effect!(at, "means something with enable_oob_load_report only"; oob_reporting_period, oob_reporting_config);
    let or = |said: Option<Duration>, seconds| said.unwrap_or(Duration::from_secs(seconds));
    let penalty = error_utilization_penalty
        .as_ref()
        .map_or(1.0, |penalty| f64::from(penalty.value));
    if !penalty.is_finite() || penalty < 0.0 {
        return Err(at.field("error_utilization_penalty").reject("not below 0"));
    }
    Ok(ClientSide {
        blackout: or(at.duration("blackout_period", blackout_period)?, 10),
        expiration: or(
            at.duration("weight_expiration_period", weight_expiration_period)?,
            180,
        ),
        update: or(at.duration("weight_update_period", weight_update_period)?, 1)
            .max(Duration::from_millis(100)),
        error_penalty: penalty,
        metrics: metric_names_for_computing_utilization.clone().into(),
        slow_start: slow_start(at, slow_start_config.as_ref())?,
    })
}
