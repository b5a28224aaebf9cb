//! `load_balancing_policy`: Envoy's typed extensions.

use std::sync::Arc;

use super::client_side;
use super::peak_ewma;
use super::settings::{self, Common};
use super::slow_start::slow_start;
use super::subset::subsets;
use super::{BalancePolicy, HashFunction, HashKey, Hashing, ZoneAware, zone};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse, silent};
use crate::compile::hash::{self, HashPolicy};
use crate::compile::pb::cluster as pb;
use crate::compile::pb::lb::{
    client_side as lb_client_side, cluster_provided, common as lb, least_request, maglev, override_host,
    peak_ewma as lb_peak_ewma, random, ring_hash, round_robin, subset, wrr_locality,
};
use crate::compile::pb::{core, protobuf};
use leno_proto::FromAny;

/// The first of the list that is known, as in Envoy. Its localities go to `common`.
pub(super) fn typed(
    at: &At<'_>,
    message: &pb::LoadBalancingPolicy,
    common: &mut Common,
) -> Result<BalancePolicy, Rejection> {
    let pb::LoadBalancingPolicy { policies } = message;
    for (i, policy) in policies.iter().enumerate() {
        let at = at.item("policies", i);
        let pb::load_balancing_policy::Policy {
            typed_extension_config,
        } = policy;
        let core::TypedExtensionConfig { name, typed_config } =
            at.required("typed_extension_config", typed_extension_config)?;
        silent!("names are for people"; name);
        let at = at.field("typed_extension_config");
        let any = at.required("typed_config", typed_config)?;
        if let Some(policy) = one(&at.field("typed_config"), any, common)? {
            return Ok(policy);
        }
    }
    match policies
        .first()
        .and_then(|first| first.typed_extension_config.as_ref())
    {
        Some(core::TypedExtensionConfig {
            name: _,
            typed_config: Some(any),
        }) => {
            let at = at.item("policies", 0);
            let at = at.field("typed_extension_config");
            Err(at.field("typed_config").unknown_extension(any))
        }
        _ => Err(at.field("policies").reject("required")),
    }
}

/// None: leno does not have it.
fn one(at: &At<'_>, any: &protobuf::Any, common: &mut Common) -> Result<Option<BalancePolicy>, Rejection> {
    if any.is::<least_request::LeastRequest>() {
        use least_request::least_request::SelectionMethod as Method;
        let least_request::LeastRequest {
            choice_count,
            active_request_bias,
            slow_start_config,
            locality_lb_config,
            enable_full_scan,
            selection_method,
        } = &at.unpack::<least_request::LeastRequest>(any)?;
        let slow_start = slow_start(at, slow_start_config.as_ref())?;
        locality(at, locality_lb_config.as_ref(), common)?;
        let method: Method = at.choice("selection_method", *selection_method)?;
        let full_scan = method == Method::FullScan || enable_full_scan.is_some_and(|enabled| enabled.value);
        return settings::least_request(
            at,
            choice_count.as_ref(),
            active_request_bias.as_ref(),
            full_scan,
            slow_start,
        )
        .map(Some);
    }
    if any.is::<round_robin::RoundRobin>() {
        let round_robin::RoundRobin {
            slow_start_config,
            locality_lb_config,
        } = &at.unpack::<round_robin::RoundRobin>(any)?;
        locality(at, locality_lb_config.as_ref(), common)?;
        return Ok(Some(BalancePolicy::RoundRobin {
            slow_start: slow_start(at, slow_start_config.as_ref())?,
        }));
    }
    if any.is::<lb_client_side::ClientSideWeightedRoundRobin>() {
        let policy = client_side::client_side(at, &at.unpack(any)?)?;
        return Ok(Some(BalancePolicy::ClientSide(policy)));
    }
    if any.is::<lb_peak_ewma::PeakEwma>() {
        let policy = peak_ewma::peak_ewma(at, &at.unpack(any)?)?;
        return Ok(Some(BalancePolicy::PeakEwma(policy)));
    }
    if any.is::<random::Random>() {
        let random::Random { locality_lb_config } = &at.unpack::<random::Random>(any)?;
        locality(at, locality_lb_config.as_ref(), common)?;
        return Ok(Some(BalancePolicy::Random));
    }
    if any.is::<ring_hash::RingHash>() {
        return ring(at, &at.unpack(any)?, common).map(Some);
    }
    if any.is::<maglev::Maglev>() {
        let maglev::Maglev {
            table_size,
            consistent_hashing_lb_config,
            locality_weighted_lb_config,
        } = &at.unpack::<maglev::Maglev>(any)?;
        common.locality_weighted = locality_weighted_lb_config.is_some();
        let hashing = consistent(at, consistent_hashing_lb_config.as_ref(), common)?;
        return settings::maglev(at, table_size.as_ref(), hashing).map(Some);
    }
    if any.is::<wrr_locality::WrrLocality>() {
        let wrr_locality::WrrLocality {
            endpoint_picking_policy,
        } = &at.unpack::<wrr_locality::WrrLocality>(any)?;
        let inner = at.required("endpoint_picking_policy", endpoint_picking_policy)?;
        let policy = typed(&at.field("endpoint_picking_policy"), inner, common)?;
        common.locality_weighted = true;
        return Ok(Some(policy));
    }
    if any.is::<subset::Subset>() {
        let message = at.unpack::<subset::Subset>(any)?;
        let (subsets, inner) = subsets(at, &message)?;
        let inner = at.required("subset_lb_policy", inner)?;
        common.subsets = Some(Arc::new(subsets));
        return typed(&at.field("subset_lb_policy"), inner, common).map(Some);
    }
    if any.is::<override_host::OverrideHost>() {
        let override_host::OverrideHost {
            override_host_sources,
            selected_host_key,
            fallback_policy,
        } = &at.unpack::<override_host::OverrideHost>(any)?;
        refuse!(at; selected_host_key);
        if override_host_sources.is_empty() {
            return Err(at.field("override_host_sources").reject("required"));
        }
        let inner = at.required("fallback_policy", fallback_policy)?;
        let policy = typed(&at.field("fallback_policy"), inner, common)?;
        let headers = at.each("override_host_sources", override_host_sources, |at, source| {
            let override_host::override_host::OverrideHostSource { header, metadata } = source;
            refuse!(at; metadata);
            at.field("header").header_name(header)
        })?;
        common.wishes = Some(headers.into());
        return Ok(Some(policy));
    }
    if any.is::<cluster_provided::ClusterProvided>() {
        let cluster_provided::ClusterProvided {} = at.unpack(any)?;
        return Ok(Some(BalancePolicy::ClusterProvided));
    }
    Ok(None)
}

fn ring(at: &At<'_>, message: &ring_hash::RingHash, common: &mut Common) -> Result<BalancePolicy, Rejection> {
    use ring_hash::ring_hash::HashFunction as Function;
    let ring_hash::RingHash {
        hash_function,
        minimum_ring_size,
        maximum_ring_size,
        use_hostname_for_hashing,
        hash_balance_factor,
        consistent_hashing_lb_config,
        locality_weighted_lb_config,
    } = message;
    common.locality_weighted = locality_weighted_lb_config.is_some();
    let function = match at.choice("hash_function", *hash_function)? {
        Function::DefaultHash | Function::XxHash => HashFunction::XxHash,
        Function::MurmurHash2 => HashFunction::Murmur2,
    };
    let older = Hashing {
        key: HashKey::of(*use_hostname_for_hashing),
        bound: settings::bound(at, hash_balance_factor.as_ref())?,
    };
    let hashing = match consistent_hashing_lb_config {
        None => older,
        newer => consistent(at, newer.as_ref(), common)?,
    };
    settings::ring_hash(
        at,
        minimum_ring_size.as_ref(),
        maximum_ring_size.as_ref(),
        function,
        hashing,
    )
}

fn consistent(
    at: &At<'_>,
    message: Option<&lb::ConsistentHashingLbConfig>,
    common: &mut Common,
) -> Result<Hashing, Rejection> {
    let Some(lb::ConsistentHashingLbConfig {
        use_hostname_for_hashing,
        hash_balance_factor,
        hash_policy,
    }) = message
    else {
        return Ok(Hashing {
            key: HashKey::Address,
            bound: None,
        });
    };
    let at = at.field("consistent_hashing_lb_config");
    common.hash = at.each("hash_policy", hash_policy, |at, policy| {
        let policy = hash::hash_policy(at, policy)?;
        if matches!(policy, HashPolicy::Cookie { ttl: Some(_), .. }) {
            at.field("cookie")
                .field("ttl")
                .warn("a policy of its own makes no cookie");
        }
        Ok(policy.without_cookie())
    })?;
    Ok(Hashing {
        key: HashKey::of(*use_hostname_for_hashing),
        bound: settings::bound(&at, hash_balance_factor.as_ref())?,
    })
}

/// How localities count.
fn locality(
    at: &At<'_>,
    message: Option<&lb::LocalityLbConfig>,
    common: &mut Common,
) -> Result<(), Rejection> {
    use lb::locality_lb_config::{LocalityConfigSpecifier as L, LocalityWeightedLbConfig};
    (common.locality_weighted, common.zone) = (false, ZoneAware::default());
    let Some(lb::LocalityLbConfig {
        locality_config_specifier,
    }) = message
    else {
        return Ok(());
    };
    let at = at.field("locality_lb_config");
    match at.required("locality_config_specifier", locality_config_specifier)? {
        L::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}) => common.locality_weighted = true,
        L::ZoneAwareLbConfig(config) => {
            common.zone = zone::typed(&at.field("zone_aware_lb_config"), config)?;
        }
    }
    Ok(())
}
