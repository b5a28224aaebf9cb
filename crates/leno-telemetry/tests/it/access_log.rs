//! Lines as operators read them, and as their tools parse them.

use bytes::Bytes;
use leno_engine::compile::access_log::{Format, Json, LogFormat};
use leno_engine::flags::Flag;
use leno_telemetry::access_log::{check, default_json, default_text, write_connection, write_request};

use crate::allocations::allocations;
use crate::sample::{REVIEWS, Sample, outbound};

fn line(format: &LogFormat, sample: &Sample) -> String {
    let mut out = Vec::new();
    write_request(format, &sample.record(), &mut out);
    String::from_utf8(out).unwrap()
}

fn text(format: &str) -> LogFormat {
    LogFormat::Text {
        format: Format::parse(format).unwrap(),
        omit_empty: false,
    }
}

#[test]
fn istios_default_line() {
    let mut sample = outbound();
    sample
        .request
        .headers
        .append(Bytes::from_static(b"user-agent"), Bytes::from_static(b"curl/8"));
    sample
        .request
        .headers
        .append(Bytes::from_static(b"x-request-id"), Bytes::from_static(b"42"));
    assert_eq!(
        line(&default_text().unwrap(), &sample),
        "[2026-11-22T04:05:06.007Z] \"GET /reviews/0?full=1 HTTP/1.1\" 200 - via_upstream - \"-\" 0 375 7 5 \"-\" \
         \"curl/8\" \"42\" \"reviews:9080\" \"127.0.0.9:9080\" \
         outbound|9080||reviews.default.svc.cluster.local 127.0.0.1:50000 240.240.0.7:9080 198.18.0.2:40000 - \
         default\n"
    );
}

#[test]
fn a_request_without_response_says_zero_and_why() {
    let mut sample = outbound();
    sample.response = None;
    sample.flags = Flag::UpstreamConnectionFailure.into();
    sample.flags |= Flag::UpstreamRetryLimitExceeded.into();
    let format = text("%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_URI_SAN%");
    assert_eq!(line(&format, &sample), format!("0 URX,UF {REVIEWS} -"));
}

#[test]
fn json_keeps_numbers_writes_nulls_and_escapes() {
    let mut sample = outbound();
    sample.request.path = Bytes::from_static(b"/a\"b\\c\xff");
    let line = line(&default_json().unwrap(), &sample);
    assert!(line.ends_with("}\n"));
    for piece in [
        "{\"start_time\":\"2026-11-22T04:05:06.007Z\",",
        "\"path\":\"/a\\\"b\\\\c\u{fffd}\",",
        "\"response_code\":200,",
        "\"bytes_sent\":375,",
        "\"upstream_service_time\":\"5\",",
        "\"user_agent\":null,",
        "\"response_flags\":\"-\",",
        "\"requested_server_name\":null}",
    ] {
        assert!(line.contains(piece), "{piece} in {line}");
    }
}

#[test]
fn a_value_of_several_pieces_is_a_string() {
    let value = Json::Object(vec![(
        "request".into(),
        Json::Format(Format::parse("%REQ(:METHOD)% %RESPONSE_CODE% %REQ(NO)%").unwrap()),
    )]);
    let format = LogFormat::Json {
        value,
        omit_empty: false,
    };
    assert_eq!(line(&format, &outbound()), "{\"request\":\"GET 200 -\"}\n");
}

#[test]
fn a_connection_has_a_line_too() {
    let mut out = Vec::new();
    let sample = outbound();
    write_connection(&default_text().unwrap(), &sample.connection(), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "[1970-01-01T00:00:00.000Z] \"- - -\" 0 - - - \"-\" 10 20 7 - \"-\" \"-\" \"-\" \"-\" \"127.0.0.9:9080\" \
         outbound|9080||reviews.default.svc.cluster.local 127.0.0.1:50000 240.240.0.7:9080 198.18.0.2:40000 - -\n"
    );
}

#[test]
fn a_line_into_a_warm_buffer_costs_no_allocation() {
    let (text, json) = (default_text().unwrap(), default_json().unwrap());
    let sample = outbound();
    let record = sample.record();
    let mut out = Vec::with_capacity(4096);
    let count = allocations(|| {
        for _ in 0..100 {
            out.clear();
            write_request(&text, &record, &mut out);
            write_request(&json, &record, &mut out);
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn what_no_record_can_answer_is_refused_by_name() {
    let error = check(&text("%START_TIME(%Q)%").formats()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "command operator %START_TIME(%Q)% is not supported"
    );
    for name in ["NONSENSE", "FILE_CONTENT", "HOSTNAME"] {
        let error = Format::parse(&format!("%{name}(a)%")).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(check(&default_text().unwrap().formats()), Ok(()));
    assert_eq!(check(&default_json().unwrap().formats()), Ok(()));
}
