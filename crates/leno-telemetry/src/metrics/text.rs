//! Prometheus' text format, version 0.0.4.

use std::fmt::{self, Write};

use crate::record::LocalWorkload;

use super::Metrics;
use super::identity::{OwnedIdentity, Party, Protocol, Reporter};
use super::series::{Distribution, LATENCY_BOUNDS_US, SIZE_BOUNDS_BYTES, Sums};

impl Metrics {
    /// The metrics as `GET /stats/prometheus` answers them.
    pub fn prometheus_text(&self) -> String {
        let sums = self.sums();
        let mut rows: Vec<Row<'_>> = sums
            .iter()
            .map(|(identity, sums)| Row {
                tcp: identity.protocol == Protocol::Tcp,
                sums,
                labels: labels(&self.local, identity),
            })
            .collect();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = write_families(&mut out, &rows);
        out
    }
}

struct Row<'a> {
    tcp: bool,
    sums: &'a Sums,
    labels: String,
}

fn write_families(out: &mut String, rows: &[Row<'_>]) -> fmt::Result {
    let http: Vec<&Row<'_>> = rows.iter().filter(|row| !row.tcp).collect();
    let tcp: Vec<&Row<'_>> = rows.iter().filter(|row| row.tcp).collect();
    counter(out, "istio_requests_total", &http, |sums| sums.latency.count())?;
    let bounds = LATENCY_BOUNDS_US.map(|micros| micros as f64 / 1000.0);
    histogram(
        out,
        "istio_request_duration_milliseconds",
        &http,
        &bounds,
        1000.0,
        |sums| &sums.latency,
    )?;
    let bounds = SIZE_BOUNDS_BYTES.map(|bytes| bytes as f64);
    histogram(out, "istio_request_bytes", &http, &bounds, 1.0, |sums| {
        &sums.request_bytes
    })?;
    histogram(out, "istio_response_bytes", &http, &bounds, 1.0, |sums| {
        &sums.response_bytes
    })?;
    counter(out, "istio_tcp_connections_opened_total", &tcp, |sums| {
        sums.opened
    })?;
    counter(out, "istio_tcp_connections_closed_total", &tcp, |sums| {
        sums.closed
    })?;
    counter(out, "istio_tcp_sent_bytes_total", &tcp, |sums| sums.sent)?;
    counter(out, "istio_tcp_received_bytes_total", &tcp, |sums| sums.received)
}

fn counter(out: &mut String, name: &str, rows: &[&Row<'_>], value: impl Fn(&Sums) -> u64) -> fmt::Result {
    if !rows.is_empty() {
        writeln!(out, "# TYPE {name} counter")?;
    }
    for row in rows {
        writeln!(out, "{name}{{{}}} {}", row.labels, value(row.sums))?;
    }
    Ok(())
}

fn histogram<const N: usize>(
    out: &mut String,
    name: &str,
    rows: &[&Row<'_>],
    bounds: &[f64],
    unit: f64,
    distribution: impl Fn(&Sums) -> &Distribution<N>,
) -> fmt::Result {
    if !rows.is_empty() {
        writeln!(out, "# TYPE {name} histogram")?;
    }
    for row in rows {
        let (labels, distribution) = (&row.labels, distribution(row.sums));
        let mut below: u64 = 0;
        for (at, count) in distribution.buckets.iter().enumerate() {
            below = below.wrapping_add(*count);
            match bounds.get(at) {
                Some(bound) => writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")?,
                None => writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {below}")?,
            }
        }
        writeln!(out, "{name}_sum{{{labels}}} {}", distribution.sum as f64 / unit)?;
        writeln!(out, "{name}_count{{{labels}}} {below}")?;
    }
    Ok(())
}

/// Istio's labels, in the order of its documentation.
fn labels(local: &LocalWorkload, identity: &OwnedIdentity) -> String {
    let ours = Party {
        workload: local.workload.clone(),
        namespace: local.namespace.clone(),
        app: local.app.clone(),
        version: local.version.clone(),
        canonical_service: local.canonical_service.clone(),
        canonical_revision: local.canonical_revision.clone(),
        cluster: local.cluster.clone(),
    };
    let here = (&ours, identity.local_principal.as_str());
    let there = (&identity.peer, identity.peer_principal.as_str());
    let (reporter, source, destination) = match identity.reporter {
        Reporter::Source => ("source", here, there),
        Reporter::Destination => ("destination", there, here),
    };
    let mut out = String::with_capacity(1024);
    label(&mut out, "reporter", reporter);
    party(&mut out, "source", source);
    party(&mut out, "destination", destination);
    label(&mut out, "destination_service", or_unknown(&identity.service));
    label(
        &mut out,
        "destination_service_name",
        or_unknown(&identity.service_name),
    );
    label(
        &mut out,
        "destination_service_namespace",
        or_unknown(&identity.service_namespace),
    );
    label(&mut out, "request_protocol", identity.protocol.name());
    if identity.protocol != Protocol::Tcp {
        label(&mut out, "response_code", &identity.code.to_string());
        let status = identity.grpc_status.map(|status| status.to_string());
        label(
            &mut out,
            "grpc_response_status",
            status.as_deref().unwrap_or_default(),
        );
    }
    label(&mut out, "response_flags", &identity.flags.to_string());
    // Istio leaves it to the called side to say this.
    let policy = match (identity.reporter, identity.is_mutual_tls()) {
        (Reporter::Source, _) => "unknown",
        (Reporter::Destination, true) => "mutual_tls",
        (Reporter::Destination, false) => "none",
    };
    label(&mut out, "connection_security_policy", policy);
    out
}

fn party(out: &mut String, side: &str, (party, principal): (&Party<String>, &str)) {
    let revision = match party.canonical_revision.as_str() {
        "" => "latest",
        revision => revision,
    };
    for (name, value) in [
        ("workload", or_unknown(&party.workload)),
        ("workload_namespace", or_unknown(&party.namespace)),
        ("principal", or_unknown(principal)),
        ("app", or_unknown(&party.app)),
        ("version", or_unknown(&party.version)),
        ("canonical_service", or_unknown(&party.canonical_service)),
        ("canonical_revision", revision),
        ("cluster", or_unknown(&party.cluster)),
    ] {
        label(out, &format!("{side}_{name}"), value);
    }
}

fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn or_unknown(value: &str) -> &str {
    if value.is_empty() { "unknown" } else { value }
}
