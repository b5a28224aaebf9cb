//! `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.

use std::time::Duration;

use super::{TcpCluster, TcpHash, TcpProxy, TlvMerging, TlvValue, UpstreamTlvs, tunnel};
use crate::compile::Rejection;
use crate::compile::access_log::{LogOptions, access_logs, every};
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::config_source::{self, Source};
use crate::compile::filter_state::text_format;
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::{core, tcp_proxy as pb, types};

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
    no_effect!(at, "nor has Envoy it"; downstream_idle_timeout, upstream_idle_timeout);
    no_effect!(at, "a connection that is drained ends by itself, or when the drain is over"; check_drain_close);
    let early = max_early_data_bytes.as_ref().map(|most| most.value);
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
    Ok(TcpProxy {
        stat_prefix: stat_prefix.clone(),
        max_duration_jitter: jitter,
        by_server_name: false,
        forward: None,
        clusters,
        metadata,
        hash: hash(at, hash_policy)?,
        backoff: match backoff_options {
            None => None,
            Some(options) => Some(backoff(&at.field("backoff_options"), options)?),
        },
        after_data: after_data(at, *upstream_connect_mode, early)?,
        tlvs: tlvs(at, proxy_protocol_tlvs, *proxy_protocol_tlv_merge_policy)?,
        on_demand: match on_demand {
            None => None,
            Some(on_demand) => self::on_demand(&at.field("on_demand"), on_demand)?,
        },
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

fn hash(at: &At<'_>, policies: &[types::HashPolicy]) -> Result<Option<TcpHash>, Rejection> {
    use types::hash_policy::{FilterState, PolicySpecifier as P, SourceIp};
    let each = at.each("hash_policy", policies, |at, policy| {
        let types::HashPolicy { policy_specifier } = policy;
        match at.required("policy_specifier", policy_specifier)? {
            P::SourceIp(SourceIp {}) => Ok(TcpHash::Source),
            P::FilterState(FilterState { key }) => {
                at.field("filter_state").not_empty("key", key)?;
                Ok(TcpHash::State(key.clone()))
            }
        }
    })?;
    if each.len() > 1 {
        return Err(at.field("hash_policy").reject("one at most"));
    }
    Ok(each.into_iter().next())
}

fn backoff(at: &At<'_>, message: &core::BackoffStrategy) -> Result<(Duration, Duration), Rejection> {
    let core::BackoffStrategy {
        base_interval,
        max_interval,
    } = message;
    at.required("base_interval", base_interval)?;
    let base = at.positive("base_interval", base_interval, Duration::ZERO)?;
    let most = at.positive("max_interval", max_interval, base.saturating_mul(10))?;
    if most < base {
        return Err(at.field("max_interval").reject("less than the base interval"));
    }
    Ok((base, most))
}

/// With TLS leno connects once hands are shaken, whatever the mode: it never connects before it has a chain.
fn after_data(at: &At<'_>, mode: i32, early: Option<u32>) -> Result<Option<usize>, Rejection> {
    let mode = at.choice("upstream_connect_mode", mode)?;
    match (mode, early) {
        (pb::UpstreamConnectMode::Immediate, _) => Ok(None),
        (_, None) => Err(at
            .field("max_early_data_bytes")
            .reject("required with this upstream_connect_mode")),
        (pb::UpstreamConnectMode::OnDownstreamTlsHandshake, Some(_)) => Ok(None),
        (pb::UpstreamConnectMode::OnDownstreamData, Some(most)) => {
            Ok(Some(usize::try_from(most).unwrap_or(usize::MAX).max(1)))
        }
    }
}

fn tlvs(
    at: &At<'_>,
    entries: &[core::TlvEntry],
    policy: i32,
) -> Result<Option<Box<UpstreamTlvs>>, Rejection> {
    use pb::ProxyProtocolTlvMergePolicy as Policy;
    let merging = match at.choice("proxy_protocol_tlv_merge_policy", policy)? {
        Policy::AddIfAbsent => TlvMerging::IfAbsent,
        Policy::OverwriteByTypeIfExistsOrAdd => TlvMerging::Overwriting,
        Policy::AppendIfExistsOrAdd => TlvMerging::Appending,
    };
    let added = at.each("proxy_protocol_tlvs", entries, |at, entry| {
        let core::TlvEntry {
            r#type,
            value,
            format_string,
        } = entry;
        let kind =
            u8::try_from(*r#type).map_err(|_| at.field("type").reject(format!("0 to 255, not {type}")))?;
        let value = match format_string {
            None => TlvValue::Fixed(value.clone()),
            Some(_) if !value.is_empty() => {
                return Err(at
                    .field("format_string")
                    .reject("value and format_string exclude each other"));
            }
            Some(format) => TlvValue::Format(text_format(&at.field("format_string"), format)?),
        };
        Ok((kind, value))
    })?;
    Ok((!added.is_empty()).then(|| Box::new(UpstreamTlvs { added, merging })))
}

fn on_demand(
    at: &At<'_>,
    message: &pb::tcp_proxy::OnDemand,
) -> Result<Option<Box<(Source, Duration)>>, Rejection> {
    let pb::tcp_proxy::OnDemand {
        odcds_config,
        resources_locator,
        timeout,
    } = message;
    refuse!(at; resources_locator);
    // Envoy's default, as for requests.
    let timeout = at
        .duration("timeout", timeout)?
        .unwrap_or(Duration::from_secs(60));
    Ok(match odcds_config {
        None => None,
        Some(_) => {
            let source = config_source::config_source(&at.field("odcds_config"), odcds_config)?;
            Some(Box::new((source, timeout)))
        }
    })
}
