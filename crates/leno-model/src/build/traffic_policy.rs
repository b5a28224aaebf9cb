//! Traffic policies: of a host, a subset or a port of a DestinationRule, already merged.

use std::time::Duration;

use leno_api::kinds::destination_rule::{
    self as api, H2Upgrade, ProxyProtocolVersion, SimpleBalancer, TlsMode as ApiTlsMode,
};

use super::{count, per_million, port};
use crate::policy::{
    ConnectionPool, Credentials, Distribute, HashTable, LoadBalancer, LocalityLb, Origination,
    OutlierDetection, ProxyProtocol, RetryBudget, TcpKeepalive, TlsMode, TrafficPolicy, Tunnel, Warmup,
};

pub(crate) fn traffic_policy(spec: &api::TrafficPolicy) -> TrafficPolicy {
    let whole = TrafficPolicy {
        tunnel: spec.tunnel.as_ref().and_then(tunnel),
        proxy_protocol: spec.proxy_protocol.map(|said| match said.version {
            ProxyProtocolVersion::V1 => ProxyProtocol::V1,
            ProxyProtocolVersion::V2 => ProxyProtocol::V2,
        }),
        retry_budget: spec.retry_budget.map(|said| RetryBudget {
            share: said.percent.map(per_million),
            least: said.min_retry_concurrency.map(count),
        }),
        ..TrafficPolicy::default()
    };
    let ports = spec.port_level_settings.iter().filter_map(|setting| {
        // Of these a port cannot say anything else.
        let policy = sections(
            whole.clone(),
            setting.load_balancer.as_ref(),
            setting.connection_pool.as_ref(),
            setting.outlier_detection.as_ref(),
            setting.tls.as_ref(),
        );
        Some((port(setting.port?.number)?, policy))
    });
    TrafficPolicy {
        ports: ports.collect(),
        ..sections(
            whole.clone(),
            spec.load_balancer.as_ref(),
            spec.connection_pool.as_ref(),
            spec.outlier_detection.as_ref(),
            spec.tls.as_ref(),
        )
    }
}

fn sections(
    whole: TrafficPolicy,
    load_balancer: Option<&api::LoadBalancer>,
    connection_pool: Option<&api::ConnectionPool>,
    outlier_detection: Option<&api::OutlierDetection>,
    tls: Option<&api::Tls>,
) -> TrafficPolicy {
    TrafficPolicy {
        balancer: load_balancer.and_then(balancer),
        table: load_balancer
            .and_then(|said| said.consistent_hash.as_ref())
            .map(table)
            .unwrap_or_default(),
        warmup: load_balancer.and_then(warmup),
        locality: load_balancer.and_then(|said| said.locality_lb_setting.as_ref().map(locality)),
        pool: connection_pool.map(pool).unwrap_or_default(),
        outlier: outlier_detection.map(outlier),
        tls: tls.map(self::tls),
        ..whole
    }
}

fn balancer(spec: &api::LoadBalancer) -> Option<LoadBalancer> {
    if let Some(hash) = &spec.consistent_hash {
        return match (
            &hash.http_header_name,
            &hash.http_cookie,
            &hash.http_query_parameter_name,
        ) {
            (Some(name), ..) => Some(LoadBalancer::HashHeader(name.clone())),
            (_, Some(cookie), _) => Some(LoadBalancer::HashCookie {
                name: cookie.name.clone(),
                path: cookie.path.clone(),
                ttl: cookie.ttl.map_or(Duration::ZERO, |ttl| ttl.0),
                attributes: cookie
                    .attributes
                    .iter()
                    .map(|one| (one.name.clone(), one.value.clone()))
                    .collect(),
            }),
            (_, _, Some(name)) => Some(LoadBalancer::HashQuery(name.clone())),
            _ => Some(LoadBalancer::HashSourceIp),
        };
    }
    match spec.simple? {
        SimpleBalancer::Unspecified => None,
        SimpleBalancer::Random => Some(LoadBalancer::Random),
        SimpleBalancer::Passthrough => Some(LoadBalancer::Passthrough),
        SimpleBalancer::RoundRobin => Some(LoadBalancer::RoundRobin),
        SimpleBalancer::LeastRequest | SimpleBalancer::LeastConn => Some(LoadBalancer::LeastRequest),
    }
}

fn table(spec: &api::ConsistentHash) -> HashTable {
    // As in Istio 0 is as good as nothing.
    let size = |said: Option<i64>| {
        said.and_then(|size| u64::try_from(size).ok())
            .filter(|size| *size > 0)
    };
    if let Some(maglev) = spec.maglev {
        return HashTable::Maglev {
            size: size(maglev.table_size),
        };
    }
    let ring = spec.ring_hash.and_then(|ring| ring.minimum_ring_size);
    match size(ring.or(spec.minimum_ring_size)) {
        Some(minimum) => HashTable::Ring { minimum },
        None => HashTable::default(),
    }
}

fn warmup(spec: &api::LoadBalancer) -> Option<Warmup> {
    let thousandths = |number: f64| (number.clamp(1.0, 1e6) * 1000.0).round() as u32;
    match (spec.warmup, spec.warmup_duration_secs) {
        (Some(said), _) => Some(Warmup {
            window: said.duration.0,
            minimum: per_million(said.minimum_percent.unwrap_or(10.0)),
            aggression: thousandths(said.aggression.unwrap_or(1.0)),
        }),
        (None, Some(window)) => Some(Warmup {
            window: window.0,
            minimum: per_million(10.0),
            aggression: 1000,
        }),
        (None, None) => None,
    }
}

pub(crate) fn locality(spec: &api::LocalityLb) -> LocalityLb {
    LocalityLb {
        enabled: spec.enabled.unwrap_or(true),
        distribute: spec
            .distribute
            .iter()
            .map(|said| Distribute {
                from: said.from.clone(),
                to: said
                    .to
                    .iter()
                    .map(|(name, share)| (name.clone(), count(*share)))
                    .collect(),
            })
            .collect(),
        failover: spec
            .failover
            .iter()
            .map(|said| (said.from.clone(), said.to.clone()))
            .collect(),
        priority: spec
            .failover_priority
            .iter()
            .map(|label| match label.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (label.clone(), None),
            })
            .collect(),
    }
}

/// Zero means "no limit of its own" in Istio.
fn pool(spec: &api::ConnectionPool) -> ConnectionPool {
    let limit = |number: Option<i64>| number.filter(|number| *number > 0).map(count);
    let (tcp, http) = (&spec.tcp, &spec.http);
    ConnectionPool {
        max_connections: limit(tcp.max_connections),
        connect_timeout: tcp.connect_timeout.map(|span| span.0),
        keepalive: tcp.tcp_keepalive.map(|said| TcpKeepalive {
            probes: limit(said.probes),
            time: said.time.map(|span| span.0),
            interval: said.interval.map(|span| span.0),
        }),
        max_connection_duration: tcp.max_connection_duration.map(|span| span.0),
        tcp_idle_timeout: tcp.idle_timeout.map(|span| span.0),
        http1_max_pending: limit(http.http1_max_pending_requests),
        http2_max_requests: limit(http.http2_max_requests),
        max_requests_per_connection: limit(http.max_requests_per_connection),
        max_retries: limit(http.max_retries),
        idle_timeout: http.idle_timeout.map(|span| span.0),
        http2_upgrade: match http.h2_upgrade_policy {
            Some(H2Upgrade::Upgrade) => Some(true),
            Some(H2Upgrade::DoNotUpgrade) => Some(false),
            Some(H2Upgrade::Default) | None => None,
        },
        client_protocol: http.use_client_protocol == Some(true),
        max_concurrent_streams: limit(http.max_concurrent_streams),
        http2_keepalive: http
            .http2_keep_alive
            .and_then(|said| Some((said.interval?.0, said.timeout?.0))),
    }
}

fn outlier(spec: &api::OutlierDetection) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: spec.consecutive_5xx_errors.or(spec.consecutive_errors).map(count),
        consecutive_gateway_errors: spec.consecutive_gateway_errors.map(count),
        split_local: spec.split_external_local_origin_errors == Some(true),
        consecutive_local: spec.consecutive_local_origin_failures.map(count),
        interval: spec.interval.map(|span| span.0),
        base_ejection_time: spec.base_ejection_time.map(|span| span.0),
        max_ejection_percent: spec.max_ejection_percent.map(count),
        min_health_percent: spec.min_health_percent.map(count),
    }
}

fn tls(spec: &api::Tls) -> TlsMode {
    let text = |said: &Option<String>| said.clone().filter(|text| !text.is_empty());
    let sni = text(&spec.sni);
    let mutual = match spec.mode {
        ApiTlsMode::Disable => return TlsMode::Disable,
        ApiTlsMode::IstioMutual => {
            let names = spec.subject_alt_names.clone();
            return TlsMode::IstioMutual { sni, names };
        }
        ApiTlsMode::Simple => false,
        ApiTlsMode::Mutual => true,
    };
    let credentials = match text(&spec.credential_name) {
        Some(name) => Credentials::Secret(name),
        None => Credentials::Files {
            certificate: text(&spec.client_certificate)
                .zip(text(&spec.private_key))
                .filter(|_| mutual),
            roots: text(&spec.ca_certificates).filter(|roots| roots != SYSTEM_ROOTS),
            revoked: text(&spec.ca_crl),
        },
    };
    TlsMode::Originate(Box::new(Origination {
        sni,
        mutual,
        names: spec.subject_alt_names.clone(),
        unverified: spec.insecure_skip_verify == Some(true),
        credentials,
    }))
}

/// Istio's word for the machine's own.
const SYSTEM_ROOTS: &str = "system";

fn tunnel(spec: &api::Tunnel) -> Option<Tunnel> {
    Some(Tunnel {
        post: spec.protocol.as_deref() == Some("POST"),
        host: spec.target_host.clone(),
        port: port(spec.target_port)?,
    })
}
