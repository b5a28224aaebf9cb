//! What a caller says of its trace: what is told on is what was understood, and is understood again.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::collector::{Collector, Envelope, Service};
use leno_engine::compile::service::HttpService;
use leno_engine::compile::tracing::{Sampling, Tracer, TracerKind, Tracing, Zipkin};
use leno_engine::message::{Headers, RequestHead, Version};
use libfuzzer_sys::fuzz_target;

// A byte of settings; the rest is lines: a header each, its name by the first byte.
fuzz_target!(|input: &[u8]| {
    let Some((settings, lines)) = input.split_first() else {
        return;
    };
    let is = |bit: u8| settings & (1 << bit) != 0;
    let mut headers = Headers::default();
    for line in lines.split(|b| *b == b'\n') {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let names = ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"];
        headers.append(names[usize::from(*name) % names.len()], value);
    }
    let kind = match is(0) {
        true => TracerKind::OpenTelemetry { sampler: None },
        false => TracerKind::Zipkin(Zipkin {
            long_ids: is(1),
            shared: is(2),
            split: is(3),
            w3c: is(4),
        }),
    };
    let tracing = Tracing {
        tracer: Some(Arc::new(Tracer {
            collector: Arc::new(collector()),
            kind,
        })),
        sampling: Sampling::ALL,
        tags: Vec::new(),
        operation: None,
        upstream_operation: None,
        spawn_upstream: is(5),
        propagates: true,
        max_path: 256,
    };
    let mut head = RequestHead {
        version: Version::Http11,
        method: Bytes::from_static(b"GET"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::from_static(b"a"),
        path: Bytes::from_static(b"/"),
        headers,
        upgrade: None,
    };
    let Some(tracer) = &tracing.tracer else { return };
    let Some(span) = tracer.begin(&tracing, &head, is(6), is(7), || 7) else {
        return;
    };
    tracer.inject(&span, &mut head.headers);
    let again = tracer.begin(&tracing, &head, is(6), is(7), || 8);
    let again = again.expect("what is told is well formed");
    assert_eq!((again.trace.high, again.trace.low), (span.trace.high, span.trace.low));
    assert_eq!(again.sampled, span.sampled);
});

fn collector() -> Collector {
    Collector {
        service: Service::Http(HttpService {
            cluster: "collector".into(),
            authority: "collector".into(),
            path: "/".into(),
            timeout: Duration::from_secs(1),
            headers: Vec::new(),
        }),
        envelope: Envelope::ZipkinJson,
        flush_every: Duration::from_secs(1),
        batch_bytes: 1,
        batch_records: 1,
        most_records: 1,
    }
}
