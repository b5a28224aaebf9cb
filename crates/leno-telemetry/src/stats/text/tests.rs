use leno_engine::compile::stats::StatsConfig;

use super::super::{ClusterStat, ClusterTime, Counts, Stats};
use super::*;
use std::time::Duration;

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

/// Of what takes time.
fn timed() -> Snapshot {
    let stats = Stats::default();
    let counts: Counts<ClusterStat> = stats.counts("up");
    for millis in [48, 0, 44, 46, 43] {
        counts.took(ClusterTime::Rq, Duration::from_millis(millis));
    }
    Snapshot::of(&stats)
}

fn told(snapshot: &Snapshot, form: Form, buckets: Buckets, filter: &str) -> String {
    let asked = Asked {
        form,
        buckets,
        kind: None,
        used: false,
        takes: &|name| name.ends_with(filter),
        config: &StatsConfig::default(),
    };
    text(snapshot, &asked)
}

#[test]
fn labels_are_taken_out_of_names() {
    let text = told(&snapshot(), Form::Prometheus, Buckets::Unsaid, "");
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
    assert_eq!(
        told(&snapshot(), Form::Json, Buckets::Unsaid, "rq_200"),
        r#"{"stats":[{"name":"cluster.a.b.upstream_rq_200","value":3}]}"#
    );
    let asked = Asked {
        form: Form::Text,
        buckets: Buckets::Unsaid,
        kind: Some(Shown::Histograms),
        used: true,
        takes: &|_| true,
        config: &StatsConfig::default(),
    };
    // Those of requests from outside are all of them.
    let said = text(&timed(), &asked);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    for (line, name) in lines
        .iter()
        .zip(["external.upstream_rq_time", "upstream_rq_time"])
    {
        assert!(
            line.starts_with(&format!("cluster.up.{name}: P0(nan,0) P25(nan,43.5) ")),
            "{said}"
        );
    }
}

/// What Envoy 1.40 says of the same times, without the intervals.
#[test]
fn times_are_told_as_envoy_tells_them() {
    let say = |form, buckets| told(&timed(), form, buckets, "up.upstream_rq_time");
    let quantiles = "P0(nan,0) P25(nan,43.5) P50(nan,44.5) P75(nan,46.5) P90(nan,48.5) P95(nan,48.5) \
                     P99(nan,48.5) P99.5(nan,48.5) P99.9(nan,48.5) P100(nan,48.5)";
    assert_eq!(
        say(Form::Text, Buckets::Unsaid),
        format!("cluster.up.upstream_rq_time: {quantiles}\n")
    );
    assert_eq!(
        say(Form::Text, Buckets::Disjoint),
        "cluster.up.upstream_rq_time: B0.5(0,1) B1(0,0) B5(0,0) B10(0,0) B25(0,0) B50(0,4) B100(0,0) B250(0,0) \
         B500(0,0) B1000(0,0) B2500(0,0) B5000(0,0) B10000(0,0) B30000(0,0) B60000(0,0) B300000(0,0) B600000(0,0) \
         B1.8e+06(0,0) B3.6e+06(0,0)\n"
    );
    assert_eq!(
        say(Form::Text, Buckets::Detailed),
        format!(
            "cluster.up.upstream_rq_time:\n  totals=0,0:1, 43,1:1, 44,1:1, 46,1:1, 48,1:1\n  intervals=\n  \
             summary={quantiles}\n"
        )
    );
    let json = say(Form::Json, Buckets::Unsaid);
    let begins = r#"{"stats":[{"histograms":{"supported_quantiles":[0,25,50,75,90,95,99,99.5,99.9,100],"computed_quantiles":[{"name":"cluster.up.upstream_rq_time","values":[{"cumulative":0,"interval":null},{"cumulative":43.5,"#;
    assert!(json.starts_with(begins) && json.ends_with("}]}]}}]}"), "{json}");
    let prometheus = say(Form::Prometheus, Buckets::Unsaid);
    for line in [
        "# TYPE envoy_cluster_upstream_rq_time histogram",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"up\",le=\"25\"} 1",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"up\",le=\"50\"} 5",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"up\",le=\"3600000\"} 5",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"up\",le=\"+Inf\"} 5",
        "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"up\"} 5",
    ] {
        assert!(
            prometheus.lines().any(|told| told == line),
            "{line} is not in\n{prometheus}"
        );
    }
    let none = told(&timed(), Form::Text, Buckets::Unsaid, "up.upstream_cx_connect_ms");
    assert_eq!(none, "cluster.up.upstream_cx_connect_ms: No recorded values\n");
}
