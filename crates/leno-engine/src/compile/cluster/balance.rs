//! `lb_policy` and its settings.

use super::policy;
use super::settings::{Common, least_request, maglev, ring_hash};
use super::slow_start;
use super::{BalancePolicy, Discovery, HashFunction, HashKey};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::pb::cluster as pb;
use crate::compile::pb::types;

pub(super) fn common(
    at: &At<'_>,
    message: Option<&pb::cluster::CommonLbConfig>,
) -> Result<Common, Rejection> {
    use pb::cluster::common_lb_config::{
        ConsistentHashingLbConfig, LocalityConfigSpecifier as L, LocalityWeightedLbConfig, ZoneAwareLbConfig,
    };
    let mut common = Common {
        panic_threshold: 50,
        locality_weighted: false,
        hash_key: HashKey::Address,
        subsets: None,
        ignores_unchecked: false,
    };
    let Some(message) = message else { return Ok(common) };
    let at = &at.field("common_lb_config");
    let pb::cluster::CommonLbConfig {
        healthy_panic_threshold,
        update_merge_window,
        ignore_new_hosts_until_first_hc,
        close_connections_on_host_set_change,
        consistent_hashing_lb_config,
        override_host_status,
        locality_config_specifier,
    } = message;
    refuse!(at; close_connections_on_host_set_change, override_host_status);
    no_effect!(at, "updates are applied at once"; update_merge_window);
    common.ignores_unchecked = *ignore_new_hosts_until_first_hc;
    if let Some(types::Percent { value }) = healthy_panic_threshold {
        if !(0.0..=100.0).contains(value) {
            return Err(at.field("healthy_panic_threshold").reject("0 to 100"));
        }
        common.panic_threshold = *value as u32;
    }
    if let Some(ConsistentHashingLbConfig {
        use_hostname_for_hashing,
        hash_balance_factor,
    }) = consistent_hashing_lb_config
    {
        refuse!(at.field("consistent_hashing_lb_config"); hash_balance_factor);
        common.hash_key = HashKey::of(*use_hostname_for_hashing);
    }
    match locality_config_specifier {
        None => {}
        Some(L::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})) => common.locality_weighted = true,
        Some(L::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled,
            min_cluster_size,
            fail_traffic_on_panic,
        })) => {
            let at = at.field("zone_aware_lb_config");
            refuse!(at; fail_traffic_on_panic);
            // Zone awareness needs a local cluster, which is never configured here.
            no_effect!(at, "there is no local cluster"; routing_enabled, min_cluster_size);
        }
    }
    Ok(common)
}

/// What `load_balancing_policy` says goes before the older fields; its localities go to `common`.
pub(super) fn policy(
    at: &At<'_>,
    message: &pb::Cluster,
    discovery: &Discovery,
    common: &mut Common,
) -> Result<BalancePolicy, Rejection> {
    let balance = match &message.load_balancing_policy {
        Some(typed) => policy::typed(&at.field("load_balancing_policy"), typed, common)?,
        None => named(at, message, common.hash_key)?,
    };
    let provides = matches!(discovery, Discovery::OriginalDst | Discovery::Aggregate(_));
    if provides != matches!(balance, BalancePolicy::ClusterProvided { .. }) {
        let reason = "CLUSTER_PROVIDED goes with ORIGINAL_DST and aggregate clusters, and with no other";
        return Err(at.field("lb_policy").reject(reason));
    }
    Ok(balance)
}

/// `lb_policy`.
fn named(at: &At<'_>, message: &pb::Cluster, key: HashKey) -> Result<BalancePolicy, Rejection> {
    use pb::cluster::{LbConfig, LbPolicy};
    let policy: LbPolicy = at.choice("lb_policy", message.lb_policy)?;
    let config = message.lb_config.as_ref();
    Ok(match (policy, config) {
        (LbPolicy::RoundRobin, None) => BalancePolicy::RoundRobin { slow_start: None },
        (LbPolicy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(config))) => {
            let pb::cluster::RoundRobinLbConfig { slow_start_config } = config;
            let at = at.field("round_robin_lb_config");
            BalancePolicy::RoundRobin {
                slow_start: slow_start::older(&at, slow_start_config.as_ref())?,
            }
        }
        (LbPolicy::LeastRequest, None) => least_request(at, None, None, false, None)?,
        (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config))) => {
            let pb::cluster::LeastRequestLbConfig {
                choice_count,
                active_request_bias,
                slow_start_config,
            } = config;
            let at = at.field("least_request_lb_config");
            let slow_start = slow_start::older(&at, slow_start_config.as_ref())?;
            least_request(
                &at,
                choice_count.as_ref(),
                active_request_bias.as_ref(),
                false,
                slow_start,
            )?
        }
        (LbPolicy::Random, None) => BalancePolicy::Random,
        (LbPolicy::RingHash, None) => ring_hash(at, None, None, HashFunction::XxHash, key)?,
        (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config))) => {
            use pb::cluster::ring_hash_lb_config::HashFunction as Function;
            let pb::cluster::RingHashLbConfig {
                minimum_ring_size,
                hash_function,
                maximum_ring_size,
            } = config;
            let at = at.field("ring_hash_lb_config");
            let function = match at.choice("hash_function", *hash_function)? {
                Function::XxHash => HashFunction::XxHash,
                Function::MurmurHash2 => HashFunction::Murmur2,
            };
            let (minimum, maximum) = (minimum_ring_size.as_ref(), maximum_ring_size.as_ref());
            ring_hash(&at, minimum, maximum, function, key)?
        }
        (LbPolicy::Maglev, None) => maglev(at, None, key)?,
        (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(config))) => {
            let pb::cluster::MaglevLbConfig { table_size } = config;
            maglev(&at.field("maglev_lb_config"), table_size.as_ref(), key)?
        }
        (LbPolicy::ClusterProvided, None) => BalancePolicy::ClusterProvided { port: None },
        (LbPolicy::ClusterProvided, Some(LbConfig::OriginalDstLbConfig(config))) => {
            let pb::cluster::OriginalDstLbConfig {
                use_http_header,
                http_header_name,
                upstream_port_override,
                metadata_key,
            } = config;
            let at = at.field("original_dst_lb_config");
            refuse!(at; use_http_header, http_header_name, metadata_key);
            BalancePolicy::ClusterProvided {
                port: match upstream_port_override {
                    None => None,
                    Some(port) => Some(at.port("upstream_port_override", port.value)?),
                },
            }
        }
        (LbPolicy::LoadBalancingPolicyConfig, _) => {
            return Err(at
                .field("lb_policy")
                .reject("LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy"));
        }
        (_, Some(_)) => return Err(at.field("lb_config").reject("not of this lb_policy")),
    })
}
