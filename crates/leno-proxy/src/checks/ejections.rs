//! Who is ejected by outlier detection, and comes back: an `OutlierDetectionEvent` each, in Envoy's form.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use leno_engine::decide::health::{Action, Told};
use leno_engine::decide::outlier::Kind;
use leno_telemetry::access_log::rfc3339;

use super::files::quoted;

/// How soon it is written at the latest.
pub(super) const SOON: Duration = Duration::from_secs(1);

pub(super) fn lines(cluster: &str, told: &[Told]) -> String {
    let (now, time) = (Instant::now(), SystemTime::now());
    let mut out = String::new();
    for one in told {
        let at = time - now.saturating_duration_since(one.at);
        // Writing to a string does not fail.
        let _ = line(cluster, one, at, &mut out);
    }
    out
}

/// Fields by their numbers, as Envoy has them.
fn line(cluster: &str, told: &Told, at: SystemTime, out: &mut String) -> std::fmt::Result {
    let (kind, action, enforced) = match told.action {
        Action::Ejected { kind, enforced, .. } => (kind, "EJECT", enforced),
        // Of what is not said Envoy writes the first.
        Action::Returned => (Kind::Consecutive5xx, "UNEJECT", false),
    };
    write!(
        out,
        "{{\"type\":\"{}\",\"timestamp\":\"{}\"",
        word(kind),
        rfc3339(at)
    )?;
    if let Some(since) = told.since {
        write!(out, ",\"secs_since_last_action\":\"{}\"", since.as_secs())?;
    }
    out.push_str(",\"cluster_name\":");
    quoted(cluster, out);
    out.push_str(",\"upstream_url\":");
    quoted(&told.target.to_string(), out);
    write!(
        out,
        ",\"action\":\"{action}\",\"num_ejections\":{}",
        told.ejections
    )?;
    write!(out, ",\"enforced\":{enforced}")?;
    if let Action::Ejected { kind, rates, .. } = told.action {
        let host = rates.host as u32;
        match kind {
            Kind::SuccessRate | Kind::LocalOriginSuccessRate => {
                write!(
                    out,
                    ",\"eject_success_rate_event\":{{\"host_success_rate\":{host}"
                )?;
                write!(out, ",\"cluster_average_success_rate\":{}", rates.average as u32)?;
                let threshold = rates.threshold as u32;
                write!(out, ",\"cluster_success_rate_ejection_threshold\":{threshold}}}")?;
            }
            Kind::FailurePercentage | Kind::LocalOriginFailurePercentage => {
                write!(
                    out,
                    ",\"eject_failure_percentage_event\":{{\"host_success_rate\":{host}}}"
                )?;
            }
            Kind::Consecutive5xx | Kind::ConsecutiveGatewayFailure | Kind::ConsecutiveLocalOriginFailure => {
                out.push_str(",\"eject_consecutive_event\":{}");
            }
        }
    }
    out.push_str("}\n");
    Ok(())
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Consecutive5xx => "CONSECUTIVE_5XX",
        Kind::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
        Kind::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
        Kind::SuccessRate => "SUCCESS_RATE",
        Kind::LocalOriginSuccessRate => "SUCCESS_RATE_LOCAL_ORIGIN",
        Kind::FailurePercentage => "FAILURE_PERCENTAGE",
        Kind::LocalOriginFailurePercentage => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
    }
}
