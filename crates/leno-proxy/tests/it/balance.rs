//! Balance by what answers tell, and what becomes of connections when endpoints change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use leno_engine::compile::cluster::{BalancePolicy, Cluster, PeakEwma};
use leno_engine::compile::{NoFiles, Warnings};
use leno_proto::envoy::config::cluster::v3 as pb;
use leno_proto_text::Schema;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Client, Harness, cluster, http1_server, listener, ok, read_message, status, tcp_chain, tcp_server,
};

/// One server takes its time. Requests come one after the other, so that nothing counts but latency.
#[tokio::test]
async fn a_slow_server_is_left_alone_once_it_is_known() {
    let server = |name: &'static str, takes: Duration| {
        tcp_server(move |mut stream, _| async move {
            while read_message(&mut stream).await.is_some() {
                tokio::time::sleep(takes).await;
                stream.write_all(&ok(name)).await.unwrap();
            }
        })
    };
    let quick = server("quick", Duration::ZERO).await;
    let slow = server("slow", Duration::from_millis(300)).await;
    let (harness, address) = Harness::http(&[quick, slow]);
    let policy = PeakEwma {
        decay: Duration::from_secs(600),
        // Less than either: both are tried.
        default_latency: Duration::from_nanos(1),
        penalty: 1e6,
    };
    harness.update(|updater| {
        let cluster = Cluster {
            balance: BalancePolicy::PeakEwma(policy),
            ..cluster("c", &[quick, slow])
        };
        updater.upsert_cluster(cluster).unwrap();
    });
    let mut client = Client::connect(address).await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(client.get("/").await.body().to_owned());
    }
    let slow = answers.iter().filter(|name| *name == "slow").count();
    assert_eq!(slow, 1, "{answers:?}");
}

#[tokio::test]
async fn connections_end_with_the_health_of_their_endpoint_where_that_is_wanted() {
    let echo = tcp_server(|mut stream, _| async move {
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..read]).await.unwrap();
        }
    })
    .await;
    let fails = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&fails);
    let checked = http1_server(move |_, _| match asked.load(Relaxed) {
        true => status(503),
        false => ok(""),
    })
    .await;
    let text = format!(
        r#"
name: c
close_connections_on_host_health_failure: true
health_checks:
- timeout: 5s
  interval: 0.05s
  no_traffic_interval: 0.05s
  unhealthy_threshold: 1
  healthy_threshold: 1
  http_health_check: {{path: /}}
load_assignment:
  cluster_name: c
  endpoints:
  - lb_endpoints:
    - endpoint:
        address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}
        health_check_config: {{port_value: {}}}
"#,
        echo.port(),
        checked.port()
    );
    let message: pb::Cluster = Schema::load().from_text(&text).unwrap();
    let compile = leno_engine::compile::cluster::compile;
    let cluster = compile(&message, &NoFiles, &mut Warnings::default()).unwrap();
    let harness = Harness::start();
    let address = harness.serve(listener("tcp", tcp_chain("c")), &[echo]);
    harness.update(|updater| updater.upsert_cluster(cluster).unwrap());
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"here").await.unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"here");
    fails.store(true, Relaxed);
    let read = tokio::time::timeout(Duration::from_secs(60), client.read(&mut answer)).await;
    assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    let record = harness.records.connection(0).await;
    assert_eq!(record.details, "upstream_unhealthy");
}

#[tokio::test]
async fn another_endpoint_means_other_connections_where_that_is_wanted() {
    let server = || {
        tcp_server(|mut stream, connection| async move {
            while read_message(&mut stream).await.is_some() {
                stream.write_all(&ok(&connection.to_string())).await.unwrap();
            }
        })
    };
    for wanted in [false, true] {
        let (one, two) = (server().await, server().await);
        let (harness, address) = Harness::http(&[one]);
        let with = |endpoints: &[_]| {
            let cluster = Cluster {
                closes_on_change: wanted,
                ..cluster("c", endpoints)
            };
            harness.update(|updater| updater.upsert_cluster(cluster).unwrap());
        };
        with(&[one]);
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/").await.body(), "0");
        assert_eq!(client.get("/").await.body(), "0");
        with(&[one, two]);
        let answers = [client.get("/").await, client.get("/").await];
        let again = answers.iter().filter(|answer| answer.body() == "1").count();
        assert_eq!(again, usize::from(wanted));
    }
}
