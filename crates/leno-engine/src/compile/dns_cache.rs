//! `DnsCacheConfig`: what a dynamic forward proxy remembers of the hosts that requests name.

use std::time::Duration;

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::dns::{self, Resolving};
use super::dns_resolver::resolver;
use super::pb::{cluster, dns_cache as pb};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCache {
    pub resolving: Resolving,
    /// A host that nobody has asked for in this time is forgotten.
    pub host_ttl: Duration,
    /// Of those that are remembered.
    pub max_hosts: u32,
    /// Of one look-up.
    pub timeout: Option<Duration>,
    /// Requests that wait at once.
    pub max_pending: u32,
}

pub(crate) fn dns_cache(at: &At<'_>, message: &pb::DnsCacheConfig) -> Result<DnsCache, Rejection> {
    let pb::DnsCacheConfig {
        name,
        dns_lookup_family,
        dns_refresh_rate,
        dns_min_refresh_rate,
        host_ttl,
        max_hosts,
        disable_dns_refresh_on_failure,
        dns_failure_refresh_rate,
        dns_cache_circuit_breaker,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        preresolve_hostnames,
        dns_query_timeout,
        key_value_config,
        resolved_address_filter,
    } = message;
    refuse!(at; key_value_config, resolved_address_filter);
    let least = at.positive(
        "dns_min_refresh_rate",
        dns_min_refresh_rate,
        Duration::from_secs(5),
    )?;
    no_effect!(at, "a host is resolved again when it is asked for"; disable_dns_refresh_on_failure,
        preresolve_hostnames);
    silent!("a cluster's cache is its own"; name);
    let refresh = at.positive("dns_refresh_rate", dns_refresh_rate, Duration::from_secs(60))?;
    let after_failure = match dns_failure_refresh_rate {
        None => (refresh, refresh),
        Some(cluster::cluster::RefreshRate {
            base_interval,
            max_interval,
        }) => dns::failure(&at.field("dns_failure_refresh_rate"), base_interval, max_interval)?,
    };
    let max_hosts = max_hosts.as_ref().map_or(1024, |most| most.value);
    if max_hosts == 0 {
        return Err(at.field("max_hosts").reject("must be more than 0"));
    }
    let pending = dns_cache_circuit_breaker.as_ref().and_then(|breaker| {
        let pb::DnsCacheCircuitBreakers { max_pending_requests } = breaker;
        max_pending_requests.as_ref()
    });
    Ok(DnsCache {
        resolving: Resolving {
            refresh,
            after_failure,
            family: dns::family(at, *dns_lookup_family)?,
            resolver: resolver(
                at,
                typed_dns_resolver_config.as_ref(),
                dns_resolution_config.as_ref(),
                &[],
                *use_tcp_for_dns_lookups,
            )?,
            by_ttl: Some(least),
            jitter: Duration::ZERO,
        },
        host_ttl: at.positive("host_ttl", host_ttl, Duration::from_secs(300))?,
        max_hosts,
        timeout: at.timeout(
            "dns_query_timeout",
            dns_query_timeout,
            Some(Duration::from_secs(5)),
        )?,
        max_pending: pending.map_or(1024, |most| most.value),
    })
}
