//! What is counted, under which labels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::listener::Direction;
use leno_engine::flags::Flag;
use leno_proto::control::Edge;
use leno_telemetry::metrics::{Changes, LATENCY_BOUNDS_US, Metrics};

use crate::allocations::allocations;
use crate::sample::{PRODUCTPAGE, REVIEWS, outbound, productpage};

type Labels = BTreeMap<String, String>;

/// Reads the text format as strictly as Prometheus does: name, labels in quotes with escapes, value.
fn parse(text: &str) -> Vec<(String, Labels, f64)> {
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut typed = std::collections::HashSet::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            assert!(
                typed.insert(comment.split(' ').next().unwrap().to_owned()),
                "{line}: typed twice"
            );
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, value) = labels(rest);
        samples.push((name.to_owned(), labels, value.trim().parse().unwrap()));
    }
    samples
}

fn labels(mut rest: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").unwrap();
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{name}"
        );
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        rest = &quoted[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').unwrap()),
        }
    }
}

fn value(samples: &[(String, Labels, f64)], name: &str, wanted: &[(&str, &str)]) -> f64 {
    samples
        .iter()
        .filter(|(n, labels, _)| {
            n == name
                && wanted
                    .iter()
                    .all(|(k, v)| labels.get(*k).map(String::as_str) == Some(*v))
        })
        .map(|(_, _, value)| value)
        .sum()
}

#[test]
fn a_request_has_istios_labels_as_the_caller_sees_it() {
    let metrics = Metrics::new(productpage());
    metrics.shard().request(&outbound().record());
    let samples = parse(&metrics.prometheus_text());
    let (_, labels, count) = samples
        .iter()
        .find(|(name, ..)| name == "istio_requests_total")
        .unwrap();
    assert_eq!(*count, 1.0);
    let want: Labels = [
        ("reporter", "source"),
        ("source_workload", "productpage-v1"),
        ("source_workload_namespace", "default"),
        ("source_principal", PRODUCTPAGE),
        ("source_app", "productpage"),
        ("source_version", "v1"),
        ("source_canonical_service", "productpage"),
        ("source_canonical_revision", "v1"),
        ("source_cluster", "Kubernetes"),
        ("destination_workload", "reviews-v2"),
        ("destination_workload_namespace", "default"),
        ("destination_principal", REVIEWS),
        ("destination_app", "reviews"),
        ("destination_version", "v2"),
        ("destination_canonical_service", "reviews"),
        ("destination_canonical_revision", "v2"),
        ("destination_cluster", "Kubernetes"),
        ("destination_service", "reviews.default.svc.cluster.local"),
        ("destination_service_name", "reviews"),
        ("destination_service_namespace", "default"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    assert_eq!(*labels, want);
}

#[test]
fn the_called_side_turns_the_parties_and_states_the_policy() {
    let metrics = Metrics::new(productpage());
    let mut shard = metrics.shard();
    let mut sample = outbound();
    sample.downstream.direction = Direction::Inbound;
    sample.downstream.peer_principal = Some("spiffe://cluster.local/ns/web/sa/browser".into());
    sample.downstream.local_principal = Some(PRODUCTPAGE.into());
    sample.peer.workload = "browser".into();
    shard.request(&sample.record());
    sample.downstream.peer_principal = None;
    sample.peer = Default::default();
    shard.request(&sample.record());
    let samples = parse(&metrics.prometheus_text());
    let count = |wanted: &[(&str, &str)]| value(&samples, "istio_requests_total", wanted);
    assert_eq!(
        count(&[
            ("reporter", "destination"),
            ("source_workload", "browser"),
            ("source_principal", "spiffe://cluster.local/ns/web/sa/browser"),
            ("destination_workload", "productpage-v1"),
            ("connection_security_policy", "mutual_tls"),
        ]),
        1.0
    );
    // The endpoint's metadata are our own: an unknown caller is unknown.
    assert_eq!(
        count(&[
            ("source_workload", "unknown"),
            ("source_canonical_revision", "latest"),
            ("source_principal", "unknown"),
            ("connection_security_policy", "none"),
        ]),
        1.0
    );
}

#[test]
fn shards_are_summed_and_outlive_their_workers() {
    let metrics = Metrics::new(productpage());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut shard = metrics.shard();
            scope.spawn(move || {
                let sample = outbound();
                (0..1000).for_each(|_| shard.request(&sample.record()));
            });
        }
    });
    let samples = parse(&metrics.prometheus_text());
    assert_eq!(value(&samples, "istio_requests_total", &[]), 2000.0);
    assert_eq!(value(&samples, "istio_response_bytes_sum", &[]), 750_000.0);
    assert_eq!(value(&samples, "istio_response_bytes_count", &[]), 2000.0);
}

#[test]
fn a_latency_falls_into_its_bucket() {
    let metrics = Metrics::new(productpage());
    let mut shard = metrics.shard();
    let mut sample = outbound();
    for micros in [50, 100, 7_300, 7_200_000_000] {
        sample.duration = Duration::from_micros(micros);
        shard.request(&sample.record());
    }
    let samples = parse(&metrics.prometheus_text());
    let below = |le| {
        value(
            &samples,
            "istio_request_duration_milliseconds_bucket",
            &[("le", le)],
        )
    };
    assert_eq!(below("0.1"), 2.0);
    assert_eq!(below("5"), 2.0);
    assert_eq!(below("10"), 3.0);
    assert_eq!(below("3600000"), 3.0);
    assert_eq!(below("+Inf"), 4.0);
    assert_eq!(
        value(&samples, "istio_request_duration_milliseconds_sum", &[]),
        7_200_007.45
    );
}

#[test]
fn grpc_has_its_status_and_a_lost_request_its_flag() {
    let metrics = Metrics::new(productpage());
    let mut shard = metrics.shard();
    let mut sample = outbound();
    sample.request.headers.append(
        Bytes::from_static(b"content-type"),
        Bytes::from_static(b"application/grpc+proto"),
    );
    sample.grpc_status = Some(14);
    shard.request(&sample.record());
    let mut lost = outbound();
    lost.response = None;
    lost.flags = Flag::DownstreamConnectionTermination.into();
    shard.request(&lost.record());
    let samples = parse(&metrics.prometheus_text());
    let count = |wanted: &[(&str, &str)]| value(&samples, "istio_requests_total", wanted);
    assert_eq!(
        count(&[("request_protocol", "grpc"), ("grpc_response_status", "14")]),
        1.0
    );
    assert_eq!(count(&[("response_code", "0"), ("response_flags", "DC")]), 1.0);
}

#[test]
fn what_no_service_claims_is_called_by_its_cluster() {
    let metrics = Metrics::new(productpage());
    let mut sample = outbound();
    sample.service = None;
    sample.workload = None;
    sample.cluster = "PassthroughCluster".into();
    sample.request.authority = Bytes::from_static(b"exa\"mple\n\\.com");
    metrics.shard().request(&sample.record());
    let samples = parse(&metrics.prometheus_text());
    let wanted = [
        ("destination_service_name", "PassthroughCluster"),
        ("destination_service", "exa\"mple\n\\.com"),
        ("destination_service_namespace", "unknown"),
    ];
    assert_eq!(value(&samples, "istio_requests_total", &wanted), 1.0);
}

#[test]
fn connections_count_their_opening_their_end_and_their_bytes() {
    let metrics = Metrics::new(productpage());
    let mut shard = metrics.shard();
    let sample = outbound();
    let record = sample.connection();
    shard.connection_opened(record.downstream, record.upstream, record.peer);
    shard.connection_opened(record.downstream, record.upstream, record.peer);
    shard.connection_closed(&record);
    let samples = parse(&metrics.prometheus_text());
    let tcp = [
        ("request_protocol", "tcp"),
        ("destination_workload", "reviews-v2"),
    ];
    assert_eq!(value(&samples, "istio_tcp_connections_opened_total", &tcp), 2.0);
    assert_eq!(value(&samples, "istio_tcp_connections_closed_total", &tcp), 1.0);
    assert_eq!(value(&samples, "istio_tcp_sent_bytes_total", &tcp), 20.0);
    assert_eq!(value(&samples, "istio_tcp_received_bytes_total", &tcp), 10.0);
    assert!(
        samples
            .iter()
            .all(|(_, labels, _)| !labels.contains_key("response_code"))
    );
}

#[test]
fn a_known_label_set_costs_no_allocation() {
    let metrics = Metrics::new(productpage());
    let mut shard = metrics.shard();
    let sample = outbound();
    let (request, connection) = (sample.record(), sample.connection());
    shard.request(&request);
    shard.connection_closed(&connection);
    let count = allocations(|| {
        for _ in 0..100 {
            shard.request(&request);
            shard.connection_opened(connection.downstream, connection.upstream, connection.peer);
            shard.connection_closed(&connection);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn label_sets_are_bounded_and_nothing_is_lost() {
    let metrics = Metrics::new(productpage());
    let mut shard = metrics.shard();
    let mut sample = outbound();
    sample.service = None;
    for n in 0..5000 {
        sample.request.authority = Bytes::from(format!("host-{n}"));
        shard.request(&sample.record());
    }
    let samples = parse(&metrics.prometheus_text());
    let sets = samples
        .iter()
        .filter(|(name, ..)| name == "istio_requests_total")
        .count();
    assert!(sets < 2100, "{sets}");
    assert_eq!(value(&samples, "istio_requests_total", &[]), 5000.0);
    assert!(
        value(
            &samples,
            "istio_requests_total",
            &[("destination_service", "overflow")]
        ) > 2900.0
    );
}

/// What a reader is told who knows nothing.
fn edges(metrics: &Arc<Metrics>) -> Vec<Edge> {
    Changes::new(Arc::clone(metrics)).read()
}

#[test]
fn an_edge_tells_the_parties_the_route_and_the_answer() {
    let metrics = Arc::new(Metrics::new(productpage()));
    let mut shard = metrics.shard();
    let mut sample = outbound();
    shard.request(&sample.record());
    sample.rule = 2;
    sample.response.as_mut().unwrap().status = 503;
    sample.flags = Flag::UpstreamConnectionFailure.into();
    shard.request(&sample.record());
    shard.request(&sample.record());
    let edges = edges(&metrics);
    let [edge, failed] = edges.as_slice() else {
        panic!("{edges:?}")
    };
    assert_eq!((edge.requests, edge.failures, edge.mtls), (1, 0, true));
    assert_eq!(edge.source.as_ref().unwrap().app, "productpage");
    assert_eq!(edge.destination.as_ref().unwrap().version, "v2");
    assert_eq!(edge.destination.as_ref().unwrap().principal, REVIEWS);
    assert_eq!(edge.destination_service, "reviews.default.svc.cluster.local");
    assert_eq!((edge.code, edge.flags.as_str()), (200, ""));
    assert_eq!(
        (edge.route.as_str(), edge.rule, edge.made_by.as_str()),
        (
            "default",
            1,
            "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"
        )
    );
    assert_eq!((failed.requests, failed.failures, failed.rule), (2, 2, 2));
    assert_eq!((failed.code, failed.flags.as_str()), (503, "UF"));
    assert_eq!(failed.latency.len(), LATENCY_BOUNDS_US.len() + 1);
    assert_eq!(failed.latency.iter().sum::<u64>(), 2);
    assert_eq!(failed.latency_sum_us, 2 * 7_300);
    assert_eq!(failed.bytes_sent, 2 * 375);
}

#[test]
fn what_counts_as_a_failure() {
    let failures = |change: fn(&mut crate::sample::Sample)| {
        let metrics = Arc::new(Metrics::new(productpage()));
        let mut sample = outbound();
        change(&mut sample);
        metrics.shard().request(&sample.record());
        edges(&metrics)[0].failures
    };
    assert_eq!(failures(|s| s.response.as_mut().unwrap().status = 404), 0);
    assert_eq!(failures(|s| s.response.as_mut().unwrap().status = 500), 1);
    assert_eq!(
        failures(|s| s.flags = Flag::DownstreamConnectionTermination.into()),
        0
    );
    assert_eq!(failures(|s| s.flags = Flag::DelayInjected.into()), 0);
    assert_eq!(failures(|s| s.flags = Flag::FaultInjected.into()), 1);
    let grpc = |s: &mut crate::sample::Sample| s.request.headers.append("content-type", "application/grpc");
    // NOT_FOUND is an answer, UNAVAILABLE is none.
    for (status, failed) in [(5, 0), (14, 1)] {
        let metrics = Arc::new(Metrics::new(productpage()));
        let mut sample = outbound();
        grpc(&mut sample);
        sample.grpc_status = Some(status);
        metrics.shard().request(&sample.record());
        let edge = &edges(&metrics)[0];
        assert_eq!((edge.failures, edge.grpc_status), (failed, Some(status)));
    }
}

#[test]
fn connections_are_counted_when_they_begin_and_when_they_end() {
    let metrics = Arc::new(Metrics::new(productpage()));
    let mut shard = metrics.shard();
    let sample = outbound();
    let opened = sample.connection();
    for _ in 0..3 {
        shard.connection_opened(&sample.downstream, opened.upstream, &sample.peer);
    }
    shard.connection_closed(&opened);
    let edges = edges(&metrics);
    let edge = &edges[0];
    assert_eq!(
        (edge.protocol.as_str(), edge.requests, edge.closed),
        ("tcp", 3, 1)
    );
    assert_eq!((edge.bytes_received, edge.bytes_sent), (10, 20));
}

#[test]
fn a_reader_is_told_what_has_changed_and_labels_once() {
    let metrics = Arc::new(Metrics::new(productpage()));
    let (mut one, mut other) = (metrics.shard(), metrics.shard());
    let mut changes = Changes::new(Arc::clone(&metrics));
    let mut sample = outbound();
    one.request(&sample.record());
    let first = changes.read();
    assert_eq!((first[0].id, first[0].requests), (1, 1));
    assert!(first[0].source.is_some());
    assert_eq!(changes.read(), []);

    // The workers' counters are added up.
    other.request(&sample.record());
    sample.rule = 2;
    other.request(&sample.record());
    let second = changes.read();
    let told: Vec<_> = second
        .iter()
        .map(|e| (e.id, e.requests, e.source.is_some()))
        .collect();
    assert_eq!(told, [(1, 2, false), (2, 1, true)]);

    changes.forget();
    let all: Vec<_> = changes
        .read()
        .iter()
        .map(|e| (e.id, e.source.is_some()))
        .collect();
    assert_eq!(all, [(1, true), (2, true)]);
}
