//! Retries and timeouts.

use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::route::RetryPolicy;
use leno_engine::decide::retry::{FailureKind, RetryState, Verdict};
use leno_engine::decide::route::{Decision, RouteContext};
use leno_engine::decide::timeout::{Timeouts, grpc_timeout};
use leno_engine::message::RequestHead;
use leno_proto::envoy::config::route::v3 as pb;

use crate::made::{forward, one_route, prefix, request, response, seconds, to_cluster, u32_value};

fn policy(retry_on: &str, retries: u32) -> Arc<RetryPolicy> {
    let action = pb::RouteAction {
        retry_policy: Some(pb::RetryPolicy {
            retry_on: retry_on.into(),
            num_retries: u32_value(retries),
            retriable_status_codes: vec![418],
            ..Default::default()
        }),
        ..to_cluster("c")
    };
    let table = one_route(forward(prefix("/"), action));
    match table.route(&request("a", "/"), &CONTEXT) {
        Decision::Forward(forwarding) => forwarding.forward.retry.clone().expect("a policy"),
        other => panic!("{other:?}"),
    }
}

const CONTEXT: RouteContext = RouteContext::new(0, false);

fn retries_status(retry_on: &str, status: u16) -> bool {
    let mut state = RetryState::new(policy(retry_on, 1));
    matches!(state.on_response(&response(status), 0, 0), Verdict::Retry { .. })
}

fn retries_failure(retry_on: &str, kind: FailureKind) -> bool {
    let mut state = RetryState::new(policy(retry_on, 1));
    matches!(state.on_failure(kind, 0), Verdict::Retry { .. })
}

#[test]
fn each_condition_is_about_its_statuses() {
    for (on, retried, not) in [
        ("5xx", 500, 499),
        ("gateway-error", 503, 500),
        ("retriable-4xx", 409, 404),
        ("retriable-status-codes", 418, 503),
    ] {
        assert!(retries_status(on, retried), "{on} {retried}");
        assert!(!retries_status(on, not), "{on} {not}");
    }
}

#[test]
fn each_condition_is_about_its_failures() {
    use FailureKind::{Connect, Overflow, PerTryTimeout, RefusedStream, Reset};
    let sent = Reset { sent: true };
    let unsent = Reset { sent: false };
    for (on, retried, not) in [
        (
            "connect-failure",
            vec![Connect],
            vec![sent, RefusedStream, Overflow],
        ),
        ("refused-stream", vec![RefusedStream], vec![sent, Connect]),
        ("reset-before-request", vec![unsent, Connect], vec![sent]),
        (
            "reset",
            vec![sent, unsent, Connect, PerTryTimeout],
            vec![Overflow],
        ),
        (
            "5xx",
            vec![sent, Connect, PerTryTimeout, RefusedStream],
            vec![Overflow],
        ),
    ] {
        for kind in retried {
            assert!(retries_failure(on, kind), "{on} {kind:?}");
        }
        for kind in not {
            assert!(!retries_failure(on, kind), "{on} {kind:?}");
        }
    }
}

#[test]
fn grpc_statuses_in_the_head_are_seen() {
    let mut state = RetryState::new(policy("unavailable,cancelled", 1));
    let mut head = response(200);
    head.headers.set("grpc-status", "13");
    assert_eq!(state.on_response(&head, 0, 0), Verdict::No);
    head.headers.set("grpc-status", "14");
    assert!(matches!(state.on_response(&head, 0, 0), Verdict::Retry { .. }));
}

#[test]
fn attempts_run_out() {
    let mut state = RetryState::new(policy("5xx", 2));
    assert!(matches!(
        state.on_response(&response(503), 0, 0),
        Verdict::Retry { .. }
    ));
    assert!(matches!(
        state.on_failure(FailureKind::Connect, 0),
        Verdict::Retry { .. }
    ));
    assert_eq!(state.on_response(&response(503), 0, 0), Verdict::Exhausted);
    assert_eq!(state.on_response(&response(200), 0, 0), Verdict::No);
}

#[test]
fn waits_grow_twofold_up_to_ten_times_the_base() {
    let mut state = RetryState::new(policy("5xx", 20));
    let mut ceilings = Vec::new();
    for _ in 0..6 {
        // The greatest of many draws is close below the ceiling.
        let most = (0..2000_u64)
            .filter_map(|i| {
                match state
                    .clone()
                    .on_response(&response(500), i.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0)
                {
                    Verdict::Retry { after, .. } => Some(after),
                    _ => None,
                }
            })
            .max();
        ceilings.push(most.expect("retried").as_millis().div_ceil(5) * 5);
        state.on_response(&response(500), 0, 0);
    }
    assert_eq!(ceilings, [25, 50, 100, 200, 250, 250]);
}

fn timeouts(action: pb::RouteAction, head: &RequestHead) -> Timeouts {
    let table = one_route(forward(prefix("/"), action));
    match table.route(head, &CONTEXT) {
        Decision::Forward(forwarding) => forwarding.timeouts(head, leno_engine::decide::timeout::Heard::Yes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_route_that_says_nothing_has_fifteen_seconds_and_zero_means_none() {
    let head = request("a", "/");
    assert_eq!(
        timeouts(to_cluster("c"), &head).global,
        Some(Duration::from_secs(15))
    );
    let unlimited = pb::RouteAction {
        timeout: seconds(0),
        ..to_cluster("c")
    };
    assert_eq!(timeouts(unlimited, &head).global, None);
}

#[test]
fn the_callers_header_replaces_the_routes_timeout() {
    let mut head = request("a", "/");
    head.headers.set("x-envoy-upstream-rq-timeout-ms", "250");
    head.headers.set("x-envoy-upstream-rq-per-try-timeout-ms", "100");
    let timeouts = timeouts(to_cluster("c"), &head);
    assert_eq!(timeouts.global, Some(Duration::from_millis(250)));
    assert_eq!(timeouts.per_try, Some(Duration::from_millis(100)));
}

#[test]
fn a_grpc_deadline_counts_up_to_the_routes_maximum() {
    let action = || pb::RouteAction {
        max_grpc_timeout: seconds(2),
        ..to_cluster("c")
    };
    let mut head = request("a", "/");
    head.headers.set("content-type", "application/grpc+proto");
    head.headers.set("grpc-timeout", "500m");
    assert_eq!(timeouts(action(), &head).global, Some(Duration::from_millis(500)));
    head.headers.set("grpc-timeout", "1H");
    assert_eq!(timeouts(action(), &head).global, Some(Duration::from_secs(2)));
    head.headers.set("content-type", "text/plain");
    assert_eq!(timeouts(action(), &head).global, Some(Duration::from_secs(15)));
}

#[test]
fn a_malformed_grpc_deadline_is_none() {
    for bad in ["", "S", "1", "1x", "123456789S", "-1S"] {
        assert_eq!(grpc_timeout(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(grpc_timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
}
