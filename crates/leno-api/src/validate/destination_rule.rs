//! DestinationRule.

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::destination_rule::{
    ConnectionPool, DestinationRuleSpec, LoadBalancer, OutlierDetection, Tls, TlsMode, TrafficPolicy,
};

pub(super) fn check(check: &mut Check<'_>, spec: &DestinationRuleSpec) {
    if spec.host.starts_with('*') {
        check.not_served("spec.host", "a DestinationRule with a wildcard host");
    } else {
        check.host("spec.host", &spec.host);
    }
    check.export_to("spec.exportTo", &spec.export_to, false);
    traffic_policy(check, "spec.trafficPolicy", &spec.traffic_policy);
    for (i, subset) in spec.subsets.iter().enumerate() {
        let at = format!("spec.subsets[{i}]");
        if !names::is_host(&subset.name) || subset.name.contains('.') {
            let message = format!("{:?} is no name for a subset", subset.name);
            check.error(
                Code::BadName,
                format!("{at}.name"),
                message,
                "use letters, digits and dashes",
            );
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(check, &format!("{at}.trafficPolicy"), policy);
        }
    }
    let subsets = spec.subsets.iter().enumerate();
    check.distinct(
        "subset",
        subsets.map(|(i, s)| (format!("spec.subsets[{i}].name"), s.name.as_str())),
    );
}

fn traffic_policy(check: &mut Check<'_>, at: &str, policy: &TrafficPolicy) {
    balancer(check, at, policy.load_balancer.as_ref());
    pool(check, at, policy.connection_pool.as_ref());
    outlier(check, at, policy.outlier_detection.as_ref());
    tls(check, at, policy.tls.as_ref());
    for (i, port) in policy.port_level_settings.iter().enumerate() {
        let at = format!("{at}.portLevelSettings[{i}]");
        match port.port {
            Some(port) => check.port(format!("{at}.port.number"), port.number),
            None => check.error(
                Code::MissingField,
                &at,
                "portLevelSettings without port",
                "add port.number",
            ),
        }
        balancer(check, &at, port.load_balancer.as_ref());
        pool(check, &at, port.connection_pool.as_ref());
        outlier(check, &at, port.outlier_detection.as_ref());
        tls(check, &at, port.tls.as_ref());
    }
}

fn balancer(check: &mut Check<'_>, at: &str, balancer: Option<&LoadBalancer>) {
    let Some(balancer) = balancer else { return };
    if balancer.simple.is_some() && balancer.consistent_hash.is_some() {
        let message = "simple and consistentHash are given together";
        check.error(
            Code::BadCombination,
            format!("{at}.loadBalancer"),
            message,
            "keep one",
        );
    }
    let Some(hash) = &balancer.consistent_hash else {
        return;
    };
    let at = format!("{at}.loadBalancer.consistentHash");
    check.one_of(
        &at,
        &[
            ("httpHeaderName", hash.http_header_name.is_some()),
            ("httpCookie", hash.http_cookie.is_some()),
            ("useSourceIp", hash.use_source_ip == Some(true)),
            ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
        ],
    );
    if let Some(name) = &hash.http_header_name {
        check.header_name(format!("{at}.httpHeaderName"), name);
    }
    if let Some(cookie) = &hash.http_cookie
        && !names::is_token(&cookie.name)
    {
        check.error(
            Code::BadHeader,
            format!("{at}.httpCookie.name"),
            "not a cookie's name",
            "",
        );
    }
}

fn pool(check: &mut Check<'_>, at: &str, pool: Option<&ConnectionPool>) {
    let Some(pool) = pool else { return };
    let at = format!("{at}.connectionPool");
    check.positive(format!("{at}.tcp.connectTimeout"), pool.tcp.connect_timeout);
    check.positive(format!("{at}.http.idleTimeout"), pool.http.idle_timeout);
    let counts = [
        ("tcp.maxConnections", pool.tcp.max_connections, 1),
        (
            "http.http1MaxPendingRequests",
            pool.http.http1_max_pending_requests,
            0,
        ),
        ("http.http2MaxRequests", pool.http.http2_max_requests, 0),
        (
            "http.maxRequestsPerConnection",
            pool.http.max_requests_per_connection,
            0,
        ),
        ("http.maxRetries", pool.http.max_retries, 0),
    ];
    for (field, value, least) in counts {
        if let Some(value) = value {
            check.range(format!("{at}.{field}"), value, least..=i64::from(i32::MAX));
        }
    }
}

fn outlier(check: &mut Check<'_>, at: &str, outlier: Option<&OutlierDetection>) {
    let Some(outlier) = outlier else { return };
    let at = format!("{at}.outlierDetection");
    check.positive(format!("{at}.interval"), outlier.interval);
    check.positive(format!("{at}.baseEjectionTime"), outlier.base_ejection_time);
    for (field, value) in [
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ] {
        if let Some(value) = value {
            check.range(format!("{at}.{field}"), value, 0..=100);
        }
    }
    let counts = [
        ("consecutiveErrors", outlier.consecutive_errors),
        ("consecutive5xxErrors", outlier.consecutive_5xx_errors),
        ("consecutiveGatewayErrors", outlier.consecutive_gateway_errors),
    ];
    for (field, value) in counts {
        if let Some(value) = value {
            check.range(format!("{at}.{field}"), value, 0..=i64::from(u32::MAX));
        }
    }
}

fn tls(check: &mut Check<'_>, at: &str, tls: Option<&Tls>) {
    let Some(tls) = tls else { return };
    if tls.mode == TlsMode::Mutual {
        check.not_served(format!("{at}.tls.mode"), "tls.mode MUTUAL");
    }
    if let Some(sni) = &tls.sni {
        check.host(format!("{at}.tls.sni"), sni);
        if tls.mode != TlsMode::Simple {
            check.not_served(format!("{at}.tls.sni"), "sni with another mode than SIMPLE");
        }
    }
}
