//! Clusters whose endpoints are names.

use std::sync::Arc;
use std::time::Duration;

pub use crate::compile::dns::{Family, Resolving};

use super::Discovery;
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::dns::{failure, family};
use crate::compile::endpoint::Assignment;
use crate::compile::pb::{cluster as pb, common_dns, dns_cluster, protobuf};

const REFRESH: Duration = Duration::from_secs(5);

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
    })
}

/// `envoy.cluster.dns`
pub(super) fn typed(
    at: &At<'_>,
    any: &protobuf::Any,
    assignment: Arc<Assignment>,
) -> Result<Discovery, Rejection> {
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
    } = &at.unpack::<dns_cluster::DnsCluster>(any)?;
    refuse!(at; typed_dns_resolver_config);
    no_effect!(at, "the machine's resolver does not tell it"; respect_dns_ttl, dns_min_refresh_rate);
    no_effect!(at, "names are resolved when they are due"; dns_jitter);
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
    };
    Ok(match all_addresses_in_single_endpoint {
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
