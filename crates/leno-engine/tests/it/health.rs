//! Active health checks: what answers mean, and when the next question is due.

use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::Rejection;
use leno_engine::compile::cluster::{Cluster, HealthCheck};
use leno_engine::decide::balance::{Balancer, PickContext, PickError};
use leno_engine::decide::health::{Change, ClusterHealth, Failure, Flags, HostHealth, Note};
use leno_proto::envoy::config::cluster::v3 as pb;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::endpoint::v3 as eds;
use leno_proto::envoy::r#type::v3::Percent;

use crate::made::{assignment, compile_cluster, eds_cluster, lb_endpoint, locality, seconds, u32_value};

fn check() -> core::HealthCheck {
    core::HealthCheck {
        timeout: seconds(1),
        interval: seconds(10),
        unhealthy_threshold: u32_value(3),
        healthy_threshold: u32_value(2),
        health_checker: Some(core::health_check::HealthChecker::TcpHealthCheck(
            Default::default(),
        )),
        ..Default::default()
    }
}

fn compiled(check: core::HealthCheck) -> Result<Cluster, Rejection> {
    compile_cluster(&pb::Cluster {
        health_checks: vec![check],
        ignore_health_on_host_removal: true,
        common_lb_config: Some(pb::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        ..eds_cluster()
    })
}

/// A cluster of one endpoint.
struct Rig {
    cluster: Cluster,
    health: Arc<ClusterHealth>,
    host: Arc<HostHealth>,
    balancer: Balancer,
}

impl Rig {
    fn new(check: core::HealthCheck) -> Self {
        let cluster = compiled(check).expect("compiles");
        let endpoints = assignment(vec![locality(0, vec![lb_endpoint("10.0.0.1", 1)])]);
        let health = ClusterHealth::of(&cluster, None).expect("checks");
        health.set_members(&cluster, &endpoints);
        let endpoint = endpoints.endpoints().next().expect("an endpoint");
        let host = health.host(&endpoint.address).expect("a member");
        let known = Some(Arc::clone(&health));
        Self {
            balancer: Balancer::new(&cluster, Arc::new(endpoints), known, 0),
            cluster,
            health,
            host,
        }
    }

    fn check(&self) -> &HealthCheck {
        self.cluster.health_check.as_ref().expect("a check")
    }

    fn pass(&self) -> Change {
        self.health.pass(&self.host, self.check(), false).change
    }

    fn fail(&self, failure: Failure) -> Change {
        self.health.fail(&self.host, self.check(), failure).change
    }

    fn is_used(&mut self) -> bool {
        let picked = self.balancer.pick(&PickContext::default());
        !matches!(picked, Err(PickError::NoHealthyEndpoint))
    }
}

#[test]
fn the_first_answer_decides_alone() {
    let mut rig = Rig::new(check());
    assert!(!rig.is_used() && !rig.health.has_first_answers());
    assert_eq!(rig.pass(), Change::Changed);
    assert!(rig.is_used() && rig.health.has_first_answers());

    let mut rig = Rig::new(check());
    assert_eq!(rig.fail(Failure::Network), Change::None);
    assert!(rig.health.has_first_answers());
    assert_eq!(rig.pass(), Change::Pending);
    assert!(!rig.is_used());
    assert_eq!(rig.pass(), Change::Changed);
    assert!(rig.is_used());
}

#[test]
fn answers_that_say_so_are_believed_at_once_and_networks_are_not() {
    let mut rig = Rig::new(check());
    let said = |retriable| Failure::Active {
        status: Some(503),
        retriable,
    };
    rig.pass();
    assert_eq!(rig.fail(Failure::Timeout), Change::Pending);
    assert_eq!(rig.fail(said(true)), Change::Pending);
    assert!(rig.is_used());
    assert_eq!(rig.pass(), Change::None);
    rig.fail(Failure::Network);
    rig.fail(Failure::Network);
    assert_eq!(rig.fail(Failure::Timeout), Change::Changed);
    assert!(rig.host.flags().has(Flags::TIMED_OUT) && !rig.is_used());
    rig.pass();
    rig.pass();
    assert!(rig.is_used() && !rig.host.flags().has(Flags::TIMED_OUT));
    assert_eq!(rig.fail(said(false)), Change::Changed);
    assert!(!rig.is_used());
}

#[test]
fn what_changes_is_told() {
    let rig = Rig::new(check());
    let pass = |degraded| rig.health.pass(&rig.host, rig.check(), degraded).notes;
    assert_eq!(pass(false), [Note::Added { first: true }]);
    assert_eq!(pass(true), [Note::Passed, Note::Degraded]);
    assert_eq!(pass(false), [Note::Passed, Note::NoLongerDegraded]);
    let failure = Failure::Passive;
    let failed = Note::Failed {
        failure,
        first: false,
    };
    let notes = rig.health.fail(&rig.host, rig.check(), failure).notes;
    assert_eq!(notes, [Note::Ejected(failure), failed]);
    assert_eq!(rig.health.checked(), (0, 0));
}

#[test]
fn the_next_question_is_due_by_what_the_last_answer_was() {
    let rig = Rig::new(core::HealthCheck {
        unhealthy_interval: seconds(20),
        unhealthy_edge_interval: seconds(2),
        healthy_edge_interval: seconds(3),
        no_traffic_interval: seconds(60),
        interval_jitter_percent: 50,
        ..check()
    });
    let intervals = &rig.check().intervals;
    let due = |met, passed, change| intervals.next(met, passed, change, 0).as_secs();
    assert_eq!(due(true, true, Change::None), 10);
    assert_eq!(due(true, true, Change::Pending), 3);
    assert_eq!(due(true, false, Change::Pending), 2);
    assert_eq!(due(true, false, Change::Changed), 20);
    assert_eq!(due(false, true, Change::None), 60);
    for random in 0..10_000 {
        let due = intervals.next(true, true, Change::None, random * 7919);
        assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&due));
    }
}

#[test]
fn who_is_not_asked_any_more_is_used() {
    let mut rig = Rig::new(check());
    rig.fail(Failure::Network);
    assert!(!rig.is_used());
    let mut endpoint = lb_endpoint("10.0.0.1", 1);
    if let Some(eds::lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &mut endpoint.host_identifier {
        endpoint.health_check_config = Some(eds::endpoint::HealthCheckConfig {
            disable_active_health_check: true,
            ..Default::default()
        });
    }
    let endpoints = assignment(vec![locality(0, vec![endpoint])]);
    rig.health.set_members(&rig.cluster, &endpoints);
    assert!(rig.is_used());
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let refused = |check| compiled(check).expect_err("refused").to_string();
    let of = |checker| core::HealthCheck {
        health_checker: Some(checker),
        ..check()
    };
    use core::health_check::HealthChecker as H;
    let payload = core::health_check::Payload {
        payload: Some(core::health_check::payload::Payload::Text("4g".into())),
    };
    let tcp = core::health_check::TcpHealthCheck {
        send: Some(payload.clone()),
        ..Default::default()
    };
    assert_eq!(
        refused(of(H::TcpHealthCheck(tcp))),
        "health_checks[0].tcp_health_check.send.text: not in hexadecimal digits: \"4g\""
    );
    let http = core::health_check::HttpHealthCheck {
        path: "/".into(),
        send: Some(payload),
        ..Default::default()
    };
    assert_eq!(
        refused(of(H::HttpHealthCheck(http))),
        "health_checks[0].http_health_check.send: GET has no body"
    );
    let mut unsaid = check();
    unsaid.timeout = None;
    assert_eq!(refused(unsaid), "health_checks[0].timeout: required");
}
