//! Balance: who is picked, and how often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_engine::compile::route::HostPredicate;
use leno_engine::decide::balance::{Balancer, PickContext, PickError};
use leno_engine::decide::health::ClusterHealth;
use leno_proto::envoy::config::cluster::v3 as pb;
use leno_proto::envoy::config::cluster::v3::cluster::LbPolicy;
use leno_proto::envoy::config::core::v3::HealthStatus;
use leno_proto::envoy::config::endpoint::v3 as eds;
use leno_proto::envoy::r#type::v3::Percent;

use crate::made::{assignment, compile_cluster, eds_cluster, lb_endpoint, locality, u32_value};

fn balancer_of(cluster: pb::Cluster, localities: Vec<eds::LocalityLbEndpoints>) -> Balancer {
    let cluster = compile_cluster(&cluster).expect("compiles");
    Balancer::new(&cluster, Arc::new(assignment(localities)), None, 7)
}

fn balancer(policy: LbPolicy, endpoints: Vec<eds::LbEndpoint>) -> Balancer {
    let cluster = pb::Cluster {
        lb_policy: policy.into(),
        ..eds_cluster()
    };
    balancer_of(cluster, vec![locality(0, endpoints)])
}

fn endpoints(of: std::ops::RangeInclusive<u32>) -> Vec<eds::LbEndpoint> {
    of.map(|i| lb_endpoint(&format!("10.0.0.{i}"), 1)).collect()
}

/// Well spread, the same in every run.
fn random(i: u64) -> u64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

fn counts(balancer: &mut Balancer, picks: u64) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for i in 0..picks {
        let cx = PickContext {
            random: random(i),
            ..Default::default()
        };
        let host = balancer.pick(&cx).expect("a host");
        *counts.entry(host.endpoint.address.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_gives_each_its_turn() {
    let mut balancer = balancer(LbPolicy::RoundRobin, endpoints(1..=3));
    for _ in 0..5 {
        let cycle = counts(&mut balancer, 3);
        assert!(cycle.values().all(|n| *n == 1), "{cycle:?}");
        assert_eq!(cycle.len(), 3);
    }
}

#[test]
fn weighted_round_robin_is_exact_over_every_cycle() {
    let weights = [3, 1, 7];
    let weighted = weights
        .iter()
        .zip(1..)
        .map(|(w, i)| lb_endpoint(&format!("10.0.0.{i}"), *w));
    let mut balancer = balancer(LbPolicy::RoundRobin, weighted.collect());
    for cycle in 0..1000 {
        let counts = counts(&mut balancer, 11);
        let of = |i: u32| counts.get(&format!("10.0.0.{i}:80")).copied().unwrap_or(0);
        assert_eq!((of(1), of(2), of(3)), (3, 1, 7), "cycle {cycle}");
    }
}

#[test]
fn least_request_prefers_the_idle() {
    let mut balancer = balancer(LbPolicy::LeastRequest, endpoints(1..=2));
    let busy = balancer.hosts().next().expect("a host").clone();
    let _active: Vec<_> = (0..10).map(|_| busy.start()).collect();
    let counts = counts(&mut balancer, 1000);
    // Only when both draws fall on it.
    let share = counts.get("10.0.0.1:80").copied().unwrap_or(0);
    assert!((150..350).contains(&share), "{share}");
}

#[test]
fn least_request_heeds_weights_and_what_is_under_way() {
    let hosts = vec![lb_endpoint("10.0.0.1", 1), lb_endpoint("10.0.0.2", 99)];
    let mut idle = balancer(LbPolicy::LeastRequest, hosts.clone());
    let share = counts(&mut idle, 400).get("10.0.0.2:80").copied();
    assert!(
        share.is_some_and(|n| (395..=397).contains(&n)),
        "{share:?} of 400"
    );

    let mut busy = balancer(LbPolicy::LeastRequest, hosts);
    let heavy = busy
        .hosts()
        .find(|host| host.endpoint.weight == 99)
        .expect("a host")
        .clone();
    let _active: Vec<_> = (0..98).map(|_| heavy.start()).collect();
    // 99 / (98 + 1): as heavy as the other.
    let share = counts(&mut busy, 400).get("10.0.0.2:80").copied();
    assert!(
        share.is_some_and(|n| (195..=250).contains(&n)),
        "{share:?} of 400"
    );
}

#[test]
fn slow_start_lets_an_endpoint_grow_until_it_is_like_the_others() {
    let slow_start = pb::cluster::SlowStartConfig {
        slow_start_window: Some(leno_proto::google::protobuf::Duration {
            seconds: 100,
            nanos: 0,
        }),
        aggression: None,
        min_weight_percent: Some(Percent { value: 10.0 }),
    };
    let cluster = pb::Cluster {
        lb_policy: LbPolicy::RoundRobin.into(),
        lb_config: Some(pb::cluster::LbConfig::RoundRobinLbConfig(
            pb::cluster::RoundRobinLbConfig {
                slow_start_config: Some(slow_start),
            },
        )),
        ..eds_cluster()
    };
    let cluster = compile_cluster(&cluster).expect("compiles");
    let with = |of| Arc::new(assignment(vec![locality(0, endpoints(of))]));
    let mut balancer = Balancer::new(&cluster, with(1..=1), None, 7);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    balancer.tick(at(0));
    balancer.tick(at(100));
    balancer.update(&cluster, with(1..=2), None);
    let mut share = |seconds| {
        balancer.tick(at(seconds));
        let of_new = counts(&mut balancer, 1100).get("10.0.0.2:80").copied();
        of_new.expect("some")
    };
    // A tenth of the other's weight, then half of it, then the same.
    let new = share(200);
    assert!((95..=105).contains(&new), "{new} of 1100");
    let half = share(250);
    assert!((355..=375).contains(&half), "{half} of 1100");
    let grown = share(300);
    assert!((549..=551).contains(&grown), "{grown} of 1100");
}

#[test]
fn a_request_counts_until_it_is_dropped() {
    let balancer = balancer(LbPolicy::LeastRequest, endpoints(1..=1));
    let host = balancer.hosts().next().expect("a host").clone();
    let active = host.start();
    assert_eq!(host.state.active.get(), 1);
    drop(active);
    assert_eq!(host.state.active.get(), 0);
}

fn hashed_share(policy: LbPolicy) -> (HashMap<String, u64>, usize) {
    let at = |of| balancer(policy, endpoints(of));
    let (mut four, mut five) = (at(1..=4), at(1..=5));
    let mut counts = HashMap::new();
    let mut moved = 0;
    for i in 0..20_000 {
        let cx = PickContext {
            hash: Some(random(i)),
            random: random(i + 1_000_000),
            ..Default::default()
        };
        let before = four.pick(&cx).expect("a host").endpoint.address.to_string();
        let again = four.pick(&PickContext { random: 3, ..cx }).expect("a host");
        assert_eq!(
            again.endpoint.address.to_string(),
            before,
            "the hash alone decides"
        );
        let after = five.pick(&cx).expect("a host").endpoint.address.to_string();
        moved += usize::from(before != after);
        *counts.entry(before).or_default() += 1;
    }
    (counts, moved)
}

#[test]
fn hashing_spreads_evenly_and_moves_little_when_an_endpoint_comes() {
    for policy in [LbPolicy::RingHash, LbPolicy::Maglev] {
        let (counts, moved) = hashed_share(policy);
        assert_eq!(counts.len(), 4, "{policy:?}");
        for (address, n) in &counts {
            assert!((4_000..6_000).contains(n), "{policy:?} {address}: {n} of 20000");
        }
        // A fifth at best. Maglev pays a little more for evenness; on the ring each endpoint has fewer places when
        // more share its fixed size, as in Envoy.
        assert!(
            (3_000..6_500).contains(&moved),
            "{policy:?}: {moved} of 20000 moved"
        );
    }
}

#[test]
fn maglev_honours_weights() {
    let weighted = vec![lb_endpoint("10.0.0.1", 1), lb_endpoint("10.0.0.2", 3)];
    let mut balancer = balancer(LbPolicy::Maglev, weighted);
    let counts = counts(&mut balancer, 20_000);
    let light = counts.get("10.0.0.1:80").copied().unwrap_or(0);
    assert!((4_500..5_500).contains(&light), "{light} of 20000");
}

fn sick(mut endpoint: eds::LbEndpoint) -> eds::LbEndpoint {
    endpoint.health_status = HealthStatus::Unhealthy.into();
    endpoint
}

#[test]
fn the_next_priority_takes_what_the_first_cannot() {
    // Half of the first are healthy: 140 % of 50 % is 70 % of the load.
    let mut first = endpoints(1..=4);
    first = first
        .into_iter()
        .enumerate()
        .map(|(i, e)| if i < 2 { sick(e) } else { e })
        .collect();
    let mut balancer = balancer_of(
        eds_cluster(),
        vec![locality(0, first), locality(1, endpoints(5..=8))],
    );
    let counts = counts(&mut balancer, 10_000);
    let second: u64 = (5..=8)
        .map(|i| counts.get(&format!("10.0.0.{i}:80")).copied().unwrap_or(0))
        .sum();
    assert!((2_800..3_200).contains(&second), "{second} of 10000");
    assert!(
        !counts.contains_key("10.0.0.1:80"),
        "an unhealthy endpoint was picked"
    );
}

#[test]
fn in_a_panic_all_endpoints_are_used_and_none_without() {
    let all_sick = || vec![locality(0, endpoints(1..=3).into_iter().map(sick).collect())];
    let mut panicking = balancer_of(eds_cluster(), all_sick());
    assert_eq!(counts(&mut panicking, 300).len(), 3);
    let mut calm = balancer_of(
        pb::Cluster {
            common_lb_config: Some(pb::cluster::CommonLbConfig {
                healthy_panic_threshold: Some(Percent { value: 0.0 }),
                ..Default::default()
            }),
            ..eds_cluster()
        },
        all_sick(),
    );
    let picked = calm.pick(&PickContext::default());
    assert_eq!(picked.err(), Some(PickError::NoHealthyEndpoint));
}

#[test]
fn localities_share_by_weight_where_that_is_configured() {
    use pb::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    let cluster = pb::Cluster {
        common_lb_config: Some(pb::cluster::CommonLbConfig {
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
            ..Default::default()
        }),
        ..eds_cluster()
    };
    let weighted = |weight, of| eds::LocalityLbEndpoints {
        load_balancing_weight: u32_value(weight),
        ..locality(0, endpoints(of))
    };
    let mut balancer = balancer_of(cluster, vec![weighted(1, 1..=3), weighted(3, 4..=4)]);
    let counts = counts(&mut balancer, 10_000);
    let heavy = counts.get("10.0.0.4:80").copied().unwrap_or(0);
    assert!((7_300..7_700).contains(&heavy), "{heavy} of 10000");
}

#[test]
fn an_endpoint_that_failed_before_is_avoided() {
    let mut balancer = balancer(LbPolicy::Random, endpoints(1..=2));
    let failed = balancer.hosts().next().expect("a host").endpoint.address.clone();
    for i in 0..1000 {
        let cx = PickContext {
            random: random(i),
            previous: std::slice::from_ref(&failed),
            omit: &[HostPredicate::Previous],
            attempts: 50,
            ..Default::default()
        };
        assert_ne!(balancer.pick(&cx).expect("a host").endpoint.address, failed);
    }
}

#[test]
fn no_endpoints_is_an_error() {
    let mut balancer = balancer_of(eds_cluster(), vec![]);
    let picked = balancer.pick(&PickContext::default());
    assert_eq!(picked.err(), Some(PickError::NoHealthyEndpoint));
}

#[test]
fn an_original_destination_is_taken_as_it_is() {
    let cluster = pb::Cluster {
        name: "PassthroughCluster".into(),
        lb_policy: LbPolicy::ClusterProvided.into(),
        cluster_discovery_type: Some(pb::cluster::ClusterDiscoveryType::Type(
            pb::cluster::DiscoveryType::OriginalDst.into(),
        )),
        ..Default::default()
    };
    let mut balancer = balancer_of(cluster, vec![]);
    let cx = PickContext {
        original_destination: Some("[fd00::1]:8080".parse().expect("an address")),
        ..Default::default()
    };
    let host = balancer.pick(&cx).expect("a host");
    assert_eq!(host.endpoint.address.to_string(), "[fd00::1]:8080");
    let picked = balancer.pick(&PickContext::default());
    assert_eq!(picked.err(), Some(PickError::NoOriginalDestination));
}

/// A policy of `load_balancing_policy`.
fn typed(config: &impl prost::Name) -> pb::Cluster {
    let config = leno_proto::envoy::config::core::v3::TypedExtensionConfig {
        name: "x".into(),
        typed_config: Some(leno_proto::ToAny::to_any(config)),
    };
    let policy = pb::load_balancing_policy::Policy {
        typed_extension_config: Some(config),
    };
    pb::Cluster {
        load_balancing_policy: Some(pb::LoadBalancingPolicy {
            policies: vec![policy],
        }),
        ..eds_cluster()
    }
}

#[test]
fn of_two_the_one_with_less_latency_and_less_to_do_is_taken() {
    use leno_proto::contrib::envoy::extensions::load_balancing_policies::peak_ewma::v3alpha as peak_ewma;
    let policy = peak_ewma::PeakEwma {
        decay_time: Some(leno_proto::google::protobuf::Duration {
            seconds: 10,
            nanos: 0,
        }),
        ..Default::default()
    };
    let mut balancer = balancer_of(typed(&policy), vec![locality(0, endpoints(1..=2))]);
    let hosts: Vec<_> = balancer.hosts().cloned().collect();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let tell = |balancer: &Balancer, host: usize, took, now| {
        balancer.report_latency(&hosts[host], Duration::from_millis(took), now);
    };
    let first = |balancer: &mut Balancer| {
        let counts = counts(balancer, 100);
        counts.get("10.0.0.1:80").copied().unwrap_or(0)
    };
    let both = first(&mut balancer);
    assert!((30..70).contains(&both), "nobody knows them: {both}");

    let failing = hosts[0].start();
    assert_eq!(first(&mut balancer), 0, "it has a request and has never answered");
    drop(failing);

    tell(&balancer, 0, 20, at(0));
    assert_eq!(first(&mut balancer), 0, "the other is taken to need 10 ms");
    tell(&balancer, 1, 50, at(0));
    assert_eq!(first(&mut balancer), 100);
    let busy = [hosts[0].start(), hosts[0].start()];
    assert_eq!(first(&mut balancer), 0, "20 ms for each of three, against 50");
    drop(busy);

    // After a decay time an older mean counts 1/e: 92 ms.
    tell(&balancer, 0, 134, at(10));
    tell(&balancer, 1, 50, at(10));
    assert_eq!(first(&mut balancer), 0);
    let busy = hosts[1].start();
    assert_eq!(first(&mut balancer), 100, "92 against 100 ms");
    drop(busy);

    tell(&balancer, 1, 50, at(15));
    balancer.tick(at(20));
    assert_eq!(first(&mut balancer), 100, "it is forgotten that it was slow");
}

#[test]
fn weights_are_what_servers_tell_once_they_have_told_long_enough() {
    use leno_engine::decide::orca::LoadReport;
    use leno_proto::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3 as client_side;
    let cluster = typed(&client_side::ClientSideWeightedRoundRobin::default());
    let cluster = compile_cluster(&cluster).expect("compiles");
    let assignment = Arc::new(assignment(vec![locality(0, endpoints(1..=3))]));
    let health = ClusterHealth::of(&cluster, None).expect("they tell");
    health.set_members(&cluster, &assignment);
    let mut balancer = Balancer::new(&cluster, assignment, Some(health), 7);
    let hosts: Vec<_> = balancer.hosts().cloned().collect();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let tell = |balancer: &Balancer, host: usize, busy: f64, now| {
        let report = LoadReport {
            rps_fractional: 100.0,
            cpu_utilization: busy,
            ..LoadReport::default()
        };
        balancer.report_load(&hosts[host], &report, now);
    };
    let shares = |balancer: &mut Balancer| {
        let counts = counts(balancer, 600);
        [1, 2, 3].map(|n| counts.get(&format!("10.0.0.{n}:80")).copied().unwrap_or(0) / 100)
    };
    balancer.tick(at(0));
    tell(&balancer, 0, 0.5, at(0));
    tell(&balancer, 1, 0.25, at(0));
    balancer.tick(at(5));
    assert_eq!(shares(&mut balancer), [2, 2, 2], "it is too early");
    tell(&balancer, 0, 0.5, at(11));
    tell(&balancer, 1, 0.25, at(11));
    balancer.tick(at(11));
    let told = shares(&mut balancer);
    // The third has told nothing: as the one in the middle, which of two is the greater.
    assert!(told[0] <= 1 && told[1] >= 2 && told[2] >= 2, "{told:?}");
    balancer.tick(at(11 + 181));
    balancer.tick(at(11 + 183));
    let forgotten = shares(&mut balancer);
    assert!(
        forgotten.iter().all(|share| (1..=3).contains(share)),
        "{forgotten:?}"
    );
}

#[test]
fn an_aggregate_takes_the_next_cluster_when_the_first_is_sick() {
    use leno_engine::decide::balance::Row;
    let sick = |i| eds::LbEndpoint {
        health_status: HealthStatus::Unhealthy.into(),
        ..lb_endpoint(&format!("10.0.0.{i}"), 1)
    };
    let first = balancer(LbPolicy::RoundRobin, vec![sick(1), sick(2)]);
    let second = balancer(LbPolicy::RoundRobin, endpoints(3..=3));
    let mut row = Row::default();
    row.add(&first);
    row.add(&second);
    for i in 0..100 {
        let cx = PickContext {
            random: random(i),
            ..Default::default()
        };
        let chosen = row.choose(50, &cx, |_| None).expect("somebody");
        assert_eq!(chosen.member, 1);
    }
    assert!(
        Row::default()
            .choose(50, &PickContext::default(), |_| None)
            .is_none()
    );
}
