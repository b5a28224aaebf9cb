//! Outlier detection, as balancers of several workers see it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_engine::compile::cluster::{Cluster, OutlierDetection};
use leno_engine::decide::balance::{Balancer, Host, PickContext};
use leno_engine::decide::health::ClusterHealth;
use leno_engine::decide::outlier::Outcome;
use leno_proto::envoy::config::cluster::v3 as pb;

use crate::made::{assignment, compile_cluster, eds_cluster, lb_endpoint, locality, seconds, u32_value};

/// A cluster of so many endpoints with a balancer.
struct Rig {
    cluster: Cluster,
    health: Arc<ClusterHealth>,
    balancer: Balancer,
}

impl Rig {
    fn new(detection: pb::OutlierDetection, endpoints: usize) -> Self {
        let cluster = compile_cluster(&pb::Cluster {
            outlier_detection: Some(detection),
            ..eds_cluster()
        });
        let cluster = cluster.expect("compiles");
        let health = ClusterHealth::of(&cluster, None).expect("detection");
        let mut rig = Self {
            balancer: Balancer::new(&cluster, Arc::default(), Some(Arc::clone(&health)), 0),
            cluster,
            health,
        };
        rig.set_endpoints(endpoints);
        rig
    }

    fn set_endpoints(&mut self, endpoints: usize) {
        let endpoints = (1..=endpoints).map(|i| lb_endpoint(&format!("10.0.0.{i}"), 1));
        let assignment = Arc::new(assignment(vec![locality(0, endpoints.collect())]));
        self.health.set_members(&self.cluster, &assignment);
        let health = Some(Arc::clone(&self.health));
        self.balancer.update(&self.cluster, assignment, health);
    }

    fn config(&self) -> OutlierDetection {
        self.cluster.outlier.expect("detection")
    }

    fn host(&self, at: usize) -> Host {
        self.balancer.hosts().nth(at).expect("a host").clone()
    }

    fn report(&self, host: &Host, outcome: Outcome, times: usize, now: Instant) {
        for _ in 0..times {
            let known = host.health().expect("looked after");
            self.health.report(known, &self.config(), outcome, now, 0);
        }
    }

    fn fail(&self, host: &Host, times: usize, now: Instant) {
        self.report(host, Outcome::Status(500), times, now);
    }

    fn picks(&mut self, host: &Host) -> usize {
        (0..100)
            .filter_map(|_| self.balancer.pick(&PickContext::default()).ok())
            .filter(|picked| picked.endpoint.address == host.endpoint.address)
            .count()
    }

    fn count(&self, name: &str) -> u64 {
        let mut counts = self.health.counts();
        counts.find(|(known, _)| *known == name).expect("counted").1
    }
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

#[test]
fn failures_in_a_row_eject_and_a_success_between_does_not() {
    let now = Instant::now();
    let mut rig = Rig::new(detection(), 4);
    let host = rig.host(0);
    rig.fail(&host, 2, now);
    rig.report(&host, Outcome::Status(200), 1, now);
    rig.fail(&host, 2, now);
    assert_eq!(rig.health.ejected(), 0);
    rig.fail(&host, 1, now);
    assert_eq!(rig.health.ejected(), 1);
    assert_eq!(rig.picks(&host), 0);
}

#[test]
fn what_one_worker_has_seen_every_worker_knows() {
    let now = Instant::now();
    let mut rig = Rig::new(detection(), 4);
    let assignment = assignment(vec![locality(
        0,
        (1..=4).map(|i| lb_endpoint(&format!("10.0.0.{i}"), 1)).collect(),
    )]);
    let health = Some(Arc::clone(&rig.health));
    let mut other = Balancer::new(&rig.cluster, Arc::new(assignment), health, 1);
    let (host, same) = (rig.host(0), other.hosts().next().expect("a host").clone());
    rig.fail(&host, 2, now);
    rig.fail(&same, 1, now);
    assert_eq!(rig.health.ejected(), 1);
    std::mem::swap(&mut rig.balancer, &mut other);
    assert_eq!(rig.picks(&host), 0);
}

#[test]
fn connection_failures_count_as_answers_unless_split() {
    let now = Instant::now();
    let rig = Rig::new(detection(), 4);
    let host = rig.host(0);
    rig.report(&host, Outcome::LocalFailure, 2, now);
    rig.report(&host, Outcome::Connected, 1, now);
    rig.report(&host, Outcome::LocalFailure, 2, now);
    assert_eq!(rig.health.ejected(), 0);
    rig.report(&host, Outcome::LocalFailure, 1, now);
    assert_eq!(rig.health.ejected(), 1);
}

#[test]
fn no_more_than_the_percentage_is_ejected() {
    let now = Instant::now();
    let rig = Rig::new(detection(), 4);
    for at in 0..4 {
        rig.fail(&rig.host(at), 3, now);
    }
    assert_eq!(rig.health.ejected(), 2);
    assert_eq!(rig.count("outlier_detection.ejections_overflow"), 2);
    assert_eq!(rig.count("outlier_detection.ejections_enforced_total"), 2);
}

#[test]
fn an_ejected_endpoint_returns_after_the_time_which_grows_with_each_ejection() {
    let mut now = Instant::now();
    let mut rig = Rig::new(detection(), 4);
    let host = rig.host(0);
    for (times, expected) in [(1, 30), (2, 60)] {
        rig.fail(&host, 3, now);
        assert_eq!(rig.health.ejected(), 1);
        let ejected = now;
        while rig.health.ejected() > 0 {
            now += Duration::from_secs(10);
            rig.health.look(&rig.config(), now, 0);
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
    assert!(rig.picks(&host) > 0);
}

#[test]
fn an_ejection_survives_a_change_of_the_assignment() {
    let now = Instant::now();
    let mut rig = Rig::new(detection(), 4);
    let host = rig.host(0);
    rig.fail(&host, 3, now);
    rig.set_endpoints(5);
    assert_eq!(rig.health.ejected(), 1);
    assert_eq!(rig.picks(&host), 0);
}

#[test]
fn who_does_much_worse_than_the_others_goes() {
    let now = Instant::now();
    let rig = Rig::new(
        pb::OutlierDetection {
            consecutive_5xx: u32_value(1000),
            success_rate_request_volume: u32_value(10),
            ..detection()
        },
        6,
    );
    for at in 0..6 {
        rig.report(&rig.host(at), Outcome::Status(200), 10, now);
    }
    rig.fail(&rig.host(2), 10, now);
    rig.health.look(&rig.config(), now, 0);
    assert_eq!(rig.health.ejected(), 1);
    assert_eq!(rig.count("outlier_detection.ejections_enforced_success_rate"), 1);
    assert_eq!(
        rig.count("outlier_detection.ejections_enforced_failure_percentage"),
        0
    );
}

#[test]
fn who_fails_too_often_goes_where_that_is_enforced() {
    let now = Instant::now();
    let rig = Rig::new(
        pb::OutlierDetection {
            consecutive_5xx: u32_value(1000),
            enforcing_success_rate: u32_value(0),
            enforcing_failure_percentage: u32_value(100),
            failure_percentage_threshold: u32_value(60),
            failure_percentage_minimum_hosts: u32_value(2),
            failure_percentage_request_volume: u32_value(10),
            ..detection()
        },
        4,
    );
    rig.report(&rig.host(0), Outcome::Status(200), 5, now);
    rig.fail(&rig.host(0), 5, now);
    rig.report(&rig.host(1), Outcome::Status(200), 4, now);
    rig.fail(&rig.host(1), 6, now);
    rig.health.look(&rig.config(), now, 0);
    assert_eq!(rig.health.ejected(), 1);
    assert_eq!(
        rig.count("outlier_detection.ejections_enforced_failure_percentage"),
        1
    );
    // What was before the interval is forgotten.
    rig.health.look(&rig.config(), now, 0);
    assert_eq!(rig.health.ejected(), 1);
}
