//! What of a statistic's name is told apart from it, as tags.

use leno_engine::compile::stats::{StatsConfig, Tag, TagValue};

/// A name without what its tags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    pub name: String,
    /// By Envoy's names, with dots.
    pub tags: Vec<(String, String)>,
}

/// What stands in front of names, and whose the rest is.
const SCOPES: [(&str, &str); 4] = [
    ("cluster.", "envoy.cluster_name"),
    ("http.", "envoy.http_conn_manager_prefix"),
    ("listener.", "envoy.listener_address"),
    ("tcp.", "envoy.tcp_prefix"),
];

const CODE: &str = "envoy.response_code";
const CLASS: &str = "envoy.response_code_class";

/// What may stand between whose it is and what it is.
const GROUPS: [&str; 18] = [
    ".circuit_breakers.default",
    ".circuit_breakers.high",
    ".health_check",
    ".outlier_detection",
    ".lb_orca_oob",
    ".client_ssl_socket_factory",
    ".server_ssl_socket_factory",
    ".tracing",
    ".external",
    ".internal",
    ".canary",
    ".retry",
    ".fault",
    ".cors",
    ".rbac",
    ".ssl",
    ".http1",
    ".http2",
];

/// What of a connection's TLS is counted by a name: what it is a name of, and the tag for it, of a listener and of a cluster.
const OF_TLS: [(&str, &str, &str); 4] = [
    ("ciphers", "envoy.ssl_cipher", "cipher_suite"),
    ("curves", "envoy.ssl_curve", "envoy.ssl_curve"),
    ("versions", "envoy.ssl_version", "envoy.ssl_version"),
    ("sigalgs", "envoy.ssl_sigalg", "envoy.ssl_sigalg"),
];

/// What filters count by a prefix of their own: what stands in front of it, what behind, and its tag.
const OF_FILTERS: [(&str, &str, &str); 4] = [
    ("connection_limit.", "", "envoy.connection_limit_prefix"),
    ("local_rate_limit.", "", "envoy.local_network_ratelimit_prefix"),
    ("", "http_local_rate_limit.", "envoy.local_http_ratelimit_prefix"),
    ("", "rbac.", "envoy.rbac_prefix"),
];

impl Tagged {
    pub fn of(name: &str, config: &StatsConfig) -> Self {
        let mut tags = Vec::new();
        let rest = custom(name, &config.tags, &mut tags);
        let has = |tag: &str| {
            let mut configured = config.tags.iter();
            config.default_tags || configured.any(|one| one.name == tag && one.value == TagValue::Default)
        };
        Self {
            name: defaults(&rest, has, &mut tags),
            tags,
        }
    }
}

/// Each looks at the whole name; what they take is taken out when all have looked.
fn custom(name: &str, config: &[Tag], tags: &mut Vec<(String, String)>) -> String {
    let mut taken: Vec<std::ops::Range<usize>> = Vec::new();
    for Tag { name: tag, value } in config {
        match value {
            TagValue::Default => {}
            TagValue::Fixed(value) => tags.push((tag.clone(), value.clone())),
            TagValue::Taken(regex) => {
                let Some(found) = regex.captures(name) else {
                    continue;
                };
                let Some(out) = found.get(1) else { continue };
                let value = found.get(2).unwrap_or(out);
                tags.push((tag.clone(), value.as_str().to_owned()));
                taken.push(out.range());
            }
        }
    }
    if taken.is_empty() {
        return name.to_owned();
    }
    let kept = name.char_indices();
    let kept = kept.filter(|(at, _)| !taken.iter().any(|range| range.contains(at)));
    kept.map(|(_, c)| c).collect()
}

/// Unlike Envoy's expressions, which take the first word, a cluster's name is taken whole, whatever dots are in it.
fn defaults(name: &str, has: impl Fn(&str) -> bool, tags: &mut Vec<(String, String)>) -> String {
    let mut rest = name.to_owned();
    if let Some(of_host) = name.strip_prefix("vhost.") {
        return of_virtual_host(of_host, has, tags);
    }
    if let Some(named) = deeper(name, &has, tags) {
        return named;
    }
    for (scope, label) in SCOPES {
        let split = name.strip_prefix(scope).and_then(split);
        let Some((whose, stat)) = split else { continue };
        let mut of_stat = stat.to_owned();
        if let Some((tag, value, without)) = status(stat).filter(|(tag, ..)| has(tag)) {
            tags.push((tag.to_owned(), value.to_owned()));
            of_stat = without;
        }
        if has(label) {
            tags.push((label.to_owned(), whose.to_owned()));
            rest = format!("{scope}{of_stat}");
        } else {
            rest = format!("{scope}{whose}.{of_stat}");
        }
    }
    rest
}

/// What has more in it than whose it is and what it is.
fn deeper(name: &str, has: &impl Fn(&str) -> bool, tags: &mut Vec<(String, String)>) -> Option<String> {
    let mut tag = |label: &str, value: &str| {
        let has = has(label);
        if has {
            tags.push((label.to_owned(), value.to_owned()));
        }
        has
    };
    if let Some(of_listener) = name.strip_prefix("listener.")
        && let Some((before, stat)) = of_listener.rsplit_once('.')
        && let Some((listener, prefix)) = before.rsplit_once(".http.")
    {
        let stat = match status(stat) {
            Some((label, value, without)) if tag(label, value) => without,
            _ => stat.to_owned(),
        };
        let of_manager = tag("envoy.http_conn_manager_prefix", prefix);
        let prefix = if of_manager {
            String::new()
        } else {
            format!("{prefix}.")
        };
        let of_listener = tag("envoy.listener_address", listener);
        let listener = if of_listener {
            String::new()
        } else {
            format!("{listener}.")
        };
        return Some(format!("listener.{listener}http.{prefix}{stat}"));
    }
    let (scope, label) = SCOPES
        .into_iter()
        .find(|(scope, _)| name.starts_with(scope))
        .unzip();
    if let (Some(scope), Some(label)) = (scope, label) {
        let inside = name.strip_prefix(scope)?;
        for (what, of_listener, of_cluster) in OF_TLS {
            let Some((whose, value)) = inside.rsplit_once(&format!(".ssl.{what}.")) else {
                continue;
            };
            let of_tls = if scope == "cluster." {
                of_cluster
            } else {
                of_listener
            };
            let value = if tag(of_tls, value) {
                String::new()
            } else {
                format!(".{value}")
            };
            let whose = if tag(label, whose) {
                String::new()
            } else {
                format!("{whose}.")
            };
            return Some(format!("{scope}{whose}ssl.{what}{value}"));
        }
        if let Some((before, route)) = inside.rsplit_once('.').and_then(|(rest, stat)| {
            let (whose, table) = rest.rsplit_once(".rds.")?;
            Some((whose, (table, stat)))
        }) {
            let (table, stat) = route;
            let table = if tag("envoy.rds_route_config", table) {
                String::new()
            } else {
                format!("{table}.")
            };
            let whose = if tag(label, before) {
                String::new()
            } else {
                format!("{before}.")
            };
            return Some(format!("{scope}{whose}rds.{table}{stat}"));
        }
        // `rbac.PREFIX.policy.NAME.STAT`; PREFIX and the policy may be left out.
        if let Some((whose, rest)) = inside.rsplit_once(".rbac.").filter(|_| scope == "http.") {
            let (before, stat) = rest.rsplit_once('.').unwrap_or(("", rest));
            let (prefix, policy) = match before.split_once("policy.") {
                Some((prefix, policy)) => (prefix.trim_end_matches('.'), Some(policy)),
                None => (before, None),
            };
            let mut named = String::new();
            if let Some(policy) = policy {
                named.push_str("policy.");
                if !tag("envoy.rbac_policy_name", policy) {
                    named = format!("{named}{policy}.");
                }
            }
            if !prefix.is_empty() && !tag("envoy.rbac_http_prefix", prefix) {
                named = format!("{prefix}.{named}");
            }
            let whose = if tag(label, whose) {
                String::new()
            } else {
                format!("{whose}.")
            };
            return Some(format!("http.{whose}rbac.{named}{stat}"));
        }
        // FROM and TO stay.
        let zones = inside.rsplit_once(".zone.").filter(|_| scope == "cluster.");
        if let Some((whose, rest)) = zones.filter(|(_, rest)| rest.split('.').count() == 3) {
            let (between, stat) = rest.rsplit_once('.')?;
            let stat = match status(stat) {
                Some((label, value, without)) if tag(label, value) => without,
                _ => stat.to_owned(),
            };
            let whose = if tag(label, whose) {
                String::new()
            } else {
                format!("{whose}.")
            };
            return Some(format!("cluster.{whose}zone.{between}.{stat}"));
        }
        return None;
    }
    if let Some((version, stat)) = name
        .strip_prefix("proxy_proto.versions.")
        .and_then(|rest| rest.split_once('.'))
        && tag("envoy.proxy_protocol_version", version)
    {
        return Some(format!("proxy_proto.{stat}"));
    }
    for (front, behind, label) in OF_FILTERS {
        let Some(rest) = name.strip_prefix(front) else {
            continue;
        };
        let found = match behind {
            "" => rest.rsplit_once('.'),
            _ => rest.split_once(&format!(".{behind}")),
        };
        if let Some((whose, stat)) = found
            && tag(label, whose)
        {
            return Some(format!("{front}{behind}{stat}"));
        }
    }
    None
}

/// `upstream_rq_200`, `downstream_rq_2xx`: the tag, its value, and the name without it.
fn status(stat: &str) -> Option<(&'static str, &str, String)> {
    let (stat, code) = stat.rsplit_once('_').filter(|(stat, _)| stat.ends_with("rq"))?;
    let digits = code.bytes().filter(u8::is_ascii_digit).count();
    match code.strip_suffix("xx").filter(|_| digits == 1) {
        Some(class) => Some((CLASS, class, format!("{stat}_xx"))),
        None if code.len() == 3 && digits == 3 => Some((CODE, code, stat.to_owned())),
        None => None,
    }
}

/// `HOST.vcluster.NAME.STAT`, `HOST.route.PREFIX.STAT`
fn of_virtual_host(name: &str, has: impl Fn(&str) -> bool, tags: &mut Vec<(String, String)>) -> String {
    let parts = [("vcluster", "envoy.virtual_cluster"), ("route", "envoy.route")];
    let found = parts.iter().find_map(|(kind, tag)| {
        let (host, rest) = name.split_once(&format!(".{kind}."))?;
        let (whose, stat) = rest.rsplit_once('.')?;
        Some((*kind, *tag, host, whose, stat))
    });
    let Some((kind, label, host, whose, stat)) = found else {
        return format!("vhost.{name}");
    };
    let mut told = stat.to_owned();
    if let Some((tag, value, without)) = status(stat).filter(|(tag, ..)| has(tag)) {
        tags.push((tag.to_owned(), value.to_owned()));
        told = without;
    }
    let mut words = vec!["vhost"];
    for (tag, value, word) in [("envoy.virtual_host", host, None), (label, whose, Some(kind))] {
        words.extend(word);
        match has(tag) {
            true => tags.push((tag.to_owned(), value.to_owned())),
            false => words.push(value),
        }
    }
    words.push(&told);
    words.join(".")
}

/// Whose it is and what it is; the latter may have a group in front, with a dot.
fn split(inside: &str) -> Option<(&str, &str)> {
    let (whose, stat) = inside.rsplit_once('.')?;
    for group in GROUPS {
        if let Some(whose) = whose.strip_suffix(group) {
            return Some((whose, &inside[whose.len() + 1..]));
        }
    }
    Some((whose, stat))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn told(name: &str, config: &StatsConfig) -> String {
        let Tagged { name, tags } = Tagged::of(name, config);
        let tags = tags.iter().map(|(tag, value)| format!(" {tag}={value}"));
        name + &tags.collect::<String>()
    }

    #[test]
    fn virtual_hosts_and_what_is_counted_of_them_are_told_apart() {
        assert_eq!(
            told(
                "vhost.shop.example.vcluster.pay.upstream_rq_200",
                &StatsConfig::default()
            ),
            "vhost.vcluster.upstream_rq envoy.response_code=200 envoy.virtual_host=shop.example envoy.virtual_cluster=pay"
        );
        assert_eq!(
            told(
                "vhost.shop.route.la.te.upstream_rq_timeout",
                &StatsConfig::default()
            ),
            "vhost.route.upstream_rq_timeout envoy.virtual_host=shop envoy.route=la.te"
        );
    }

    #[test]
    fn what_has_more_in_it_has_more_tags() {
        for (name, tagged) in [
            (
                "listener.0.0.0.0_80.http.web.downstream_rq_2xx",
                "listener.http.downstream_rq_xx envoy.response_code_class=2 envoy.http_conn_manager_prefix=web \
                 envoy.listener_address=0.0.0.0_80",
            ),
            (
                "listener.0.0.0.0_80.ssl.versions.TLSv1.3",
                "listener.ssl.versions envoy.ssl_version=TLSv1.3 envoy.listener_address=0.0.0.0_80",
            ),
            (
                "cluster.a.ssl.ciphers.TLS_AES_128_GCM_SHA256",
                "cluster.ssl.ciphers cipher_suite=TLS_AES_128_GCM_SHA256 envoy.cluster_name=a",
            ),
            (
                "cluster.a.internal.example.zone.here.there.upstream_rq_200",
                "cluster.zone.here.there.upstream_rq envoy.response_code=200 envoy.cluster_name=a.internal.example",
            ),
            (
                "cluster.a.canary.upstream_rq_time",
                "cluster.canary.upstream_rq_time envoy.cluster_name=a",
            ),
            (
                "http.web.rds.routes.update_success",
                "http.rds.update_success envoy.rds_route_config=routes envoy.http_conn_manager_prefix=web",
            ),
            (
                "http.web.rbac.tried.policy.some.shadow_denied",
                "http.rbac.policy.shadow_denied envoy.rbac_policy_name=some envoy.rbac_http_prefix=tried \
                 envoy.http_conn_manager_prefix=web",
            ),
            (
                "http.web.rbac.allowed",
                "http.rbac.allowed envoy.http_conn_manager_prefix=web",
            ),
            (
                "cluster.a.outlier_detection.ejections_consecutive_5xx",
                "cluster.outlier_detection.ejections_consecutive_5xx envoy.cluster_name=a",
            ),
            (
                "few.http_local_rate_limit.ok",
                "http_local_rate_limit.ok envoy.local_http_ratelimit_prefix=few",
            ),
            ("who.rbac.denied", "rbac.denied envoy.rbac_prefix=who"),
            (
                "local_rate_limit.few.rate_limited",
                "local_rate_limit.rate_limited envoy.local_network_ratelimit_prefix=few",
            ),
            (
                "proxy_proto.versions.v2.found",
                "proxy_proto.found envoy.proxy_protocol_version=v2",
            ),
        ] {
            assert_eq!(told(name, &StatsConfig::default()), tagged);
        }
    }

    #[test]
    fn what_is_configured_counts_besides_the_defaults() {
        let tag = |name: &str, value| Tag {
            name: name.to_owned(),
            value,
        };
        let mut config = StatsConfig {
            tags: vec![
                tag("zone", TagValue::Fixed("east".to_owned())),
                tag("version", TagValue::Taken(Regex::new(r"((\.v\d+))\.").unwrap())),
            ],
            ..StatsConfig::default()
        };
        assert_eq!(
            told("cluster.shop.v2.upstream_rq_200", &config),
            "cluster.upstream_rq zone=east version=.v2 envoy.response_code=200 envoy.cluster_name=shop"
        );
        config.default_tags = false;
        assert_eq!(
            told("cluster.shop.v2.upstream_rq_200", &config),
            "cluster.shop.upstream_rq_200 zone=east version=.v2"
        );
        config.tags = vec![tag("envoy.response_code", TagValue::Default)];
        assert_eq!(
            told("cluster.shop.upstream_rq_200", &config),
            "cluster.shop.upstream_rq envoy.response_code=200"
        );
    }
}
