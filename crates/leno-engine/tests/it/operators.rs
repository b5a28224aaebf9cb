//! Every command operator of Envoy 1.40's documentation, and what becomes of it.

use leno_engine::compile::access_log::{Format, Heads, NoValues, Reading};

/// In the order of the page.
const DOCUMENTED: &[&str] = &[
    "START_TIME",
    "START_TIME(%Y/%m/%dT%H:%M:%S%z)",
    "START_TIME_LOCAL",
    "START_TIME_LOCAL(%z %Z)",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "REQUEST_HEADERS_BYTES",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "PACKETS_RETRANSMITTED",
    "PROTOCOL",
    "UPSTREAM_PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)",
    "CONNECTION_TERMINATION_DETAILS",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "DURATION",
    "COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "ROUNDTRIP_DURATION",
    "RESPONSE_TX_DURATION",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "ROUTE_NAME",
    "VIRTUAL_CLUSTER_NAME",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "CONNECTION_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "STREAM_ID",
    "GRPC_STATUS",
    "GRPC_STATUS(SNAKE_STRING)",
    "GRPC_STATUS_NUMBER",
    "REQUEST_HEADER(a?b):3",
    "REQ(a?b):3",
    "RESPONSE_HEADER(a)",
    "RESP(a)",
    "RESPONSE_TRAILER(a)",
    "TRAILER(a)",
    "DYNAMIC_METADATA(a:b)",
    "CLUSTER_METADATA(a:b)",
    "UPSTREAM_METADATA(a:b)",
    "FILTER_STATE(a:PLAIN):3",
    "FILTER_STATE(a:FIELD:b)",
    "UPSTREAM_FILTER_STATE(a)",
    "REQUESTED_SERVER_NAME",
    "REQUESTED_SERVER_NAME(SNI_FIRST:HOST)",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_CERT",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CERT_V_END(%s)",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "FILTER_CHAIN_NAME",
    "ACCESS_LOG_TYPE",
    "UNIQUE_ID",
    "ENVIRONMENT(A):3",
    "TRACE_ID",
    "SPAN_ID",
    "QUERY_PARAM(a):3",
    "QUERY_PARAMS",
    "QUERY_PARAMS(DECODED):3",
    "PATH(NQ:ORIG):3",
    "CUSTOM_FLAGS",
    "COALESCE({\"operators\": [\"PROTOCOL\", {\"command\": \"REQ\", \"param\": \"a\", \"max_length\": 3}]}):3",
    "METADATA(ROUTE:a:b):3",
    "CEL(request.path == 'a'):3",
    "TYPED_CEL(request.size)",
];

/// Refused by name, with the reason.
const REFUSED: &[(&str, &str)] = &[
    (
        "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
        "the chain by which a peer was verified is not kept",
    ),
    ("DOWNSTREAM_PEER_ISSUER_SERIAL", "as well"),
    ("REQ_WITHOUT_QUERY(a)", "only with its formatter, as in Envoy"),
    ("FILE_CONTENT(/a)", "as well"),
    ("SECRET(a)", "of a formatter that is not supported"),
];

#[test]
fn every_operator_of_the_documentation_is_known() {
    for operator in DOCUMENTED {
        let format = Format::parse(&format!("%{operator}%"));
        assert!(format.is_ok(), "{operator}: {format:?}");
    }
    for (operator, why) in REFUSED {
        let format = Format::parse(&format!("%{operator}%"));
        assert!(format.is_err(), "{operator} is accepted now: {why}");
    }
}

#[test]
fn arguments_are_checked() {
    for wrong in [
        "RESPONSE_CODE(1)",
        "RESPONSE_CODE:3",
        "CLUSTER_METADATA(a):3",
        "REQ",
        "REQ()",
        "REQ(a?b?c)",
        "REQ(a):x",
        "COMMON_DURATION(a:b)",
        "COMMON_DURATION(a:b:s)",
        "QUERY_PARAMS(x)",
        "PATH(x)",
        "METADATA(x:a)",
        "FILTER_STATE(a:x)",
        "FILTER_STATE(a:FIELD)",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(129)",
        "COALESCE({})",
        "COALESCE({\"operators\": [\"NONE\"]})",
        "CEL(1 +)",
        "CEL([1].all(x, x > 0))",
        "NONE",
    ] {
        assert!(Format::parse(&format!("%{wrong}%")).is_err(), "{wrong}");
    }
}

#[test]
fn an_expression_may_hold_what_ends_others() {
    let format = Format::parse("%CEL(size(request.path) > 1 ? size('a)') : 2):3%!").expect("parses");
    assert_eq!(format.0.len(), 2);
}

#[test]
fn what_files_say_is_read_with_the_format() {
    let read = |path: &str| match path {
        "/a" => Ok(b"hello\n".to_vec()),
        _ => Err("no such file".to_owned()),
    };
    let mut reading = Reading {
        file: &read,
        ..Reading::default()
    };
    reading.brought.file_content = true;
    let format = Format::read(
        "%FILE_CONTENT(/a)%|%FILE_CONTENT(/a:/)%|%FILE_CONTENT(/a):3%",
        &reading,
    );
    let mut out = Vec::new();
    format
        .expect("reads")
        .write(Heads::default(), &NoValues, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), "hello\n|hello\n|hel");
    let error = Format::read("%FILE_CONTENT(/b)%", &reading).expect_err("there is none");
    assert_eq!(error, "%FILE_CONTENT(/b)%: no such file");
}
