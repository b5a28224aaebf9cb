//! Endpoints that discovery takes away while active checks find them well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::cluster::health_check::{Intervals, Probe, TcpProbe};
use leno_engine::compile::cluster::{Cluster, Discovery, HealthCheck};
use leno_engine::compile::config_source::Source;
use leno_proxy::{Options, Proxy};
use tokio::net::TcpListener;

use crate::support::{assignment, cluster};

fn check() -> HealthCheck {
    let often = Duration::from_millis(10);
    HealthCheck {
        timeout: Duration::from_secs(5),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        intervals: Intervals {
            healthy: often,
            unhealthy_edge: often,
            unhealthy: often,
            healthy_edge: often,
            no_traffic: often,
            no_traffic_healthy: often,
            initial_jitter: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_percent: 0,
        },
        reuse_connection: true,
        probe: Probe::Tcp(TcpProbe {
            send: Default::default(),
            receive: Vec::new(),
        }),
        events: None,
        alpn: None,
        transport_match: None,
    }
}

fn checked(ignores_health_on_removal: bool) -> Cluster {
    Cluster {
        discovery: Discovery::Eds("c".to_owned(), Source::ads()),
        health_check: Some(check()),
        ignores_health_on_removal,
        ..cluster("c", &[])
    }
}

fn endpoints(proxy: &Proxy) -> Vec<String> {
    let config = proxy.handle().config();
    let assignment = config.cluster("c").unwrap().assignment.clone().unwrap();
    let addresses = assignment
        .endpoints()
        .map(|endpoint| endpoint.address.to_string());
    addresses.collect()
}

fn discover(proxy: &Proxy, endpoints: &[SocketAddr]) {
    let mut updater = proxy.updater();
    updater.upsert_endpoints("c", assignment(endpoints));
    updater.publish();
}

/// Until a check has come after those before.
async fn checked_again(listener: &TcpListener) {
    for _ in 0..3 {
        listener.accept().await.unwrap();
    }
}

async fn start(ignores: bool) -> (Proxy, TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::start(Options::default()).unwrap();
    proxy.updater().upsert_cluster(checked(ignores)).unwrap();
    discover(&proxy, &[address]);
    checked_again(&listener).await;
    (proxy, listener, address)
}

#[tokio::test]
async fn who_is_well_stays_until_it_is_not() {
    let (proxy, listener, address) = start(false).await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next = other.local_addr().unwrap();
    discover(&proxy, &[next]);
    let both = vec![next.to_string(), address.to_string()];
    assert_eq!(endpoints(&proxy), both);
    // Discovery says the same again.
    discover(&proxy, &[next]);
    checked_again(&listener).await;
    assert_eq!(endpoints(&proxy), both);
    drop(listener);
    let proxy = Arc::new(proxy);
    let waiting = Arc::clone(&proxy);
    let left = tokio::task::spawn_blocking(move || {
        leno_testkit::eventually("the endpoint has left", || match endpoints(&waiting) {
            left if left == [next.to_string()] => Ok(()),
            others => Err(format!("{others:?}")),
        });
    });
    left.await.unwrap();
}

#[tokio::test]
async fn who_comes_back_has_never_left() {
    let (proxy, listener, address) = start(false).await;
    discover(&proxy, &[]);
    assert_eq!(endpoints(&proxy), [address.to_string()]);
    discover(&proxy, &[address]);
    checked_again(&listener).await;
    assert_eq!(endpoints(&proxy), [address.to_string()]);
}

#[tokio::test]
async fn where_health_is_of_no_account_it_goes_at_once() {
    let (proxy, _listener, _) = start(true).await;
    discover(&proxy, &[]);
    assert_eq!(endpoints(&proxy), [""; 0]);
}
