//! `envoy.config.listener.v3.Listener`.

mod chain;
mod distinct;
mod filters;
mod matcher;
mod tcp;
mod tunnel;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

pub use super::address::{Address, Pipe};
pub use tunnel::{HEADERS, NAMESPACE, RequestId, TRAILERS, Tunnel};

use super::access_log::{AccessLog, Format, LogOptions, access_logs};
use super::at::{At, compiling, no_effect, refuse};
use super::config_source::Source;
use super::dns_cache::DnsCache;
use super::http::HttpConnectionManager;
use super::matcher::tree::Tree;
use super::metadata::{Fields, Told};
use super::pb::{core, listener as pb, protobuf};
use super::proxy_protocol::ProxyProtocol;
use super::socket::{self, SocketOption, What};
use super::tls::DownstreamTls;
use super::{Files, Rejection, Warnings, address};
use crate::decide::network::NetworkFilterConfig;
use crate::decide::places::Places;

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    /// `stat_prefix`, else the address.
    pub stat_name: String,
    /// Istio's metrics are asked for: `istio.stats` is among its filters.
    pub istio_stats: bool,
    pub addresses: Vec<Address>,
    pub bind_to_port: bool,
    /// It takes connections of the proxy's own clusters only, and has no address.
    pub internal: bool,
    pub use_original_dst: bool,
    pub socket: SocketSettings,
    /// Of the socket of each address.
    pub options: Vec<Vec<SocketOption>>,
    pub direction: Direction,
    pub filters: ListenerFilters,
    pub chains: Vec<Arc<FilterChain>>,
    pub default_chain: Option<Arc<FilterChain>>,
    /// Chooses among the chains, in place of what each of them says. None for one that it names and that is not there.
    pub matcher: Option<Tree<Option<usize>>>,
    pub access_log: Vec<Arc<AccessLog>>,
    /// Bytes that a connection may hold for a slow reader, or a request for a retry. None: leno's own limits.
    pub buffer_limit: Option<u32>,
    /// Its metadata, for logs.
    pub told: Option<Arc<Told>>,
    /// Whose word it is that a port takes no plaintext (`filter_metadata["leno"].strict`), for the log line.
    pub strict: BTreeMap<u16, String>,
    /// How many of its connections there may be (`envoy.resource_limits.listener.NAME.connection_limit` of the runtime).
    pub places: Places,
    /// The limit of all connections is none of it.
    pub ignores_global_limit: bool,
    /// It is never overloaded.
    pub bypasses_overload: bool,
}

/// How its sockets are bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketSettings {
    /// Connections that wait to be accepted. None: leno's own limit.
    pub backlog: Option<u32>,
    /// Connections to addresses of others are taken (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// An address that the machine does not have yet may be bound (`IP_FREEBIND`).
    pub freebind: bool,
    pub mptcp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Unspecified,
    Inbound,
    Outbound,
}

/// Listener filters, in the only order that makes sense.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerFilters {
    pub original_dst: bool,
    /// What stands before the client's first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    pub tls_inspector: bool,
    pub http_inspector: bool,
    /// Whether fingerprints of clients' hellos are made.
    pub ja3: bool,
    pub ja4: bool,
    /// Destination ports for which the inspectors do not run.
    pub http_inspector_off: Ports,
    pub tls_inspector_off: Ports,
    /// Zero: wait for ever.
    pub timeout: Duration,
    pub continue_on_timeout: bool,
}

/// Half open, as in the API: `start <= port < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub start: u16,
    pub end: u16,
}

/// Some of all ports.
#[derive(Clone, Debug, PartialEq)]
pub enum Ports {
    Any,
    Range(PortRange),
    Not(Box<Ports>),
    /// Those that are in each.
    And(Vec<Ports>),
    /// Those that are in one of them.
    Or(Vec<Ports>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilterChain {
    pub name: String,
    /// Its metadata, for logs.
    pub told: Option<Told>,
    pub matches: ChainMatch,
    /// None: plaintext.
    pub tls: Option<Arc<DownstreamTls>>,
    /// Before the terminal one, in order.
    pub network: Vec<Arc<NetworkFilterConfig>>,
    pub terminal: TerminalFilter,
    pub handshake_timeout: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    pub destination_port: Option<u16>,
    pub prefix_ranges: Vec<IpNet>,
    pub server_names: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
    pub application_protocols: Vec<String>,
    pub direct_source_ranges: Vec<IpNet>,
    pub source_type: SourceType,
    pub source_ranges: Vec<IpNet>,
    pub source_ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportProtocol {
    RawBuffer,
    Tls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TerminalFilter {
    Http(Arc<HttpConnectionManager>),
    Tcp(Arc<TcpProxy>),
    /// These bytes, and the end.
    DirectResponse(Bytes),
    /// What comes goes back.
    Echo,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TcpCluster {
    pub name: String,
    pub weight: u32,
    /// What its endpoints must have (`metadata_match`, with the proxy's).
    pub metadata: Fields,
}

/// `sni_dynamic_forward_proxy`: the upstream's host is the server name that the client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNameForward {
    pub port: u16,
    pub cache: DnsCache,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxy {
    /// Its part of the statistics' names.
    pub stat_prefix: String,
    /// The cluster is named by the server name that the client asks for, where it asks for one.
    pub by_server_name: bool,
    /// To a cluster whose endpoint is the client's choice goes what asks for a server name.
    pub forward: Option<Arc<ServerNameForward>>,
    /// One or more.
    pub clusters: Vec<TcpCluster>,
    /// What the cluster's endpoints must have, where the client names the cluster.
    pub metadata: Fields,
    /// By what connections stick together (`hash_policy`).
    pub hash: Option<TcpHash>,
    pub idle_timeout: Option<Duration>,
    /// After which the connection is ended, whatever goes over it.
    pub max_duration: Option<Duration>,
    /// By how much of it the duration may be longer, by chance (percent).
    pub max_duration_jitter: f64,
    pub max_connect_attempts: u32,
    /// The base and the most of the pauses between attempts. None: there are none.
    pub backoff: Option<(Duration, Duration)>,
    /// Upstreams are connected when the client has spoken (`ON_DOWNSTREAM_DATA`): how much of it may wait, in bytes.
    pub after_data: Option<usize>,
    /// Extensions of the PROXY protocol for upstreams that are told of the client.
    pub tlvs: Option<Box<UpstreamTlvs>>,
    /// Where a cluster that is not known is asked for, and for how long a connection waits for it.
    pub on_demand: Option<Box<(Source, Duration)>>,
    /// The connection goes through a stream of HTTP to the upstream. None: as it is.
    pub tunnel: Option<Box<Tunnel>>,
    pub access_log: Vec<Arc<AccessLog>>,
    pub log_options: LogOptions,
    /// The object that made it (`metadata` of weighted clusters or stat prefix), for logs.
    pub origin: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpHash {
    Source,
    /// An object of the filter state that can be hashed.
    State(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTlvs {
    pub added: Vec<(u8, TlvValue)>,
    pub merging: TlvMerging,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TlvValue {
    Fixed(Vec<u8>),
    Format(Format),
}

/// What becomes of the extensions that the client's own connection came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlvMerging {
    /// If it came with the PROXY protocol, nothing is added.
    IfAbsent,
    /// Those of the same type are replaced.
    Overwriting,
    Appending,
}

pub fn compile(
    message: &pb::Listener,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Listener, Rejection> {
    compiling(files, warnings, |at| listener(at, message))
}

pub(super) fn listener(at: &At<'_>, message: &pb::Listener) -> Result<Listener, Rejection> {
    let pb::Listener {
        name,
        address: first,
        additional_addresses,
        stat_prefix,
        stats_matcher,
        filter_chains,
        fcds_config,
        filter_chain_matcher,
        use_original_dst,
        default_filter_chain,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        metadata,
        deprecated_v1,
        drain_type,
        // With the listener filters.
        listener_filters: _,
        listener_filters_timeout: _,
        continue_on_listener_filters_timeout: _,
        transparent,
        freebind,
        socket_options,
        tcp_fast_open_queue_length,
        traffic_direction,
        udp_listener_config,
        api_listener,
        connection_balance_config,
        reuse_port,
        enable_reuse_port,
        access_log,
        tcp_backlog_size,
        max_connections_to_accept_per_socket_event,
        bind_to_port,
        enable_mptcp,
        ignore_global_conn_limit,
        bypass_overload_manager,
        tcp_keepalive,
        listener_specifier,
    } = message;
    refuse!(at; fcds_config, deprecated_v1, udp_listener_config, api_listener);
    let internal = match listener_specifier {
        None => false,
        Some(pb::listener::ListenerSpecifier::InternalListener(pb::listener::InternalListenerConfig {})) => {
            refuse!(at; additional_addresses);
            true
        }
    };
    no_effect!(at, "all statistics of a listener are kept"; stats_matcher);
    no_effect!(at, "not used"; per_connection_buffer_high_watermark_timeout, drain_type,
        tcp_fast_open_queue_length, connection_balance_config, reuse_port, enable_reuse_port,
        max_connections_to_accept_per_socket_event);
    let mut own = socket::keepalive(tcp_keepalive.as_ref());
    own.extend(socket::options(at, "socket_options", socket_options)?);
    let mut addresses = Vec::new();
    let mut options = Vec::new();
    match (internal, first) {
        (true, None) => options.push(own.clone()),
        (true, Some(_)) => return Err(at.field("address").reject("an internal_listener has none")),
        (false, _) => {
            let first = at.required("address", first)?;
            addresses.push(address::address(&at.field("address"), first)?);
            options.push(with_family(own.clone(), first));
            at.each("additional_addresses", additional_addresses, |at, more| {
                let (address, set) = additional(at, more, &own)?;
                addresses.push(address);
                options.push(set);
                Ok(())
            })?;
        }
    }
    if use_original_dst.is_some_and(|used| used.value) && addresses.iter().any(|a| a.socket().is_none()) {
        return Err(at
            .field("use_original_dst")
            .reject("a pipe's connections have none"));
    }
    if !own.is_empty() && (internal || addresses.iter().any(|a| a.socket().is_none())) {
        return Err(at.field("socket_options").reject("of TCP's sockets only"));
    }
    let chains = at.each("filter_chains", filter_chains, chain::chain)?;
    let matcher = match filter_chain_matcher {
        None => {
            distinct::distinct(at, &chains)?;
            None
        }
        Some(matcher) => Some(matcher::matcher(at, matcher, &chains)?),
    };
    let default_chain = match default_filter_chain {
        None => None,
        Some(chain) => Some(chain::chain(&at.field("default_filter_chain"), chain)?),
    };
    if chains.is_empty() && default_chain.is_none() {
        return Err(at.field("filter_chains").reject("required"));
    }
    Ok(Listener {
        name: name.clone(),
        stat_name: match (stat_prefix.as_str(), addresses.first()) {
            ("", Some(address)) => address.to_string(),
            ("", None) => format!("envoy_internal_{name}"),
            (prefix, _) => prefix.to_owned(),
        },
        istio_stats: at.wants().istio_stats,
        addresses,
        bind_to_port: !internal && bind_to_port.is_none_or(|bind| bind.value),
        internal,
        use_original_dst: use_original_dst.is_some_and(|used| used.value),
        socket: SocketSettings {
            backlog: tcp_backlog_size.as_ref().map(|size| size.value),
            transparent: transparent.is_some_and(|transparent| transparent.value),
            freebind: freebind.is_some_and(|freebind| freebind.value),
            mptcp: *enable_mptcp,
        },
        options,
        direction: match at.choice("traffic_direction", *traffic_direction)? {
            core::TrafficDirection::Unspecified => Direction::Unspecified,
            core::TrafficDirection::Inbound => Direction::Inbound,
            core::TrafficDirection::Outbound => Direction::Outbound,
        },
        filters: filters::filters(at, message)?,
        chains,
        default_chain,
        matcher,
        access_log: access_logs(at, "access_log", access_log)?,
        buffer_limit: per_connection_buffer_limit_bytes
            .as_ref()
            .map(|limit| limit.value),
        strict: strict(metadata.as_ref()),
        places: Places::new(at.setting(
            u64::MAX,
            &format!("envoy.resource_limits.listener.{name}.connection_limit"),
        )),
        ignores_global_limit: *ignore_global_conn_limit,
        bypasses_overload: *bypass_overload_manager,
        told: Told::new(metadata.as_ref()).map(Arc::new),
    })
}

/// With the listener's options where it says nothing of its own.
fn additional(
    at: &At<'_>,
    message: &pb::AdditionalAddress,
    listeners: &[SocketOption],
) -> Result<(Address, Vec<SocketOption>), Rejection> {
    let pb::AdditionalAddress {
        address: more,
        socket_options,
        tcp_keepalive,
    } = message;
    let more = at.required("address", more)?;
    let address = address::address(&at.field("address"), more)?;
    if socket_options.is_none() && tcp_keepalive.is_none() {
        return Ok((address, with_family(listeners.to_vec(), more)));
    }
    let mut own = socket::keepalive(tcp_keepalive.as_ref());
    if let Some(core::SocketOptionsOverride { socket_options }) = socket_options {
        own.extend(socket::options(
            &at.field("socket_options"),
            "socket_options",
            socket_options,
        )?);
    }
    Ok((address, with_family(own, more)))
}

fn with_family(mut options: Vec<SocketOption>, address: &core::Address) -> Vec<SocketOption> {
    if address::dual_stack(address) {
        options.push(SocketOption::of(What::OnlyV6(false)));
    }
    options
}

fn strict(metadata: Option<&core::Metadata>) -> BTreeMap<u16, String> {
    use protobuf::value::Kind;
    let leno = metadata.and_then(|metadata| metadata.filter_metadata.get("leno"));
    let strict = leno
        .and_then(|leno| leno.fields.get("strict"))
        .and_then(|value| value.kind.as_ref());
    let Some(Kind::StructValue(ports)) = strict else {
        return BTreeMap::new();
    };
    let reasons = ports
        .fields
        .iter()
        .filter_map(|(port, reason)| match &reason.kind {
            Some(Kind::StringValue(reason)) => Some((port.parse().ok()?, reason.clone())),
            _ => None,
        });
    reasons.collect()
}
