//! How a cluster's endpoints share its requests.

use leno_model::TrafficPolicy;
use leno_model::policy::{HashTable, LoadBalancer, Warmup};

use crate::parts::duration;
use crate::pb::cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
use crate::pb::cluster::cluster::{
    DiscoveryType, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
    RoundRobinLbConfig, SlowStartConfig,
};
use crate::pb::core::RuntimeDouble;
use crate::pb::{protobuf, types};

/// No endpoint is chosen: the address that was called is.
pub(super) fn passes_through(said: &TrafficPolicy) -> bool {
    said.balancer == Some(LoadBalancer::Passthrough)
}

pub(super) fn as_called() -> (DiscoveryType, LbPolicy, Option<LbConfig>) {
    (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided, None)
}

/// Where endpoints are known.
pub(super) fn policy(said: &TrafficPolicy) -> (LbPolicy, Option<LbConfig>) {
    let warmup = said.warmup.as_ref().map(slow_start);
    match &said.balancer {
        Some(LoadBalancer::Random) => (LbPolicy::Random, None),
        Some(LoadBalancer::RoundRobin) => {
            let config = warmup.map(|warmup| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(warmup),
                })
            });
            (LbPolicy::RoundRobin, config)
        }
        None | Some(LoadBalancer::LeastRequest | LoadBalancer::Passthrough) => {
            let config = warmup.map(|warmup| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(warmup),
                    ..Default::default()
                })
            });
            (LbPolicy::LeastRequest, config)
        }
        Some(
            LoadBalancer::HashHeader(_)
            | LoadBalancer::HashCookie { .. }
            | LoadBalancer::HashSourceIp
            | LoadBalancer::HashQuery(_),
        ) => match said.table {
            HashTable::Ring { minimum } => {
                let ring = RingHashLbConfig {
                    minimum_ring_size: Some(protobuf::UInt64Value { value: minimum }),
                    ..Default::default()
                };
                (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(ring)))
            }
            HashTable::Maglev { size } => {
                let config = size.map(|value| {
                    LbConfig::MaglevLbConfig(MaglevLbConfig {
                        table_size: Some(protobuf::UInt64Value { value }),
                    })
                });
                (LbPolicy::Maglev, config)
            }
        },
    }
}

fn slow_start(said: &Warmup) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: duration(said.window),
        aggression: Some(RuntimeDouble {
            default_value: f64::from(said.aggression) / 1000.0,
            // Envoy takes no such number without a name.
            runtime_key: "leno.slow_start.aggression".into(),
        }),
        min_weight_percent: Some(types::Percent {
            value: f64::from(said.minimum) / 10_000.0,
        }),
    }
}

pub(super) fn by_locality() -> LocalityConfigSpecifier {
    LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})
}
