//! Filters of `leno tap`, as operators and the control plane write them: parsing never panics and stays small, and a
//! filter that is taken never panics on a request.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::listener::Direction;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::notes::Notes;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, Version};
use leno_proto::control::TapFilter;
use leno_telemetry::record::{DownstreamRecord, LocalWorkload, RequestRecord, RouteRecord};
use leno_telemetry::tap::{Filter, Tap, Tapping, Taps};
use libfuzzer_sys::fuzz_target;
use prost::Message;

// A length, that many bytes of a request's path, and an encoded filter.
fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first() else {
        return;
    };
    let Some((path, filter)) = rest.split_at_checked(usize::from(*length)) else {
        return;
    };
    let Ok(filter) = TapFilter::decode(filter) else {
        return;
    };
    let Ok(filter) = Filter::parse(&filter) else {
        return;
    };
    let request = RequestHead {
        version: Version::Http11,
        method: Bytes::from_static(b"GET"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::from_static(b"reviews:9080"),
        path: Bytes::copy_from_slice(path),
        headers: Headers::default(),
        upgrade: None,
    };
    let downstream = DownstreamRecord {
        direction: Direction::Inbound,
        named: None,
        local: ([127, 64, 0, 7], 9080).into(),
        direct_local: ([127, 64, 0, 7], 9080).into(),
        remote: ([127, 0, 0, 1], 40_000).into(),
        direct_remote: ([127, 0, 0, 1], 40_000).into(),
        connection_id: 17,
        istio_stats: false,
        sni: None,
        tls_version: None,
        peer_principal: None,
        local_principal: None,
        tls: None,
        chain: None,
        listener_metadata: None,
        transport_failure: None,
        notes: None,
        fingerprints: None,
    };
    let record = RequestRecord {
        start: SystemTime::UNIX_EPOCH,
        duration: Duration::from_micros(7_300),
        request_duration: None,
        response_duration: None,
        request: &request,
        response: None,
        trailers: None,
        grpc_status: None,
        flags: Flags::default(),
        details: "",
        bytes_received: 0,
        bytes_sent: 0,
        wire: Default::default(),
        route: RouteRecord::default(),
        upstream: None,
        attempts: 1,
        span: None,
        forced: false,
        random: 0,
        downstream: &downstream,
        peer: &PeerMetadata::default(),
        notes: &Notes::default(),
        log_type: LogType::DownstreamEnd,
        details_on_demand: None,
    };
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let reader = Box::new(move |_| {
        counted.fetch_add(1, Relaxed);
        Ok(())
    });
    let taps = Arc::new(Taps::default());
    assert!(taps.add(Arc::new(Tap::new(1, filter, 1, reader)), 1));
    let mut tapping = Tapping::new(taps);
    // The second is over the limit.
    tapping.request(&record, &LocalWorkload::default());
    tapping.request(&record, &LocalWorkload::default());
    assert!(told.load(Relaxed) <= 1);
});
