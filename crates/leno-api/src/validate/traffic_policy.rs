//! DestinationRule: traffic policies, of the host, of a subset, of a port.

use super::{Check, locality, names};
use crate::codes::Code;
use crate::kinds::destination_rule::{
    ConnectionPool, ConsistentHash, H2Upgrade, LoadBalancer, OutlierDetection, SimpleBalancer, Tls, TlsMode,
    TrafficPolicy, Tunnel,
};

pub(super) fn check(check: &mut Check<'_>, at: &str, policy: &TrafficPolicy) {
    balancer(
        check,
        at,
        policy.load_balancer.as_ref(),
        policy.outlier_detection.as_ref(),
    );
    pool(check, at, policy.connection_pool.as_ref());
    outlier(check, at, policy.outlier_detection.as_ref());
    tls(check, at, policy.tls.as_ref());
    tunnel(check, at, policy.tunnel.as_ref());
    if let Some(budget) = &policy.retry_budget {
        let at = format!("{at}.retryBudget");
        if let Some(percent) = budget.percent {
            check.percent(format!("{at}.percent"), percent);
        }
        if let Some(least) = budget.min_retry_concurrency {
            check.range(
                format!("{at}.minRetryConcurrency"),
                least,
                0..=i64::from(u32::MAX),
            );
        }
    }
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
        balancer(
            check,
            &at,
            port.load_balancer.as_ref(),
            port.outlier_detection.as_ref(),
        );
        pool(check, &at, port.connection_pool.as_ref());
        outlier(check, &at, port.outlier_detection.as_ref());
        tls(check, &at, port.tls.as_ref());
    }
}

fn balancer(
    check: &mut Check<'_>,
    at: &str,
    balancer: Option<&LoadBalancer>,
    outlier: Option<&OutlierDetection>,
) {
    let Some(balancer) = balancer else { return };
    let at = format!("{at}.loadBalancer");
    if balancer.simple.is_some() && balancer.consistent_hash.is_some() {
        let message = "simple and consistentHash are given together";
        check.error(Code::BadCombination, &at, message, "keep one");
    }
    warmup(check, &at, balancer);
    if let Some(setting) = &balancer.locality_lb_setting {
        locality::check(check, &format!("{at}.localityLbSetting"), setting);
        let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
        if fails_over && outlier.is_none() {
            check.warning(
                Code::NoEffect,
                format!("{at}.localityLbSetting"),
                "without outlierDetection nothing tells that endpoints have failed: there is no failover",
                "add outlierDetection beside loadBalancer",
            );
        }
    }
    if let Some(hash) = &balancer.consistent_hash {
        consistent_hash(check, &format!("{at}.consistentHash"), hash);
    }
}

fn warmup(check: &mut Check<'_>, at: &str, balancer: &LoadBalancer) {
    if balancer.warmup.is_some() && balancer.warmup_duration_secs.is_some() {
        let message = "warmup and its old form warmupDurationSecs are given together";
        check.error(Code::BadCombination, at, message, "keep warmup");
    }
    let warms = balancer.warmup.is_some() || balancer.warmup_duration_secs.is_some();
    let takes_it = matches!(
        balancer.simple,
        None | Some(
            SimpleBalancer::Unspecified
                | SimpleBalancer::RoundRobin
                | SimpleBalancer::LeastRequest
                | SimpleBalancer::LeastConn
        )
    );
    if warms && (!takes_it || balancer.consistent_hash.is_some()) {
        check.warning(
            Code::NoEffect,
            at,
            "only ROUND_ROBIN and LEAST_REQUEST warm endpoints up",
            "leave warmup out, or balance by one of them",
        );
    }
    check.positive(format!("{at}.warmupDurationSecs"), balancer.warmup_duration_secs);
    let Some(warmup) = &balancer.warmup else { return };
    let at = format!("{at}.warmup");
    check.positive(format!("{at}.duration"), Some(warmup.duration));
    if let Some(percent) = warmup.minimum_percent {
        check.percent(format!("{at}.minimumPercent"), percent);
    }
    if warmup
        .aggression
        .is_some_and(|aggression| aggression.is_nan() || aggression < 1.0)
    {
        let message = "an aggression below 1";
        check.error(
            Code::OutOfRange,
            format!("{at}.aggression"),
            message,
            "1 is linear, more is faster",
        );
    }
}

/// What Envoy holds, and so leno.
const LARGEST_RING: i64 = 8_388_608;
const LARGEST_TABLE: i64 = 5_000_011;

fn consistent_hash(check: &mut Check<'_>, at: &str, hash: &ConsistentHash) {
    check.one_of(
        at,
        &[
            ("httpHeaderName", hash.http_header_name.is_some()),
            ("httpCookie", hash.http_cookie.is_some()),
            ("useSourceIp", hash.use_source_ip == Some(true)),
            ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
        ],
    );
    let tables = [
        hash.ring_hash.is_some(),
        hash.maglev.is_some(),
        hash.minimum_ring_size.is_some(),
    ];
    if tables.iter().filter(|given| **given).count() > 1 {
        let message = "more than one of ringHash, maglev and the old minimumRingSize is given";
        check.error(Code::BadCombination, at, message, "keep one");
    }
    for (field, size) in [
        ("minimumRingSize", hash.minimum_ring_size),
        (
            "ringHash.minimumRingSize",
            hash.ring_hash.and_then(|ring| ring.minimum_ring_size),
        ),
    ] {
        if let Some(size) = size {
            check.range(format!("{at}.{field}"), size, 0..=LARGEST_RING);
        }
    }
    if let Some(size) = hash.maglev.and_then(|maglev| maglev.table_size) {
        let at = format!("{at}.maglev.tableSize");
        check.range(&at, size, 0..=LARGEST_TABLE);
        if (1..=LARGEST_TABLE).contains(&size) && !is_prime(size) {
            let message = format!("{size} is not a prime number, which Maglev's table needs");
            check.error(
                Code::WrongValue,
                at,
                message,
                "such as 65537, which is the default",
            );
        }
    }
    if let Some(name) = &hash.http_header_name {
        check.header_name(format!("{at}.httpHeaderName"), name);
    }
    if let Some(cookie) = &hash.http_cookie {
        let at = format!("{at}.httpCookie");
        let names = std::iter::once((format!("{at}.name"), &cookie.name));
        let attributes = cookie.attributes.iter().enumerate();
        let attributes = attributes.map(|(i, one)| (format!("{at}.attributes[{i}].name"), &one.name));
        for (at, name) in names.chain(attributes) {
            if !names::is_token(name) {
                let message = format!("{name:?} is not the name of a cookie or of its attribute");
                check.error(Code::BadHeader, at, message, "");
            }
        }
        for (i, attribute) in cookie.attributes.iter().enumerate() {
            let at = format!("{at}.attributes[{i}].value");
            check.header_value(&at, &attribute.value);
            if attribute.value.contains(';') {
                check.error(Code::BadHeader, at, "a semicolon ends an attribute", "");
            }
        }
    }
}

fn is_prime(number: i64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number > 1 && divisors.all(|divisor| number % divisor != 0)
}

fn pool(check: &mut Check<'_>, at: &str, pool: Option<&ConnectionPool>) {
    let Some(pool) = pool else { return };
    let at = format!("{at}.connectionPool");
    check.positive(format!("{at}.tcp.connectTimeout"), pool.tcp.connect_timeout);
    check.positive(
        format!("{at}.tcp.maxConnectionDuration"),
        pool.tcp.max_connection_duration,
    );
    check.positive(format!("{at}.http.idleTimeout"), pool.http.idle_timeout);
    if let Some(keepalive) = &pool.tcp.tcp_keepalive {
        let at = format!("{at}.tcp.tcpKeepalive");
        check.whole_seconds(format!("{at}.time"), keepalive.time);
        check.whole_seconds(format!("{at}.interval"), keepalive.interval);
        if let Some(probes) = keepalive.probes {
            check.range(format!("{at}.probes"), probes, 0..=i64::from(i32::MAX));
        }
    }
    if let Some(keepalive) = &pool.http.http2_keep_alive {
        let at = format!("{at}.http.http2KeepAlive");
        check.positive(format!("{at}.interval"), keepalive.interval);
        check.positive(format!("{at}.timeout"), keepalive.timeout);
        if keepalive.interval.is_some() != keepalive.timeout.is_some() {
            check.error(
                Code::MissingField,
                &at,
                "interval and timeout go together",
                "give both",
            );
        }
    }
    if pool.http.use_client_protocol == Some(true) && pool.http.h2_upgrade_policy == Some(H2Upgrade::Upgrade)
    {
        check.error(
            Code::BadCombination,
            format!("{at}.http"),
            "h2UpgradePolicy UPGRADE and useClientProtocol say the opposite of each other",
            "keep one",
        );
    }
    let counts = [
        ("tcp.maxConnections", pool.tcp.max_connections, 0),
        ("http.maxConcurrentStreams", pool.http.max_concurrent_streams, 0),
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
        (
            "consecutiveLocalOriginFailures",
            outlier.consecutive_local_origin_failures,
        ),
    ];
    for (field, value) in counts {
        if let Some(value) = value {
            check.range(format!("{at}.{field}"), value, 0..=i64::from(u32::MAX));
        }
    }
    if outlier
        .consecutive_local_origin_failures
        .is_some_and(|count| count > 0)
        && outlier.split_external_local_origin_errors != Some(true)
    {
        check.error(
            Code::BadCombination,
            format!("{at}.consecutiveLocalOriginFailures"),
            "failures to connect are counted by themselves only where they are told apart",
            "add splitExternalLocalOriginErrors: true",
        );
    }
}

fn tls(check: &mut Check<'_>, at: &str, tls: Option<&Tls>) {
    let Some(tls) = tls else { return };
    let at = format!("{at}.tls");
    if let Some(sni) = tls.sni.as_deref().filter(|sni| !sni.is_empty()) {
        check.host(format!("{at}.sni"), sni);
    }
    let given = |file: &Option<String>| file.as_ref().is_some_and(|text| !text.is_empty());
    let files = [
        ("clientCertificate", given(&tls.client_certificate)),
        ("privateKey", given(&tls.private_key)),
        ("caCertificates", given(&tls.ca_certificates)),
        ("caCrl", given(&tls.ca_crl)),
    ];
    let named = given(&tls.credential_name);
    match tls.mode {
        TlsMode::Disable | TlsMode::IstioMutual => {
            let mode = match tls.mode {
                TlsMode::Disable => "DISABLE",
                _ => "ISTIO_MUTUAL, whose certificates are the mesh's",
            };
            for (field, _) in files.iter().filter(|(_, given)| *given) {
                let message = format!("{field} goes with SIMPLE and MUTUAL, not with {mode}");
                check.error(
                    Code::BadCombination,
                    format!("{at}.{field}"),
                    message,
                    "leave it out",
                );
            }
            if named {
                let message = format!("credentialName goes with SIMPLE and MUTUAL, not with {mode}");
                check.error(
                    Code::BadCombination,
                    format!("{at}.credentialName"),
                    message,
                    "leave it out",
                );
            }
        }
        TlsMode::Simple | TlsMode::Mutual if named => {
            for (field, _) in files.iter().filter(|(_, given)| *given) {
                let message = format!("{field} and credentialName are given together");
                check.error(
                    Code::BadCombination,
                    format!("{at}.{field}"),
                    message,
                    "keep credentialName, or the files",
                );
            }
        }
        TlsMode::Mutual => {
            for (field, _) in files.iter().take(2).filter(|(_, given)| !given) {
                check.error(
                    Code::MissingField,
                    &at,
                    format!("MUTUAL without {field}"),
                    "give clientCertificate and privateKey, or credentialName",
                );
            }
        }
        TlsMode::Simple => {
            for (field, _) in files.iter().take(2).filter(|(_, given)| *given) {
                let message = format!("{field} is without effect in mode SIMPLE");
                check.warning(
                    Code::NoEffect,
                    format!("{at}.{field}"),
                    message,
                    "use mode MUTUAL to show a certificate",
                );
            }
        }
    }
    if tls.insecure_skip_verify == Some(true) && !tls.subject_alt_names.is_empty() {
        check.error(
            Code::BadCombination,
            format!("{at}.subjectAltNames"),
            "with insecureSkipVerify the other side may be anybody",
            "keep one of them",
        );
    }
    for (i, name) in tls.subject_alt_names.iter().enumerate() {
        if name.is_empty() {
            check.error(
                Code::Empty,
                format!("{at}.subjectAltNames[{i}]"),
                "an empty name would be any",
                "",
            );
        }
    }
}

fn tunnel(check: &mut Check<'_>, at: &str, tunnel: Option<&Tunnel>) {
    let Some(tunnel) = tunnel else { return };
    let at = format!("{at}.tunnel");
    if let Some(protocol) = tunnel.protocol.as_deref()
        && !matches!(protocol, "" | "CONNECT" | "POST")
    {
        let message = format!("{protocol:?} is no way through a proxy");
        check.error(
            Code::WrongValue,
            format!("{at}.protocol"),
            message,
            "use CONNECT or POST",
        );
    }
    if tunnel.target_host.parse::<std::net::IpAddr>().is_err() {
        check.host(format!("{at}.targetHost"), &tunnel.target_host);
    }
    check.port(format!("{at}.targetPort"), tunnel.target_port);
}

#[cfg(test)]
mod tests {
    use super::is_prime;

    #[test]
    fn primes_are_told_from_their_neighbours() {
        assert!([2, 3, 65_537, 5_000_011].into_iter().all(is_prime));
        assert!(![0, 1, 4, 65_536, 5_000_009].into_iter().any(is_prime));
    }
}
