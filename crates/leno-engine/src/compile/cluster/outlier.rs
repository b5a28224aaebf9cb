//! `outlier_detection`.

use std::time::Duration;

use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::pb::cluster as pb;
use crate::compile::pb::protobuf::UInt32Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    pub consecutive_5xx: Consecutive,
    pub consecutive_gateway_failure: Consecutive,
    pub consecutive_local_origin_failure: Consecutive,
    pub success_rate: Compared,
    /// In thousandths.
    pub success_rate_stdev_factor: u32,
    pub failure_percentage: Compared,
    /// Percent.
    pub failure_percentage_threshold: u32,
    pub split_external_local: bool,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    /// Up to so much longer.
    pub max_ejection_time_jitter: Duration,
    pub max_ejection_percent: u32,
    pub always_eject_one_host: bool,
    /// Who passes an active check is back.
    pub checks_absolve: bool,
}

/// Ejection by failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consecutive {
    /// 0: never.
    pub limit: u32,
    /// In so many of a hundred cases.
    pub enforcing: u32,
}

/// Ejection by what an endpoint does beside what others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// At least so many endpoints have had at least so many requests in an interval.
    pub minimum_hosts: u64,
    pub request_volume: u64,
    /// In so many of a hundred cases; and by connections alone.
    pub enforcing: u32,
    pub enforcing_local: u32,
}

pub(super) fn detection(at: &At<'_>, message: &pb::OutlierDetection) -> Result<OutlierDetection, Rejection> {
    let pb::OutlierDetection {
        consecutive_5xx,
        interval,
        base_ejection_time,
        max_ejection_percent,
        enforcing_consecutive_5xx,
        enforcing_success_rate,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure,
        split_external_local_origin_errors,
        consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate,
        failure_percentage_threshold,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
        max_ejection_time,
        max_ejection_time_jitter,
        successful_active_health_check_uneject_host,
        monitors,
        always_eject_one_host,
        detect_degraded_hosts,
    } = message;
    refuse!(at; monitors, detect_degraded_hosts);
    let base = at.positive("base_ejection_time", base_ejection_time, Duration::from_secs(30))?;
    let longest = at.positive(
        "max_ejection_time",
        max_ejection_time,
        base.max(Duration::from_secs(300)),
    )?;
    if longest < base {
        return Err(at
            .field("max_ejection_time")
            .reject("shorter than base_ejection_time"));
    }
    let percent = |field, value: &Option<UInt32Value>, default| match or(value, default) {
        percent @ 0..=100 => Ok(percent),
        percent => Err(at.field(field).reject(format!("0 to 100, not {percent}"))),
    };
    Ok(OutlierDetection {
        consecutive_5xx: Consecutive {
            limit: or(consecutive_5xx, 5),
            enforcing: percent("enforcing_consecutive_5xx", enforcing_consecutive_5xx, 100)?,
        },
        consecutive_gateway_failure: Consecutive {
            limit: or(consecutive_gateway_failure, 5),
            enforcing: percent(
                "enforcing_consecutive_gateway_failure",
                enforcing_consecutive_gateway_failure,
                0,
            )?,
        },
        consecutive_local_origin_failure: Consecutive {
            limit: or(consecutive_local_origin_failure, 5),
            enforcing: percent(
                "enforcing_consecutive_local_origin_failure",
                enforcing_consecutive_local_origin_failure,
                100,
            )?,
        },
        success_rate: Compared {
            minimum_hosts: or(success_rate_minimum_hosts, 5).max(1).into(),
            request_volume: or(success_rate_request_volume, 100).into(),
            enforcing: percent("enforcing_success_rate", enforcing_success_rate, 100)?,
            enforcing_local: percent(
                "enforcing_local_origin_success_rate",
                enforcing_local_origin_success_rate,
                100,
            )?,
        },
        success_rate_stdev_factor: or(success_rate_stdev_factor, 1900),
        failure_percentage: Compared {
            minimum_hosts: or(failure_percentage_minimum_hosts, 5).max(1).into(),
            request_volume: or(failure_percentage_request_volume, 50).into(),
            enforcing: percent("enforcing_failure_percentage", enforcing_failure_percentage, 0)?,
            enforcing_local: percent(
                "enforcing_failure_percentage_local_origin",
                enforcing_failure_percentage_local_origin,
                0,
            )?,
        },
        failure_percentage_threshold: percent(
            "failure_percentage_threshold",
            failure_percentage_threshold,
            85,
        )?,
        split_external_local: *split_external_local_origin_errors,
        interval: at.positive("interval", interval, Duration::from_secs(10))?,
        base_ejection_time: base,
        max_ejection_time: longest,
        max_ejection_time_jitter: at
            .duration("max_ejection_time_jitter", max_ejection_time_jitter)?
            .unwrap_or_default(),
        max_ejection_percent: percent("max_ejection_percent", max_ejection_percent, 10)?,
        always_eject_one_host: always_eject_one_host.is_some_and(|always| always.value),
        checks_absolve: successful_active_health_check_uneject_host
            .as_ref()
            .is_none_or(|uneject| uneject.value),
    })
}

fn or(said: &Option<UInt32Value>, default: u32) -> u32 {
    said.as_ref().map_or(default, |value| value.value)
}
