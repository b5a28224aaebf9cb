//! Kinds of clusters that are extensions: `cluster_type`.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;

use super::http::UpstreamHttp;
use super::{BalancePolicy, Discovery, DynamicForward, balance, dns};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::dns_cache::{DnsCache, dns_cache};
use crate::compile::endpoint::Assignment;
use crate::compile::pb::{aggregate, cluster as pb, dns_cluster, dynamic_cluster};

/// A kind of cluster that is an extension.
pub(super) fn extension(
    outer: &At<'_>,
    cluster: &pb::Cluster,
    message: &pb::cluster::CustomClusterType,
    assignment: Arc<Assignment>,
) -> Result<Discovery, Rejection> {
    let at = outer.field("cluster_type");
    let pb::cluster::CustomClusterType { name, typed_config } = message;
    let Some(any) = typed_config else {
        return Err(at.reject(format!("{name:?} is not supported")));
    };
    let at = at.field("typed_config");
    if any.is::<dns_cluster::DnsCluster>() {
        return dns::typed(&at, any, assignment);
    }
    let unused = assignment.priorities.is_empty();
    if any.is::<aggregate::ClusterConfig>() && unused {
        let aggregate::ClusterConfig { clusters } = at.unpack(any)?;
        if clusters.is_empty() {
            return Err(at.field("clusters").reject("required"));
        }
        return Ok(Discovery::Aggregate(clusters));
    }
    if any.is::<dynamic_cluster::ClusterConfig>() && unused {
        return dynamic_forward((outer, cluster), &at, &at.unpack(any)?);
    }
    Err(at.unknown_extension(any))
}

/// `envoy.clusters.dynamic_forward_proxy`
fn dynamic_forward(
    cluster: (&At<'_>, &pb::Cluster),
    at: &At<'_>,
    message: &dynamic_cluster::ClusterConfig,
) -> Result<Discovery, Rejection> {
    use dynamic_cluster::cluster_config::ClusterImplementationSpecifier as Kind;
    let dynamic_cluster::ClusterConfig {
        cluster_implementation_specifier,
        allow_insecure_cluster_options,
        allow_coalesced_connections,
    } = message;
    no_effect!(at, "connections are of one host each"; allow_coalesced_connections);
    match at.required(
        "cluster_implementation_specifier",
        cluster_implementation_specifier,
    )? {
        Kind::DnsCacheConfig(cache) => Ok(Discovery::DynamicForward(DynamicForward {
            cache: dns_cache(&at.field("dns_cache_config"), cache)?,
            insecure: *allow_insecure_cluster_options,
            each_address: None,
        })),
        Kind::SubClustersConfig(config) => {
            let (cache, balance) = sub_clusters(cluster, &at.field("sub_clusters_config"), config)?;
            Ok(Discovery::DynamicForward(DynamicForward {
                cache,
                insecure: *allow_insecure_cluster_options,
                each_address: Some(Box::new(balance)),
            }))
        }
    }
}

/// Hosts are remembered and looked up as Envoy's sub clusters are.
fn sub_clusters(
    (outer, cluster): (&At<'_>, &pb::Cluster),
    at: &At<'_>,
    message: &dynamic_cluster::SubClustersConfig,
) -> Result<(DnsCache, BalancePolicy), Rejection> {
    let dynamic_cluster::SubClustersConfig {
        lb_policy,
        max_sub_clusters,
        sub_cluster_ttl,
        preresolve_clusters,
        dns_cluster_config,
    } = message;
    no_effect!(at, "a host is resolved when it is asked for"; preresolve_clusters);
    let named = pb::Cluster {
        lb_policy: *lb_policy,
        ..Default::default()
    };
    let balance = balance::named(at, &named, &mut balance::common(at, None)?)?;
    if balance == BalancePolicy::ClusterProvided {
        return Err(at.field("lb_policy").reject("not CLUSTER_PROVIDED"));
    }
    let max_hosts = max_sub_clusters.as_ref().map_or(1024, |most| most.value);
    if max_hosts == 0 {
        return Err(at.field("max_sub_clusters").reject("must be more than 0"));
    }
    let cache = DnsCache {
        resolving: match dns_cluster_config {
            None => dns::named(outer, cluster)?,
            Some(config) => dns::resolving(&at.field("dns_cluster_config"), config)?.0,
        },
        host_ttl: at.positive("sub_cluster_ttl", sub_cluster_ttl, Duration::from_secs(300))?,
        max_hosts,
        timeout: None,
        max_pending: u32::MAX,
    };
    Ok((cache, balance))
}

/// Of a host that nobody has configured the certificate is to be verified, and for the host's own name: that is so where
/// nothing is said of HTTP.
pub(super) fn by_host(
    at: &At<'_>,
    forward: &DynamicForward,
    unsaid: bool,
    http: &mut UpstreamHttp,
) -> Result<(), Rejection> {
    http.auto_sni |= unsaid;
    http.auto_san_validation |= unsaid;
    let verified = http.auto_sni && http.auto_san_validation;
    if verified || forward.insecure {
        return Ok(());
    }
    let at = at.field("cluster_type");
    Err(at
        .field("typed_config")
        .reject("needs auto_sni and auto_san_validation, or allow_insecure_cluster_options"))
}
