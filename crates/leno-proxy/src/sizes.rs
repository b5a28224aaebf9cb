//! How large requests and answers are, where a cluster's `track_cluster_stats` asks for it.

use leno_engine::message::{Headers, RequestHead, ResponseHead};
use leno_telemetry::stats::{ClusterStat, Counts};

/// `received` and `sent`: bytes of the bodies.
pub(crate) fn count(
    counts: &Counts<ClusterStat>,
    (request, received): (&RequestHead, u64),
    (response, sent): (&ResponseHead, u64),
) {
    let RequestHead {
        method,
        scheme,
        authority,
        path,
        ..
    } = request;
    let pseudo = [
        (":method", method),
        (":scheme", scheme),
        (":authority", authority),
        (":path", path),
    ];
    let pseudo = pseudo.into_iter().filter(|(_, value)| !value.is_empty());
    let (number, size) = pseudo.fold(of(&request.headers), |(number, size), (name, value)| {
        (number + 1, size + name.len() + value.len())
    });
    let (number_back, size_back) = of(&response.headers);
    for (name, value) in [
        ("upstream_rq_headers_size", size as u64),
        ("upstream_rq_headers_count", number as u64),
        ("upstream_rq_body_size", received),
        // And `:status: 200`.
        ("upstream_rs_headers_size", size_back as u64 + 10),
        ("upstream_rs_headers_count", number_back as u64 + 1),
        ("upstream_rs_body_size", sent),
    ] {
        counts.observed_named(name, value);
    }
}

/// How many fields, and the bytes of their names and values.
fn of(headers: &Headers) -> (usize, usize) {
    headers.iter().fold((0, 0), |(number, size), (name, value)| {
        (number + 1, size + name.len() + value.len())
    })
}
