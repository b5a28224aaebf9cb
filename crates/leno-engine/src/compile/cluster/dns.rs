//! Clusters whose endpoints are names.

use std::sync::Arc;
use std::time::Duration;

pub use crate::compile::dns::{Family, Resolving};

use super::Discovery;
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::dns::{failure, family};
use crate::compile::dns_resolver::resolver;
use crate::compile::endpoint::Assignment;
use crate::compile::pb::{cluster as pb, common_dns, dns_cluster, protobuf};

const REFRESH: Duration = Duration::from_secs(5);
/// However short a time an answer holds.
const LEAST_REFRESH: Duration = Duration::from_secs(5);

/// The older fields of the cluster itself.
pub(super) fn named(at: &At<'_>, message: &pb::Cluster) -> Result<Resolving, Rejection> {
    let refresh = at.positive("dns_refresh_rate", &message.dns_refresh_rate, REFRESH)?;
    Ok(Resolving {
        refresh,
        after_failure: match &message.dns_failure_refresh_rate {
            None => (refresh, refresh),
            Some(pb::cluster::RefreshRate {
                base_interval,
                max_interval,
            }) => failure(&at.field("dns_failure_refresh_rate"), base_interval, max_interval)?,
        },
        family: family(at, message.dns_lookup_family)?,
        resolver: resolver(
            at,
            message.typed_dns_resolver_config.as_ref(),
            message.dns_resolution_config.as_ref(),
            &message.dns_resolvers,
            message.use_tcp_for_dns_lookups,
        )?,
        by_ttl: message.respect_dns_ttl.then_some(Duration::ZERO),
        jitter: at
            .duration("dns_jitter", &message.dns_jitter)?
            .unwrap_or_default(),
    })
}

/// A cluster without names has nothing to be resolved.
pub(super) fn unused(at: &At<'_>, message: &pb::Cluster, discovery: &Discovery) {
    match discovery {
        Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => return,
        Discovery::DynamicForward(forward) if forward.each_address.is_some() => return,
        _ => {}
    }
    let why = "the cluster has no names";
    at.ignored("dns_jitter", &message.dns_jitter, why);
    at.ignored("respect_dns_ttl", &message.respect_dns_ttl, why);
    at.ignored("dns_resolvers", &message.dns_resolvers, why);
    at.ignored("use_tcp_for_dns_lookups", &message.use_tcp_for_dns_lookups, why);
    at.ignored("dns_resolution_config", &message.dns_resolution_config, why);
    at.ignored(
        "typed_dns_resolver_config",
        &message.typed_dns_resolver_config,
        why,
    );
    at.ignored("wait_for_warm_on_init", &message.wait_for_warm_on_init, why);
}

/// `envoy.cluster.dns`
pub(super) fn typed(
    at: &At<'_>,
    any: &protobuf::Any,
    assignment: Arc<Assignment>,
) -> Result<Discovery, Rejection> {
    let (resolving, in_one) = resolving(at, &at.unpack(any)?)?;
    Ok(match in_one {
        true => Discovery::LogicalDns {
            assignment,
            resolving,
        },
        false => Discovery::StrictDns {
            assignment,
            resolving,
        },
    })
}

/// And whether all addresses of a name are one endpoint.
pub(super) fn resolving(
    at: &At<'_>,
    message: &dns_cluster::DnsCluster,
) -> Result<(Resolving, bool), Rejection> {
    use common_dns::DnsLookupFamily as F;
    let dns_cluster::DnsCluster {
        dns_refresh_rate,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_jitter,
        typed_dns_resolver_config,
        dns_lookup_family,
        all_addresses_in_single_endpoint,
        dns_min_refresh_rate,
    } = message;
    let least = at.positive("dns_min_refresh_rate", dns_min_refresh_rate, LEAST_REFRESH)?;
    let refresh = at.positive("dns_refresh_rate", dns_refresh_rate, REFRESH)?;
    let resolving = Resolving {
        refresh,
        after_failure: match dns_failure_refresh_rate {
            None => (refresh, refresh),
            Some(dns_cluster::dns_cluster::RefreshRate {
                base_interval,
                max_interval,
            }) => failure(&at.field("dns_failure_refresh_rate"), base_interval, max_interval)?,
        },
        family: match at.choice("dns_lookup_family", *dns_lookup_family)? {
            F::Unspecified | F::Auto | F::V4Preferred => Family::V4Preferred,
            F::V4Only => Family::V4Only,
            F::V6Only => Family::V6Only,
            F::All => Family::All,
        },
        resolver: resolver(at, typed_dns_resolver_config.as_ref(), None, &[], false)?,
        by_ttl: respect_dns_ttl.then_some(least),
        jitter: at.duration("dns_jitter", dns_jitter)?.unwrap_or_default(),
    };
    Ok((resolving, *all_addresses_in_single_endpoint))
}
