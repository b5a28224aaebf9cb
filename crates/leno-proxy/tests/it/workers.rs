//! Two workers: who gets a connection, and limits that hold for the whole process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use leno_engine::compile::access_log::AccessLog;
use leno_engine::compile::cluster::{CircuitBreakers, Thresholds};
use leno_engine::flags::Flag;
use leno_proxy::{Options, Proxy, Sink, Telemetry};
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::resilience::retries;
use crate::support::{
    Client, Harness, Text, cluster, http_chain, listener, manager, ok, read_message, status, table,
    tcp_chain, tcp_server,
};

fn two_workers() -> Harness {
    Harness::with(Options {
        concurrency: 2,
        ..Options::default()
    })
}

fn limit(harness: &Harness, upstream: SocketAddr, limits: CircuitBreakers) {
    harness.update(|updater| {
        let mut cluster = cluster("c", &[upstream]);
        cluster.limits = limits;
        updater.upsert_cluster(cluster).unwrap();
    });
}

async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), holds).await;
    waited.expect("it never came about");
}

/// An HTTP server that counts requests, answers 503 to some, and to the others only when it is let.
async fn holding(hold: fn(&Text) -> bool) -> (SocketAddr, Arc<AtomicUsize>, watch::Sender<bool>) {
    let (release, released) = watch::channel(false);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let address = tcp_server(move |mut stream, _| {
        let (mut released, calls) = (released.clone(), Arc::clone(&counter));
        async move {
            while let Some(request) = read_message(&mut stream).await {
                calls.fetch_add(1, Relaxed);
                let answer = match hold(&request) {
                    true => {
                        released.wait_for(|r| *r).await.unwrap();
                        ok("late")
                    }
                    false => status(503),
                };
                stream.write_all(&answer).await.unwrap();
            }
        }
    })
    .await;
    (address, calls, release)
}

/// Connections by worker: each has a sink of its own.
#[derive(Default)]
struct ByWorker(Mutex<Vec<Arc<AtomicUsize>>>);

struct Opened(Arc<AtomicUsize>);

impl Telemetry for ByWorker {
    fn sink(&self) -> Box<dyn Sink + Send> {
        let opened = Arc::new(AtomicUsize::new(0));
        self.0.lock().unwrap().push(Arc::clone(&opened));
        Box::new(Opened(opened))
    }

    fn settle(&self) {}
}

impl Sink for Opened {
    fn takes_all(&self) -> bool {
        true
    }

    fn request(&mut self, _record: &RequestRecord<'_>, _logs: &[Arc<AccessLog>]) {}

    fn opened(&mut self, _downstream: &DownstreamRecord, _upstream: &UpstreamRecord<'_>) {
        self.0.fetch_add(1, Relaxed);
    }

    fn connection(&mut self, _record: &ConnectionRecord<'_>, _opened: bool, _logs: &[Arc<AccessLog>]) {}

    fn flush(&mut self) {}
}

#[tokio::test]
async fn long_connections_are_shared_out_evenly() {
    let upstream = tcp_server(|mut stream, _| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let telemetry = Arc::new(ByWorker::default());
    let options = Options {
        concurrency: 2,
        telemetry: Arc::clone(&telemetry) as Arc<dyn Telemetry>,
        ..Options::default()
    };
    let proxy = Proxy::start(options).unwrap();
    let address = {
        let mut updater = proxy.updater();
        updater.upsert_cluster(cluster("c", &[upstream])).unwrap();
        updater.upsert_listener(listener("tcp", tcp_chain("c"))).unwrap();
        updater.publish();
        updater.addresses("tcp")[0]
    };
    let opened = || -> Vec<usize> {
        let workers = telemetry.0.lock().unwrap();
        workers.iter().map(|opened| opened.load(Relaxed)).collect()
    };
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    until(|| opened().iter().sum::<usize>() == 8).await;
    assert_eq!(opened(), [4, 4]);
}

#[tokio::test]
async fn one_tcp_connection_is_one_for_both_workers() {
    let upstream = tcp_server(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let harness = two_workers();
    let address = harness.serve(listener("tcp", tcp_chain("c")), &[upstream]);
    let limits = CircuitBreakers {
        default: Thresholds {
            max_connections: 1,
            ..Thresholds::default()
        },
        ..CircuitBreakers::default()
    };
    limit(&harness, upstream, limits);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    for n in 0..7 {
        let record = harness.records.connection(n).await;
        assert!(record.flags.contains(Flag::UpstreamOverflow), "{record:?}");
    }
    // The eighth is the one that is served.
    let mut served = 0;
    for client in &mut clients {
        // What is closed may take a write, or not; it answers nothing.
        let written = client.write_all(b"?").await;
        let answered = client.read(&mut [0]).await;
        served += usize::from(written.is_ok() && matches!(answered, Ok(1)));
    }
    assert_eq!(served, 1);
}

#[tokio::test]
async fn one_pending_request_is_one_for_both_workers() {
    let (upstream, calls, release) = holding(|_| true).await;
    let harness = two_workers();
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[upstream]);
    let limits = CircuitBreakers {
        default: Thresholds {
            max_connections: 1,
            max_pending_requests: 1,
            ..Thresholds::default()
        },
        ..CircuitBreakers::default()
    };
    limit(&harness, upstream, limits);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(address).await);
    }
    // As in Envoy, each worker may have one connection, or it could never serve anybody: two requests are under way.
    for (n, client) in clients.iter_mut().take(2).enumerate() {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| calls.load(Relaxed) == n + 1).await;
    }
    for client in clients.iter_mut().skip(2) {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    for n in 0..5 {
        let record = harness.records.request(n).await;
        assert!(record.flags.contains(Flag::UpstreamOverflow), "{record:?}");
    }
    release.send(true).unwrap();
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.receive().await.status());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 503, 503, 503, 503, 503]);
}

#[tokio::test]
async fn one_retry_is_one_for_both_workers() {
    let (upstream, calls, release) =
        holding(|request| request.header("x-envoy-attempt-count") != Some("1")).await;
    let harness = two_workers();
    let address = harness.serve(listener("http", http_chain(manager("routes"))), &[upstream]);
    let limits = CircuitBreakers {
        default: Thresholds {
            max_retries: 1,
            ..Thresholds::default()
        },
        ..CircuitBreakers::default()
    };
    limit(&harness, upstream, limits);
    harness.update(|updater| updater.upsert_route(table("routes", "c", retries)));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(address).await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    // Whoever may try again holds the permit until the end; the others are told 503.
    for n in 0..7 {
        assert_eq!(harness.records.request(n).await.status, Some(503));
    }
    release.send(true).unwrap();
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.receive().await.status());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 503, 503, 503, 503, 503, 503, 503]);
    assert_eq!(calls.load(Relaxed), 9);
}
