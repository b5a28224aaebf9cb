//! Kinds of clusters that are extensions: `cluster_type`.

use std::sync::Arc;

use leno_proto::FromAny;

use super::http::UpstreamHttp;
use super::{Discovery, DynamicForward, dns};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::dns_cache::dns_cache;
use crate::compile::endpoint::Assignment;
use crate::compile::pb::{aggregate, cluster as pb, dns_cluster, dynamic_cluster};

/// A kind of cluster that is an extension.
pub(super) fn extension(
    at: &At<'_>,
    message: &pb::cluster::CustomClusterType,
    assignment: Arc<Assignment>,
) -> Result<Discovery, Rejection> {
    let at = at.field("cluster_type");
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
        return dynamic_forward(&at, &at.unpack(any)?);
    }
    Err(at.unknown_extension(any))
}

/// `envoy.clusters.dynamic_forward_proxy`
fn dynamic_forward(at: &At<'_>, message: &dynamic_cluster::ClusterConfig) -> Result<Discovery, Rejection> {
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
        })),
        Kind::SubClustersConfig(_) => Err(at.field("sub_clusters_config").reject("not supported")),
    }
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
