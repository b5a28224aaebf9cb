//! `client_side_weighted_round_robin`

use std::sync::Arc;
use std::time::Duration;

use super::BalancePolicy;
use super::slow_start::{SlowStart, slow_start};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::lb::client_side as pb;
use crate::compile::pb::lb::common as lb;

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
    /// They are asked. None: they tell with their answers only.
    pub asked: Option<Box<OutOfBand>>,
}

/// How endpoints are asked for their load, each on a stream of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfBand {
    /// How often they are to tell.
    pub period: Duration,
    /// In place of the endpoint's own.
    pub port: Option<u16>,
    /// Empty: the endpoint's name, else its address.
    pub authority: String,
    /// Chooses a transport socket in place of what is said of the endpoint.
    pub transport_match: Option<Fields>,
}

impl BalancePolicy {
    /// How endpoints are asked for their load.
    pub fn asks(&self) -> Option<&OutOfBand> {
        match self {
            Self::ClientSide(settings) => settings.asked.as_deref(),
            _ => None,
        }
    }
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
    let period = at.duration("oob_reporting_period", oob_reporting_period)?;
    let asked = match enable_oob_load_report {
        Some(enabled) if enabled.value => Some(out_of_band(at, period, oob_reporting_config.as_ref())?),
        _ => {
            if period.is_some() || oob_reporting_config.is_some() {
                at.warn("nobody is asked for load without enable_oob_load_report");
            }
            None
        }
    };
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
        asked: asked.map(Box::new),
    })
}

fn out_of_band(
    at: &At<'_>,
    period: Option<Duration>,
    message: Option<&lb::OrcaOobReportingConfig>,
) -> Result<OutOfBand, Rejection> {
    let mut out_of_band = OutOfBand {
        period: period
            .filter(|period| !period.is_zero())
            .unwrap_or(Duration::from_secs(10)),
        port: None,
        authority: String::new(),
        transport_match: None,
    };
    let Some(lb::OrcaOobReportingConfig {
        port_value,
        authority,
        transport_socket_match_criteria,
    }) = message
    else {
        return Ok(out_of_band);
    };
    let at = at.field("oob_reporting_config");
    out_of_band.port = Some(at.port("port_value", *port_value)?).filter(|port| *port > 0);
    out_of_band.authority.clone_from(authority);
    out_of_band.transport_match = transport_socket_match_criteria.as_ref().map(metadata::fields);
    Ok(out_of_band)
}
