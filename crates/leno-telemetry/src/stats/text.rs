//! The forms in which statistics are told.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::{Kind, Sample, Snapshot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `NAME: VALUE`
    Text,
    Json,
    /// With what Envoy takes out of the names as labels.
    Prometheus,
}

/// Those that `shown` takes, by name.
pub fn text(snapshot: &Snapshot, form: Form, shown: impl Fn(&str, &Sample) -> bool) -> String {
    let samples = snapshot.samples.iter();
    let samples: Vec<_> = samples.filter(|(name, sample)| shown(name, sample)).collect();
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match form {
        Form::Text => samples
            .iter()
            .try_for_each(|(name, sample)| writeln!(out, "{name}: {}", sample.value)),
        Form::Json => json(&mut out, &samples),
        Form::Prometheus => prometheus(&mut out, &samples),
    };
    out
}

fn json(out: &mut String, samples: &[(&String, &Sample)]) -> fmt::Result {
    out.push_str("{\"stats\":[");
    for (at, (name, sample)) in samples.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        write!(out, "{comma}{{\"name\":\"{name}\",\"value\":{}}}", sample.value)?;
    }
    out.push_str("]}");
    Ok(())
}

fn prometheus(out: &mut String, samples: &[(&String, &Sample)]) -> fmt::Result {
    let mut families: BTreeMap<String, (Kind, Vec<(String, u64)>)> = BTreeMap::new();
    for (name, sample) in samples {
        let (family, labels) = tagged(name);
        let (_, rows) = families.entry(family).or_insert((sample.kind, Vec::new()));
        rows.push((labels, sample.value));
    }
    for (family, (kind, rows)) in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        writeln!(out, "# TYPE {family} {kind}")?;
        for (labels, value) in rows {
            writeln!(out, "{family}{{{labels}}} {value}")?;
        }
    }
    Ok(())
}

/// The metric's name and its labels. Unlike Envoy's expressions, which take the first word, a cluster's name is taken
/// whole, whatever dots are in it.
fn tagged(name: &str) -> (String, String) {
    let mut labels: Vec<(&str, &str)> = Vec::new();
    let scopes = [
        ("cluster.", "envoy_cluster_name"),
        ("http.", "envoy_http_conn_manager_prefix"),
        ("listener.", "envoy_listener_address"),
        ("tcp.", "envoy_tcp_prefix"),
    ];
    let mut rest = name.to_owned();
    for (scope, label) in scopes {
        let Some(inside) = name.strip_prefix(scope) else {
            continue;
        };
        let Some((whose, stat)) = split(inside) else {
            continue;
        };
        labels.push((label, whose));
        rest = format!("{scope}{stat}");
        // `upstream_rq_200`, `downstream_rq_2xx`
        if let Some((stat, code)) = stat.rsplit_once('_') {
            let digits = code.bytes().filter(u8::is_ascii_digit).count();
            if code.len() == 3 && digits == 3 {
                labels.insert(0, ("envoy_response_code", code));
                rest = format!("{scope}{stat}");
            } else if let Some(class) = code.strip_suffix("xx").filter(|_| digits == 1) {
                labels.insert(0, ("envoy_response_code_class", class));
                rest = format!("{scope}{stat}_xx");
            }
        }
    }
    let family: String = rest
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let labels = labels.iter().map(|(label, value)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{label}=\"{value}\"")
    });
    (format!("envoy_{family}"), labels.collect::<Vec<_>>().join(","))
}

/// Whose it is and what it is; the latter may have a group in front, with a dot.
fn split(inside: &str) -> Option<(&str, &str)> {
    let (whose, stat) = inside.rsplit_once('.')?;
    for group in [
        ".circuit_breakers.default",
        ".circuit_breakers.high",
        ".health_check",
        ".outlier_detection",
        ".tracing",
    ] {
        if let Some(whose) = whose.strip_suffix(group) {
            return Some((whose, &inside[whose.len() + 1..]));
        }
    }
    Some((whose, stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (name, kind, value) in [
            ("cluster.a.b.upstream_rq_200", Kind::Counter, 3),
            ("cluster.a.b.upstream_rq_5xx", Kind::Counter, 1),
            ("cluster.a.b.circuit_breakers.high.rq_open", Kind::Gauge, 1),
            ("listener.127.0.0.1_80.downstream_cx_active", Kind::Gauge, 2),
            ("server.live", Kind::Gauge, 1),
        ] {
            snapshot.add(name.to_owned(), kind, value);
        }
        snapshot
    }

    #[test]
    fn labels_are_taken_out_of_names() {
        let text = text(&snapshot(), Form::Prometheus, |_, _| true);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "envoy_cluster_circuit_breakers_high_rq_open{envoy_cluster_name=\"a.b\"} 1",
                "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"a.b\"} 3",
                "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"a.b\"} 1",
                "envoy_listener_downstream_cx_active{envoy_listener_address=\"127.0.0.1_80\"} 2",
                "envoy_server_live{} 1",
            ]
        );
        assert!(
            text.contains("# TYPE envoy_cluster_upstream_rq counter\n"),
            "{text}"
        );
    }

    #[test]
    fn only_what_is_asked_for_is_shown() {
        let text = text(&snapshot(), Form::Json, |name, sample| {
            name.contains("rq") && sample.value > 1
        });
        assert_eq!(
            text,
            r#"{"stats":[{"name":"cluster.a.b.upstream_rq_200","value":3}]}"#
        );
    }
}
