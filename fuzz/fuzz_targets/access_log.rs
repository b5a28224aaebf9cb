//! Format strings of access logs: parsing never panics, and a line in JSON is JSON.
#![no_main]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::access_log::{Format, Json, LogFormat};
use leno_engine::compile::listener::Direction;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::notes::Notes;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::access_log::{check, write_request};
use leno_telemetry::record::{DownstreamRecord, RequestRecord, RouteRecord};
use libfuzzer_sys::fuzz_target;

// Four bytes of time, a line with a path as a client sent it, and the format.
fuzz_target!(|input: &[u8]| {
    let Some((seconds, rest)) = input.split_first_chunk() else {
        return;
    };
    let (seconds, mut rest) = (
        u32::from_be_bytes(*seconds),
        rest.splitn(2, |byte| *byte == b'\n'),
    );
    let (path, text) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
    let Ok(format) = Format::parse(&String::from_utf8_lossy(text)) else {
        return;
    };
    let json = LogFormat::Json {
        value: Json::Object(vec![("key\"".into(), Json::Format(format.clone()))]),
        omit_empty: false,
    };
    if check(&[&format]).is_err() {
        return;
    }
    let request = RequestHead {
        version: Version::Http11,
        method: Bytes::from_static(b"GET"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::from_static(b"reviews:9080"),
        path: Bytes::copy_from_slice(path),
        headers: Headers::default(),
        upgrade: None,
    };
    let response = ResponseHead {
        version: Version::Http11,
        status: 200,
        headers: Headers::default(),
    };
    let downstream = DownstreamRecord {
        direction: Direction::Outbound,
        named: None,
        local: ([240, 240, 0, 7], 9080).into(),
        direct_local: ([240, 240, 0, 7], 9080).into(),
        remote: ([198, 18, 0, 2], 40_000).into(),
        direct_remote: ([198, 18, 0, 2], 40_000).into(),
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
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()),
        duration: Duration::from_micros(7_300),
        request_duration: None,
        response_duration: None,
        request: &request,
        response: Some(&response),
        trailers: None,
        grpc_status: None,
        flags: Flags::default(),
        details: "via_upstream",
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
    let mut out = Vec::new();
    write_request(&json, &record, &mut out);
    let _: serde_json::Value = serde_json::from_slice(&out).expect("a line of JSON");
    let text = LogFormat::Text {
        format,
        omit_empty: false,
    };
    write_request(&text, &record, &mut out);
});
