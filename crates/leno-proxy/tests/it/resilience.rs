//! Retries, time-outs, circuit breakers, stale connections, mirrors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use leno_engine::compile::cluster::{CircuitBreakers, Thresholds};
use leno_engine::compile::route::{Forward, MirrorPolicy, RetryOn, RetryPolicy};
use leno_engine::flags::Flag;
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Harness, cluster, http1_server, ok, read_message, status, table, tcp_server};

pub(crate) fn policy() -> RetryPolicy {
    RetryPolicy {
        on: RetryOn {
            five_xx: true,
            ..RetryOn::default()
        },
        num_retries: 2,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        status_codes: vec![],
        retriable_headers: vec![],
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        omit: Vec::new(),
        leave_priorities: None,
        host_selection_attempts: 0,
        ..RetryPolicy::default()
    }
}

pub(crate) fn retries(forward: &mut Forward) {
    forward.retry = Some(Arc::new(policy()));
}

fn route(harness: &Harness, edit: impl FnOnce(&mut Forward)) {
    harness.update(|updater| updater.upsert_route(table("routes", "c", edit)));
}

#[tokio::test]
async fn a_503_is_retried_with_the_same_body() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let upstream = http1_server(move |request, _| match counter.fetch_add(1, Relaxed) {
        0 => status(503),
        _ => ok(&format!(
            "{} {}",
            request.body(),
            request.header("x-envoy-attempt-count").unwrap()
        )),
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    route(&harness, retries);
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
        .await;
    assert_eq!(client.receive().await.body(), "body 2");
    let record = harness.records.request(0).await;
    assert_eq!((record.attempts, record.status), (2, Some(200)));
}

#[tokio::test]
async fn retries_end() {
    let upstream = http1_server(|_, _| status(500)).await;
    let (harness, address) = Harness::http(&[upstream]);
    route(&harness, retries);
    assert_eq!(Client::connect(address).await.get("/").await.status(), 500);
    let record = harness.records.request(0).await;
    assert_eq!(record.attempts, 3);
    assert!(
        record.flags.contains(Flag::UpstreamRetryLimitExceeded),
        "{record:?}"
    );
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_retried_only_where_the_route_says_so() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let upstream = tcp_server(move |mut stream, _| {
        let first = counter.fetch_add(1, Relaxed).is_multiple_of(2);
        async move {
            read_message(&mut stream).await;
            if !first {
                stream.write_all(&ok("again")).await.unwrap();
            }
        }
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!(answer.status(), 503);
    let record = harness.records.request(0).await;
    assert!(
        record.flags.contains(Flag::UpstreamConnectionTermination),
        "{record:?}"
    );
    calls.store(0, Relaxed);
    route(&harness, retries);
    assert_eq!(Client::connect(address).await.get("/").await.body(), "again");
}

/// Without any retry policy: the pooled connection was closed by the upstream in the meantime.
#[tokio::test]
async fn a_stale_pooled_connection_is_replaced() {
    let upstream = tcp_server(|mut stream, connection| async move {
        read_message(&mut stream).await;
        stream.write_all(&ok(&connection.to_string())).await.unwrap();
        // The second request is read, and the connection closed without an answer.
        read_message(&mut stream).await;
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    let mut client = Client::connect(address).await;
    for connection in 0..5 {
        assert_eq!(client.get("/").await.body(), connection.to_string());
    }
    assert!(harness.records.requests().iter().all(|r| r.attempts == 1));
}

#[tokio::test]
async fn a_route_that_takes_too_long_is_504_with_ut() {
    let upstream = tcp_server(|mut stream, _| async move {
        read_message(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    route(&harness, |forward| {
        forward.timeout = Some(Duration::from_millis(50))
    });
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!(
        (answer.status(), answer.body()),
        (504, "upstream request timeout")
    );
    let record = harness.records.request(0).await;
    assert!(record.flags.contains(Flag::UpstreamRequestTimeout), "{record:?}");
    assert_eq!(record.details, "response_timeout");
}

#[tokio::test]
async fn over_the_circuit_breaker_is_503_with_uo() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = tcp_server(move |mut stream, _| {
        let mut released = released.clone();
        async move {
            read_message(&mut stream).await;
            released.wait_for(|r| *r).await.unwrap();
            stream.write_all(&ok("late")).await.unwrap();
        }
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    harness.update(|updater| {
        let mut cluster = cluster("c", &[upstream]);
        cluster.limits = CircuitBreakers {
            default: Thresholds {
                max_requests: 1,
                ..Thresholds::default()
            },
            ..CircuitBreakers::default()
        };
        updater.upsert_cluster(cluster).unwrap();
    });
    let mut first = Client::connect(address).await;
    first.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Until the first has its place, the second may get it instead.
    let limits = Arc::clone(&harness.proxy.updater().config().cluster("c").unwrap().limits);
    while limits.used(leno_engine::decide::limits::Resource::Request, Default::default()) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(Client::connect(address).await.get("/second").await.status(), 503);
    assert!(
        harness
            .records
            .request(0)
            .await
            .flags
            .contains(Flag::UpstreamOverflow)
    );
    release.send(true).unwrap();
    assert_eq!(first.receive().await.body(), "late");
}

#[tokio::test]
async fn a_mirror_gets_the_request_and_its_answer_is_ignored() {
    let (seen, mut mirrored) = tokio::sync::mpsc::unbounded_channel();
    let shadow = http1_server(move |request, _| {
        seen.send(request.clone()).unwrap();
        status(500)
    })
    .await;
    let upstream = http1_server(|_, _| ok("real")).await;
    let (harness, address) = Harness::http(&[upstream]);
    harness.update(|updater| updater.upsert_cluster(cluster("shadow", &[shadow])).unwrap());
    route(&harness, |forward| {
        forward.mirrors = vec![MirrorPolicy::to("shadow")];
    });
    let mut client = Client::connect(address).await;
    client
        .send("POST /m HTTP/1.1\r\nhost: a:80\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    assert_eq!(client.receive().await.body(), "real");
    let copy = tokio::time::timeout(Duration::from_secs(5), mirrored.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((copy.body(), copy.header("host")), ("hi", Some("a-shadow:80")));
}

#[tokio::test]
async fn a_stream_on_which_nothing_moves_ends_with_si() {
    let upstream = tcp_server(|mut stream, _| async move {
        read_message(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (harness, address) = Harness::http(&[upstream]);
    route(&harness, |forward| {
        forward.idle_timeout = Some(Duration::from_millis(100))
    });
    // As Envoy: the client has said all that it wanted to.
    assert_eq!(Client::connect(address).await.get("/").await.status(), 504);
    let record = harness.records.request(0).await;
    assert!(record.flags.contains(Flag::StreamIdleTimeout), "{record:?}");
}
