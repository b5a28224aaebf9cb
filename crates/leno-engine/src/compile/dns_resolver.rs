//! `typed_dns_resolver_config` and the older fields that say the same: who is asked for names, and how.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;

use super::Rejection;
use super::address::{self, Address};
use super::at::{At, no_effect, refuse, silent};
use super::pb::{cares, core, getaddrinfo};

/// Who resolves names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The machine's own resolver, whatever it asks.
    Machine,
    Servers(Arc<Servers>),
}

/// DNS servers that are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Empty: those that the machine knows of.
    pub addresses: Vec<SocketAddr>,
    /// Only where the machine knows of none.
    pub as_fallback: bool,
    pub tcp: bool,
    /// Names are whole: the machine's search list is not looked at.
    pub whole_names: bool,
    /// Addresses of a family that leads nowhere are left out.
    pub routable_only: bool,
    /// For one try.
    pub timeout: Duration,
    /// How often each server is asked.
    pub tries: u32,
    /// Another server begins each time.
    pub rotate: bool,
    /// Bytes of an answer over UDP.
    pub payload: u16,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            as_fallback: false,
            tcp: false,
            whole_names: false,
            routable_only: false,
            timeout: Duration::from_secs(5),
            tries: 4,
            rotate: false,
            payload: 1232,
        }
    }
}

/// What the fields say of it; the newest goes before the others, as in Envoy. None: nothing.
pub(crate) fn resolver(
    at: &At<'_>,
    typed: Option<&core::TypedExtensionConfig>,
    older: Option<&core::DnsResolutionConfig>,
    addresses: &[core::Address],
    tcp: bool,
) -> Result<Option<Resolver>, Rejection> {
    if let Some(typed) = typed {
        return self::typed(&at.field("typed_dns_resolver_config"), typed).map(Some);
    }
    let mut servers = Servers {
        tcp,
        ..Servers::default()
    };
    if let Some(message) = older {
        let at = at.field("dns_resolution_config");
        let core::DnsResolutionConfig {
            resolvers,
            dns_resolver_options,
        } = message;
        servers.addresses = at.some("resolvers", resolvers, server)?;
        options(dns_resolver_options.as_ref(), &mut servers);
        return Ok(Some(Resolver::Servers(Arc::new(servers))));
    }
    servers.addresses = at.each("dns_resolvers", addresses, server)?;
    let said = servers != Servers::default();
    Ok(said.then(|| Resolver::Servers(Arc::new(servers))))
}

fn typed(at: &At<'_>, message: &core::TypedExtensionConfig) -> Result<Resolver, Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    if any.is::<getaddrinfo::GetAddrInfoDnsResolverConfig>() {
        let getaddrinfo::GetAddrInfoDnsResolverConfig {
            num_retries,
            num_resolver_threads,
        } = &at.unpack::<getaddrinfo::GetAddrInfoDnsResolverConfig>(any)?;
        no_effect!(at, "what fails is looked up again when it is due"; num_retries);
        no_effect!(at, "there are as many threads as are needed"; num_resolver_threads);
        return Ok(Resolver::Machine);
    }
    let cares::CaresDnsResolverConfig {
        resolvers,
        use_resolvers_as_fallback,
        filter_unroutable_families,
        dns_resolver_options,
        udp_max_queries,
        query_timeout_seconds,
        query_tries,
        rotate_nameservers,
        edns0_max_payload_size,
        max_udp_channel_duration,
        reinit_channel_on_timeout,
        qcache_max_ttl,
    } = &at.unpack::<cares::CaresDnsResolverConfig>(any)?;
    no_effect!(at, "each query has a socket of its own"; udp_max_queries, max_udp_channel_duration,
        reinit_channel_on_timeout);
    if qcache_max_ttl.is_some_and(|ttl| ttl.value > 0) {
        refuse!(at; qcache_max_ttl);
    }
    let mut servers = Servers {
        addresses: at.each("resolvers", resolvers, server)?,
        as_fallback: *use_resolvers_as_fallback,
        routable_only: *filter_unroutable_families,
        rotate: *rotate_nameservers,
        ..Servers::default()
    };
    options(dns_resolver_options.as_ref(), &mut servers);
    if let Some(timeout) = query_timeout_seconds {
        if timeout.value == 0 {
            return Err(at.field("query_timeout_seconds").reject("at least 1"));
        }
        servers.timeout = Duration::from_secs(timeout.value.min(3600));
    }
    if let Some(tries) = query_tries {
        if tries.value == 0 {
            return Err(at.field("query_tries").reject("at least 1"));
        }
        servers.tries = tries.value.min(100);
    }
    if let Some(payload) = edns0_max_payload_size {
        servers.payload = match u16::try_from(payload.value) {
            Ok(bytes @ 512..=4096) => bytes,
            _ => return Err(at.field("edns0_max_payload_size").reject("512 to 4096")),
        };
    }
    Ok(Resolver::Servers(Arc::new(servers)))
}

fn server(at: &At<'_>, message: &core::Address) -> Result<SocketAddr, Rejection> {
    match address::address(at, message)? {
        Address::Socket(address) => Ok(address),
        Address::Pipe(_) | Address::Internal(_) => Err(at.reject("only sockets are supported")),
    }
}

fn options(message: Option<&core::DnsResolverOptions>, servers: &mut Servers) {
    let Some(core::DnsResolverOptions {
        use_tcp_for_dns_lookups,
        no_default_search_domain,
    }) = message
    else {
        return;
    };
    servers.tcp = *use_tcp_for_dns_lookups;
    servers.whole_names = *no_default_search_domain;
}
