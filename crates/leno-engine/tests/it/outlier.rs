//! Outlier detection through the balancer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_engine::decide::balance::{Balancer, Host, PickContext};
use leno_engine::decide::outlier::Outcome;
use leno_proto::envoy::config::cluster::v3 as pb;

use crate::made::{assignment, compile_cluster, eds_cluster, lb_endpoint, locality, seconds, u32_value};

fn balancer(detection: pb::OutlierDetection, endpoints: usize) -> Balancer {
    let cluster = compile_cluster(&pb::Cluster {
        outlier_detection: Some(detection),
        ..eds_cluster()
    });
    let endpoints = (1..=endpoints)
        .map(|i| lb_endpoint(&format!("10.0.0.{i}"), 1))
        .collect();
    let assignment = assignment(vec![locality(0, endpoints)]);
    Balancer::new(&cluster.expect("compiles"), Arc::new(assignment), 0)
}

fn detection() -> pb::OutlierDetection {
    pb::OutlierDetection {
        consecutive_5xx: u32_value(3),
        max_ejection_percent: u32_value(50),
        base_ejection_time: seconds(30),
        interval: seconds(10),
        ..Default::default()
    }
}

fn first(balancer: &Balancer) -> Host {
    balancer.hosts().next().expect("a host").clone()
}

fn fail(balancer: &mut Balancer, host: &Host, times: usize, now: Instant) {
    for _ in 0..times {
        balancer.report(host, Outcome::Status(500), now);
    }
}

fn picks(balancer: &mut Balancer, host: &Host) -> usize {
    (0..100)
        .filter_map(|_| balancer.pick(&PickContext::default()).ok())
        .filter(|picked| picked.endpoint.address == host.endpoint.address)
        .count()
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_does_not() {
    let now = Instant::now();
    let mut balancer = balancer(detection(), 4);
    let host = first(&balancer);
    fail(&mut balancer, &host, 2, now);
    balancer.report(&host, Outcome::Status(200), now);
    fail(&mut balancer, &host, 2, now);
    assert_eq!(balancer.ejected(), 0);
    fail(&mut balancer, &host, 1, now);
    assert_eq!(balancer.ejected(), 1);
    assert_eq!(picks(&mut balancer, &host), 0);
}

#[test]
fn connection_failures_count_as_answers_unless_split() {
    let now = Instant::now();
    let mut balancer = balancer(detection(), 4);
    let host = first(&balancer);
    for _ in 0..3 {
        balancer.report(&host, Outcome::LocalFailure, now);
    }
    assert_eq!(balancer.ejected(), 1);
}

#[test]
fn no_more_than_the_percentage_is_ejected() {
    let now = Instant::now();
    let mut balancer = balancer(detection(), 4);
    let hosts: Vec<Host> = balancer.hosts().cloned().collect();
    for host in &hosts {
        fail(&mut balancer, host, 3, now);
    }
    assert_eq!(balancer.ejected(), 2);
}

#[test]
fn an_ejected_endpoint_returns_after_the_time_which_grows_with_each_ejection() {
    let mut now = Instant::now();
    let mut balancer = balancer(detection(), 4);
    let host = first(&balancer);
    balancer.tick(now);
    for (times, expected) in [(1, 30), (2, 60)] {
        fail(&mut balancer, &host, 3, now);
        assert_eq!(balancer.ejected(), 1);
        let ejected = now;
        while balancer.ejected() > 0 {
            now += Duration::from_secs(10);
            balancer.tick(now);
            assert!(
                now.duration_since(ejected) < Duration::from_secs(600),
                "never returned"
            );
        }
        assert_eq!(
            now.duration_since(ejected).as_secs(),
            expected,
            "ejection {times}"
        );
    }
    assert!(picks(&mut balancer, &host) > 0);
}

#[test]
fn an_ejection_survives_a_change_of_the_assignment() {
    let now = Instant::now();
    let mut balancer = balancer(detection(), 4);
    let host = first(&balancer);
    fail(&mut balancer, &host, 3, now);
    let endpoints = (1..=5).map(|i| lb_endpoint(&format!("10.0.0.{i}"), 1)).collect();
    let cluster = compile_cluster(&pb::Cluster {
        outlier_detection: Some(detection()),
        ..eds_cluster()
    });
    let assignment = assignment(vec![locality(0, endpoints)]);
    balancer.update(&cluster.expect("compiles"), Arc::new(assignment));
    assert_eq!(balancer.ejected(), 1);
    assert_eq!(picks(&mut balancer, &host), 0);
}
