//! Limits, ejection and protocol options of a cluster: what DestinationRule calls connection pool and outlier
//! detection.

use std::collections::HashMap;
use std::time::Duration;

use leno_model::policy::{RetryBudget, TcpKeepalive};
use leno_model::{ConnectionPool, OutlierDetection};
use leno_proto::ToAny;

use super::UpstreamHttp;
use crate::parts::{duration, u32_value};
use crate::pb::cluster::circuit_breakers::{Thresholds, thresholds};
use crate::pb::cluster::{self, CircuitBreakers, UpstreamConnectionOptions};
use crate::pb::protobuf::Any;
use crate::pb::upstream_http::HttpProtocolOptions;
use crate::pb::upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig;
use crate::pb::upstream_http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use crate::pb::{core, types};

/// Istio lifts Envoy's default limits: what nobody asked for must not refuse anything.
pub(super) fn circuit_breakers(
    pool: &ConnectionPool,
    budget: Option<&RetryBudget>,
) -> Option<CircuitBreakers> {
    let limit = |said: Option<u32>| u32_value(said.unwrap_or(u32::MAX));
    Some(CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(pool.max_connections),
            max_pending_requests: limit(pool.http1_max_pending),
            max_requests: limit(pool.http2_max_requests),
            max_retries: limit(pool.max_retries),
            retry_budget: budget.map(|said| thresholds::RetryBudget {
                budget_percent: said.share.map(|share| types::Percent {
                    value: f64::from(share) / 10_000.0,
                }),
                min_retry_concurrency: said.least.and_then(u32_value),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Istio's reading: only the counters that are named eject, 0 switches one off, success rates never do.
pub(super) fn outlier_detection(said: &OutlierDetection) -> cluster::OutlierDetection {
    let enforced = |count: Option<u32>| count.and_then(|count| u32_value(if count > 0 { 100 } else { 0 }));
    let counted = |count: Option<u32>| count.filter(|count| *count > 0).and_then(u32_value);
    let local = said
        .consecutive_local
        .filter(|count| said.split_local && *count > 0);
    cluster::OutlierDetection {
        consecutive_5xx: counted(said.consecutive_5xx),
        enforcing_consecutive_5xx: enforced(said.consecutive_5xx),
        consecutive_gateway_failure: counted(said.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforced(said.consecutive_gateway_errors),
        enforcing_success_rate: u32_value(0),
        split_external_local_origin_errors: said.split_local,
        consecutive_local_origin_failure: local.and_then(u32_value),
        enforcing_consecutive_local_origin_failure: local.and_then(|_| u32_value(100)),
        enforcing_local_origin_success_rate: said.split_local.then_some(0).and_then(u32_value),
        interval: said.interval.and_then(duration),
        base_ejection_time: said.base_ejection_time.and_then(duration),
        max_ejection_percent: said.max_ejection_percent.and_then(u32_value),
        ..Default::default()
    }
}

/// Below this share of healthy endpoints all are used. Istio's is 0 where outliers are ejected: else ejecting half
/// of them would bring all of them back.
pub(super) fn panic_threshold(outlier: Option<&OutlierDetection>) -> Option<types::Percent> {
    outlier.map(|said| types::Percent {
        value: said.min_health_percent.unwrap_or(0).into(),
    })
}

/// `typed_extension_protocol_options`; empty where no HTTP goes.
pub(super) fn http_options(http: UpstreamHttp, pool: &ConnectionPool) -> HashMap<String, Any> {
    let protocol = match http {
        UpstreamHttp::None => return HashMap::new(),
        UpstreamHttp::Http1 => UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::HttpProtocolOptions(Default::default())),
        }),
        UpstreamHttp::Http2 => UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2(pool))),
        }),
        UpstreamHttp::AsDownstream | UpstreamHttp::Detected => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Default::default()),
                http2_protocol_options: Some(http2(pool)),
                ..Default::default()
            })
        }
    };
    let limits = core::HttpProtocolOptions {
        idle_timeout: pool.idle_timeout.and_then(duration),
        max_requests_per_connection: pool.max_requests_per_connection.and_then(u32_value),
        max_connection_duration: pool.max_connection_duration.and_then(duration),
        ..Default::default()
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: (limits != Default::default()).then_some(limits),
        upstream_protocol_options: Some(protocol),
        ..Default::default()
    };
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    HashMap::from([(name.to_owned(), options.to_any())])
}

fn http2(pool: &ConnectionPool) -> core::Http2ProtocolOptions {
    core::Http2ProtocolOptions {
        max_concurrent_streams: pool.max_concurrent_streams.and_then(u32_value),
        connection_keepalive: pool
            .http2_keepalive
            .map(|(interval, timeout)| core::KeepaliveSettings {
                interval: duration(interval),
                timeout: duration(timeout),
                ..Default::default()
            }),
        ..Default::default()
    }
}

pub(super) fn keepalive(said: &TcpKeepalive) -> UpstreamConnectionOptions {
    let seconds = |span: Option<Duration>| {
        span.and_then(|span| u32_value(u32::try_from(span.as_secs()).unwrap_or(u32::MAX)))
    };
    UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: said.probes.and_then(u32_value),
            keepalive_time: seconds(said.time),
            keepalive_interval: seconds(said.interval),
        }),
        ..Default::default()
    }
}
