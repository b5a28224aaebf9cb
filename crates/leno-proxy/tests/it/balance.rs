//! Balance by what answers tell.

use std::time::Duration;

use leno_engine::compile::cluster::{BalancePolicy, Cluster, PeakEwma};
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Harness, cluster, ok, read_message, tcp_server};

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
