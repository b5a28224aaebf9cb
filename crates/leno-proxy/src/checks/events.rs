//! Files of events: one line of JSON each, a `HealthCheckEvent` in Envoy's form.

use std::fmt::Write as _;
use std::time::SystemTime;

use leno_engine::compile::address::{Address, Target};
use leno_engine::compile::cluster::health_check::{EventLog, Probe};
use leno_engine::decide::health::{Failure, Note, Verdict};
use leno_telemetry::access_log::rfc3339;

use super::files::{Files, quoted};
use super::one::One;

pub(super) fn tell(files: &Files, one: One<'_>, verdict: &Verdict) {
    let Some(log) = &one.check.events else { return };
    let notes = verdict.notes.iter().filter(|note| is_told(log, note));
    let now = SystemTime::now();
    let mut lines = String::new();
    for note in notes {
        // Writing to a string does not fail.
        let _ = write_line(one, note, now, &mut lines);
    }
    files.append(&log.path, &lines);
}

fn is_told(log: &EventLog, note: &Note) -> bool {
    match note {
        Note::Passed => log.successes,
        Note::Failed { first, .. } => *first || log.failures,
        Note::Added { .. } | Note::Degraded | Note::NoLongerDegraded | Note::Ejected(_) => true,
    }
}

/// Fields by their numbers, as Envoy has them.
fn write_line(one: One<'_>, note: &Note, now: SystemTime, out: &mut String) -> std::fmt::Result {
    let kind = match &one.check.probe {
        Probe::Http(_) => "HTTP",
        Probe::Tcp(_) => "TCP",
        Probe::Grpc(_) => "GRPC",
    };
    write!(out, "{{\"health_checker_type\":\"{kind}\",\"host\":")?;
    host(&one.endpoint.address, out)?;
    out.push_str(",\"cluster_name\":");
    quoted(&one.cluster.name, out);
    match note {
        Note::Ejected(failure) => {
            out.push_str(",\"eject_unhealthy_event\":{");
            write!(out, "\"failure_type\":\"{}\"", word(*failure))?;
            write!(out, ",\"http_status_code\":{}}}", status(*failure))?;
        }
        Note::Added { first } => write!(out, ",\"add_healthy_event\":{{\"first_check\":{first}}}")?,
        _ => {}
    }
    write!(out, ",\"timestamp\":\"{}\"", rfc3339(now))?;
    match note {
        Note::Failed { failure, first } => {
            out.push_str(",\"health_check_failure_event\":{");
            write!(
                out,
                "\"failure_type\":\"{}\",\"first_check\":{first}",
                word(*failure)
            )?;
            write!(out, ",\"http_status_code\":{}}}", status(*failure))?;
        }
        Note::Degraded => out.push_str(",\"degraded_healthy_host\":{}"),
        Note::NoLongerDegraded => out.push_str(",\"no_longer_degraded_host\":{}"),
        _ => {}
    }
    out.push_str(",\"locality\":{\"region\":\"\",\"zone\":\"\",\"sub_zone\":\"\"}");
    if matches!(note, Note::Passed) {
        out.push_str(",\"successful_health_check_event\":{}");
    }
    out.push_str("}\n");
    Ok(())
}

fn host(target: &Target, out: &mut String) -> std::fmt::Result {
    let (address, port) = match target {
        Target::Address(Address::Socket(address)) => (address.ip().to_string(), address.port()),
        Target::Name { host, port } => (host.clone(), *port),
        Target::Address(Address::Pipe(path)) => {
            out.push_str("{\"pipe\":{\"path\":");
            quoted(&path.path.to_string_lossy(), out);
            out.push_str(",\"mode\":0}}");
            return Ok(());
        }
        Target::Address(Address::Internal(internal)) => {
            out.push_str("{\"envoy_internal_address\":{\"server_listener_name\":");
            quoted(&internal.listener, out);
            out.push_str(",\"endpoint_id\":");
            quoted(&internal.id, out);
            out.push_str("}}");
            return Ok(());
        }
    };
    out.push_str("{\"socket_address\":{\"protocol\":\"TCP\",\"address\":");
    quoted(&address, out);
    write!(out, ",\"port_value\":{port},\"resolver_name\":\"\"")?;
    out.push_str(",\"ipv4_compat\":false,\"network_namespace_filepath\":\"\"}}");
    Ok(())
}

fn word(failure: Failure) -> &'static str {
    match failure {
        Failure::Active { .. } => "ACTIVE",
        Failure::Passive => "PASSIVE",
        Failure::Network => "NETWORK",
        Failure::Timeout => "NETWORK_TIMEOUT",
    }
}

fn status(failure: Failure) -> u16 {
    match failure {
        Failure::Active { status, .. } => status.unwrap_or_default(),
        Failure::Passive | Failure::Network | Failure::Timeout => 0,
    }
}
