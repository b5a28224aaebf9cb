//! `outlier_detection`: the consecutive detectors.

use std::time::Duration;

use super::OutlierDetection;
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::pb::cluster as pb;
use crate::compile::pb::protobuf::UInt32Value;

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
    for (field, enforcing) in [
        ("enforcing_success_rate", enforcing_success_rate),
        (
            "enforcing_local_origin_success_rate",
            enforcing_local_origin_success_rate,
        ),
        ("enforcing_failure_percentage", enforcing_failure_percentage),
        (
            "enforcing_failure_percentage_local_origin",
            enforcing_failure_percentage_local_origin,
        ),
    ] {
        if enforcing.as_ref().is_some_and(|percent| percent.value > 0) {
            return Err(at
                .field(field)
                .reject("only the consecutive detectors are supported"));
        }
    }
    // On by default in Envoy; it changes nothing in clusters of fewer than five hosts.
    if enforcing_success_rate.is_none() {
        at.field("enforcing_success_rate")
            .warn("ejection by success rate is not supported");
    }
    refuse!(at; monitors, detect_degraded_hosts);
    no_effect!(at, "only the consecutive detectors are supported"; success_rate_minimum_hosts,
        success_rate_request_volume, success_rate_stdev_factor, failure_percentage_threshold,
        failure_percentage_minimum_hosts, failure_percentage_request_volume);
    no_effect!(at, "not used"; max_ejection_time_jitter, successful_active_health_check_uneject_host);
    let base = at.positive("base_ejection_time", base_ejection_time, Duration::from_secs(30))?;
    let percent = max_ejection_percent.as_ref().map_or(10, |percent| percent.value);
    if percent > 100 {
        return Err(at
            .field("max_ejection_percent")
            .reject(format!("0 to 100, not {percent}")));
    }
    Ok(OutlierDetection {
        consecutive_5xx: detector(
            at,
            consecutive_5xx,
            ("enforcing_consecutive_5xx", enforcing_consecutive_5xx),
            100,
        )?,
        consecutive_gateway_failure: detector(
            at,
            consecutive_gateway_failure,
            (
                "enforcing_consecutive_gateway_failure",
                enforcing_consecutive_gateway_failure,
            ),
            0,
        )?,
        consecutive_local_origin_failure: detector(
            at,
            consecutive_local_origin_failure,
            (
                "enforcing_consecutive_local_origin_failure",
                enforcing_consecutive_local_origin_failure,
            ),
            100,
        )?,
        split_external_local: *split_external_local_origin_errors,
        interval: at.positive("interval", interval, Duration::from_secs(10))?,
        base_ejection_time: base,
        max_ejection_time: at.positive(
            "max_ejection_time",
            max_ejection_time,
            base.max(Duration::from_secs(300)),
        )?,
        max_ejection_percent: percent,
        always_eject_one_host: always_eject_one_host.is_some_and(|always| always.value),
    })
}

/// After how many failures in a row; None: never.
fn detector(
    at: &At<'_>,
    said: &Option<UInt32Value>,
    (enforcing_field, enforcing): (&'static str, &Option<UInt32Value>),
    enforced_by_default: u32,
) -> Result<Option<u32>, Rejection> {
    // Envoy takes 0 for "never" only here and there; Istio writes it with that meaning.
    let failures = said.as_ref().map_or(5, |count| count.value);
    match enforcing
        .as_ref()
        .map_or(enforced_by_default, |percent| percent.value)
    {
        0 => Ok(None),
        100 => Ok(Some(failures).filter(|failures| *failures > 0)),
        _ => Err(at.field(enforcing_field).reject("only 0 and 100 are supported")),
    }
}
