//! `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.

use std::time::Duration;

use super::TcpProxy;
use crate::compile::Rejection;
use crate::compile::access_log::access_logs;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::pb::tcp_proxy as pb;

pub(super) fn tcp_proxy(at: &At<'_>, message: &pb::TcpProxy) -> Result<TcpProxy, Rejection> {
    use pb::tcp_proxy::ClusterSpecifier;
    let pb::TcpProxy {
        stat_prefix,
        on_demand,
        metadata_match,
        idle_timeout,
        downstream_idle_timeout,
        upstream_idle_timeout,
        access_log,
        max_connect_attempts,
        backoff_options,
        hash_policy,
        tunneling_config,
        max_downstream_connection_duration,
        max_downstream_connection_duration_jitter_percentage,
        access_log_flush_interval,
        flush_access_log_on_connected,
        access_log_options,
        proxy_protocol_tlvs,
        proxy_protocol_tlv_merge_policy,
        upstream_connect_mode,
        max_early_data_bytes,
        check_drain_close,
        cluster_specifier,
    } = message;
    refuse!(at; on_demand, metadata_match, hash_policy, tunneling_config,
        proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy, upstream_connect_mode, max_early_data_bytes,
        downstream_idle_timeout, upstream_idle_timeout);
    silent!("leno has its own statistics"; stat_prefix);
    no_effect!(at, "not used"; backoff_options, max_downstream_connection_duration_jitter_percentage,
        access_log_flush_interval, flush_access_log_on_connected, access_log_options, check_drain_close);
    let clusters = match at.required("cluster", cluster_specifier)? {
        ClusterSpecifier::Cluster(name) => {
            at.not_empty("cluster", name)?;
            vec![(name.clone(), 1)]
        }
        ClusterSpecifier::WeightedClusters(weighted) => {
            weighted_clusters(&at.field("weighted_clusters"), weighted)?
        }
    };
    let attempts = max_connect_attempts.as_ref().map_or(1, |attempts| attempts.value);
    if attempts == 0 {
        return Err(at.field("max_connect_attempts").reject("must be more than 0"));
    }
    Ok(TcpProxy {
        by_server_name: false,
        clusters,
        idle_timeout: at.timeout("idle_timeout", idle_timeout, Some(Duration::from_secs(3600)))?,
        max_connect_attempts: attempts,
        max_duration: at.timeout(
            "max_downstream_connection_duration",
            max_downstream_connection_duration,
            None,
        )?,
        access_log: access_logs(at, "access_log", access_log)?,
        origin: None,
    })
}

fn weighted_clusters(
    at: &At<'_>,
    message: &pb::tcp_proxy::WeightedCluster,
) -> Result<Vec<(String, u32)>, Rejection> {
    let pb::tcp_proxy::WeightedCluster { clusters } = message;
    let clusters = at.each("clusters", clusters, |at, cluster| {
        let pb::tcp_proxy::weighted_cluster::ClusterWeight {
            name,
            weight,
            metadata_match,
        } = cluster;
        refuse!(at; metadata_match);
        at.not_empty("name", name)?;
        if *weight == 0 {
            return Err(at.field("weight").reject("must be more than 0"));
        }
        Ok((name.clone(), *weight))
    })?;
    if clusters.is_empty() {
        return Err(at.field("clusters").reject("required"));
    }
    Ok(clusters)
}
