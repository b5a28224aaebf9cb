//! `lb_policy` and its settings.

use super::policy;
use super::settings::{Common, bound, least_request, maglev, ring_hash};
use super::slow_start;
use super::statuses::statuses;
use super::{
    BalancePolicy, Discovery, HashFunction, HashKey, Hashing, OriginalDst, Statuses, ZoneAware, zone,
};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::pb::cluster as pb;
use crate::compile::pb::metadata_kind;
use crate::compile::pb::types;

pub(super) fn common(
    at: &At<'_>,
    message: Option<&pb::cluster::CommonLbConfig>,
) -> Result<Common, Rejection> {
    use pb::cluster::common_lb_config::{
        ConsistentHashingLbConfig, LocalityConfigSpecifier as L, LocalityWeightedLbConfig,
    };
    let mut common = Common {
        panic_threshold: 50,
        locality_weighted: false,
        zone: ZoneAware::default(),
        hashing: Hashing {
            key: HashKey::Address,
            bound: None,
        },
        subsets: None,
        ignores_unchecked: false,
        closes_on_change: false,
        wished: Statuses::default(),
        wishes: None,
        original_dst: OriginalDst::default(),
        hash: Vec::new(),
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
    common.closes_on_change = *close_connections_on_host_set_change;
    common.wished = statuses(at, override_host_status.as_ref())?;
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
        let at = at.field("consistent_hashing_lb_config");
        common.hashing = Hashing {
            key: HashKey::of(*use_hostname_for_hashing),
            bound: bound(&at, hash_balance_factor.as_ref())?,
        };
    }
    match locality_config_specifier {
        None => {}
        Some(L::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})) => common.locality_weighted = true,
        Some(L::ZoneAwareLbConfig(config)) => {
            common.zone = zone::older(&at.field("zone_aware_lb_config"), config)?;
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
        None => named(at, message, common)?,
    };
    let provides = matches!(
        discovery,
        Discovery::OriginalDst | Discovery::Aggregate(_) | Discovery::DynamicForward(_)
    );
    if provides != (balance == BalancePolicy::ClusterProvided) {
        let reason = "CLUSTER_PROVIDED goes with ORIGINAL_DST, aggregate and dynamic forward clusters, and with no other";
        return Err(at.field("lb_policy").reject(reason));
    }
    Ok(balance)
}

/// `lb_policy`.
pub(super) fn named(
    at: &At<'_>,
    message: &pb::Cluster,
    common: &mut Common,
) -> Result<BalancePolicy, Rejection> {
    use pb::cluster::{LbConfig, LbPolicy};
    let hashing = common.hashing;
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
        (LbPolicy::RingHash, None) => ring_hash(at, None, None, HashFunction::XxHash, hashing)?,
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
            ring_hash(&at, minimum, maximum, function, hashing)?
        }
        (LbPolicy::Maglev, None) => maglev(at, None, hashing)?,
        (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(config))) => {
            let pb::cluster::MaglevLbConfig { table_size } = config;
            maglev(&at.field("maglev_lb_config"), table_size.as_ref(), hashing)?
        }
        (LbPolicy::ClusterProvided, None) => BalancePolicy::ClusterProvided,
        (LbPolicy::ClusterProvided, Some(LbConfig::OriginalDstLbConfig(config))) => {
            let pb::cluster::OriginalDstLbConfig {
                use_http_header,
                http_header_name,
                upstream_port_override,
                metadata_key,
            } = config;
            let at = at.field("original_dst_lb_config");
            let header = match http_header_name.as_str() {
                "" => "x-envoy-original-dst-host".to_owned(),
                name => at.field("http_header_name").header_name(name)?,
            };
            common.original_dst = OriginalDst {
                header: use_http_header.then_some(header),
                metadata: match metadata_key {
                    None => None,
                    Some(key) => Some(Box::new(metadata_path(&at.field("metadata_key"), key)?)),
                },
                port: match upstream_port_override {
                    None => None,
                    Some(port) => Some(at.port("upstream_port_override", port.value)?),
                },
            };
            BalancePolicy::ClusterProvided
        }
        (LbPolicy::LoadBalancingPolicyConfig, _) => {
            return Err(at
                .field("lb_policy")
                .reject("LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy"));
        }
        (_, Some(_)) => return Err(at.field("lb_config").reject("not of this lb_policy")),
    })
}

fn metadata_path(
    at: &At<'_>,
    message: &metadata_kind::MetadataKey,
) -> Result<(String, Vec<String>), Rejection> {
    use metadata_kind::metadata_key::{PathSegment, path_segment::Segment};
    let metadata_kind::MetadataKey { key, path } = message;
    at.not_empty("key", key)?;
    let path = at.some("path", path, |at, PathSegment { segment }| {
        match at.required("segment", segment)? {
            Segment::Key(key) => {
                at.not_empty("key", key)?;
                Ok(key.clone())
            }
            Segment::Index(_) => Err(at.field("index").reject("not supported")),
        }
    })?;
    Ok((key.clone(), path))
}
