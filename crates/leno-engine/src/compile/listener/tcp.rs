//! `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.

use std::time::Duration;

use super::{TcpCluster, TcpProxy, tunnel};
use crate::compile::Rejection;
use crate::compile::access_log::{LogOptions, access_logs, every};
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::{tcp_proxy as pb, types};

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
    refuse!(at; on_demand, proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy, upstream_connect_mode, max_early_data_bytes,
        downstream_idle_timeout, upstream_idle_timeout);
    no_effect!(at, "not used"; backoff_options, check_drain_close);
    let log_options = match access_log_options {
        None => LogOptions {
            every: every(at, "access_log_flush_interval", access_log_flush_interval)?,
            at_start: false,
            when_connected: *flush_access_log_on_connected,
        },
        Some(_) if access_log_flush_interval.is_some() || *flush_access_log_on_connected => {
            return Err(at
                .field("access_log_options")
                .reject("access_log_flush_interval and flush_access_log_on_connected stand beside it"));
        }
        Some(options) => self::log_options(&at.field("access_log_options"), options)?,
    };
    let metadata = metadata::of(metadata_match.as_ref(), "envoy.lb");
    let clusters = match at.required("cluster", cluster_specifier)? {
        ClusterSpecifier::Cluster(name) => {
            at.not_empty("cluster", name)?;
            vec![TcpCluster {
                name: name.clone(),
                weight: 1,
                metadata: metadata.clone(),
            }]
        }
        ClusterSpecifier::WeightedClusters(weighted) => {
            weighted_clusters(&at.field("weighted_clusters"), weighted, &metadata)?
        }
    };
    let attempts = max_connect_attempts.as_ref().map_or(1, |attempts| attempts.value);
    if attempts == 0 {
        return Err(at.field("max_connect_attempts").reject("must be more than 0"));
    }
    let jitter = max_downstream_connection_duration_jitter_percentage.as_ref();
    let jitter = jitter.map_or(0.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&jitter) {
        return Err(at
            .field("max_downstream_connection_duration_jitter_percentage")
            .reject("0 to 100"));
    }
    if log_options.every.is_some() {
        return Err(at
            .field("access_log_options")
            .field("access_log_flush_interval")
            .reject("not supported"));
    }
    Ok(TcpProxy {
        stat_prefix: stat_prefix.clone(),
        max_duration_jitter: jitter,
        by_server_name: false,
        forward: None,
        clusters,
        metadata,
        hash_source: hash_source(at, hash_policy)?,
        idle_timeout: at.timeout("idle_timeout", idle_timeout, Some(Duration::from_secs(3600)))?,
        max_connect_attempts: attempts,
        max_duration: at.timeout(
            "max_downstream_connection_duration",
            max_downstream_connection_duration,
            None,
        )?,
        tunnel: match tunneling_config {
            None => None,
            Some(config) => Some(Box::new(tunnel::tunnel(&at.field("tunneling_config"), config)?)),
        },
        access_log: access_logs(at, "access_log", access_log)?,
        log_options,
        origin: None,
    })
}

fn log_options(at: &At<'_>, message: &pb::tcp_proxy::TcpAccessLogOptions) -> Result<LogOptions, Rejection> {
    let pb::tcp_proxy::TcpAccessLogOptions {
        access_log_flush_interval,
        flush_access_log_on_connected,
        flush_access_log_on_start,
    } = message;
    Ok(LogOptions {
        every: every(at, "access_log_flush_interval", access_log_flush_interval)?,
        at_start: *flush_access_log_on_start,
        when_connected: *flush_access_log_on_connected,
    })
}

fn weighted_clusters(
    at: &At<'_>,
    message: &pb::tcp_proxy::WeightedCluster,
    metadata: &Fields,
) -> Result<Vec<TcpCluster>, Rejection> {
    let pb::tcp_proxy::WeightedCluster { clusters } = message;
    let clusters = at.each("clusters", clusters, |at, cluster| {
        let pb::tcp_proxy::weighted_cluster::ClusterWeight {
            name,
            weight,
            metadata_match,
        } = cluster;
        let own = metadata::of(metadata_match.as_ref(), "envoy.lb");
        at.not_empty("name", name)?;
        if *weight == 0 {
            return Err(at.field("weight").reject("must be more than 0"));
        }
        Ok(TcpCluster {
            name: name.clone(),
            weight: *weight,
            metadata: metadata.clone().into_iter().chain(own).collect(),
        })
    })?;
    if clusters.is_empty() {
        return Err(at.field("clusters").reject("required"));
    }
    Ok(clusters)
}

fn hash_source(at: &At<'_>, policies: &[types::HashPolicy]) -> Result<bool, Rejection> {
    use types::hash_policy::{PolicySpecifier as P, SourceIp};
    let each = at.each("hash_policy", policies, |at, policy| {
        let types::HashPolicy { policy_specifier } = policy;
        match at.required("policy_specifier", policy_specifier)? {
            P::SourceIp(SourceIp {}) => Ok(()),
            P::FilterState(_) => Err(at.field("filter_state").reject("not supported")),
        }
    })?;
    Ok(!each.is_empty())
}
