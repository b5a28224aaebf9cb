//! Filter chains and the filters in them.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;
use prost::Message;

use super::*;
use crate::compile::at::refuse;
use crate::compile::extension::{self, Place};
use crate::compile::pb::network::{direct_response, echo, sni_cluster, sni_dynamic_forward};
use crate::compile::pb::{hcm, listener as pb, tcp_proxy};
use crate::compile::{address, dns_cache, http, metadata_exchange, tls, typed_struct};
use crate::decide::filter;
use crate::decide::network::{self, Discovered, NetworkFilterConfig};

pub(super) fn chain(at: &At<'_>, message: &pb::FilterChain) -> Result<Arc<FilterChain>, Rejection> {
    let pb::FilterChain {
        filter_chain_match,
        filters,
        use_proxy_proto,
        metadata,
        transport_socket,
        transport_socket_connect_timeout,
        name,
    } = message;
    refuse!(at; use_proxy_proto);
    let tls = match transport_socket {
        None => None,
        Some(socket) => tls::downstream(&at.field("transport_socket"), socket)?.map(Arc::new),
    };
    let (network, terminal) = network_filters(at, filters)?;
    let matches = match filter_chain_match {
        None => ChainMatch::default(),
        Some(matches) => chain_match(&at.field("filter_chain_match"), matches)?,
    };
    Ok(Arc::new(FilterChain {
        name: name.clone(),
        told: Told::new(metadata.as_ref()),
        matches,
        tls,
        network,
        terminal,
        handshake_timeout: at.positive(
            "transport_socket_connect_timeout",
            transport_socket_connect_timeout,
            Duration::from_secs(10),
        )?,
    }))
}

fn chain_match(at: &At<'_>, message: &pb::FilterChainMatch) -> Result<ChainMatch, Rejection> {
    let pb::FilterChainMatch {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = message;
    refuse!(at; address_suffix, suffix_len);
    let destination_port = match destination_port {
        None => None,
        Some(port) => match at.port("destination_port", port.value)? {
            0 => return Err(at.field("destination_port").reject("0 is no connection's")),
            port => Some(port),
        },
    };
    Ok(ChainMatch {
        destination_port,
        prefix_ranges: at.each("prefix_ranges", prefix_ranges, address::cidr)?,
        server_names: at.each("server_names", server_names, |at, name| server_name(at, name))?,
        transport_protocol: match transport_protocol.as_str() {
            "" => None,
            "raw_buffer" => Some(TransportProtocol::RawBuffer),
            "tls" => Some(TransportProtocol::Tls),
            other => {
                return Err(at
                    .field("transport_protocol")
                    .reject(format!("{other:?} is not supported")));
            }
        },
        application_protocols: application_protocols.clone(),
        direct_source_ranges: at.each(
            "direct_source_prefix_ranges",
            direct_source_prefix_ranges,
            address::cidr,
        )?,
        source_type: match at.choice("source_type", *source_type)? {
            pb::filter_chain_match::ConnectionSourceType::Any => SourceType::Any,
            pb::filter_chain_match::ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
            pb::filter_chain_match::ConnectionSourceType::External => SourceType::External,
        },
        source_ranges: at.each("source_prefix_ranges", source_prefix_ranges, address::cidr)?,
        source_ports: at.each("source_ports", source_ports, |at, port| {
            let port = u16::try_from(*port).ok().filter(|port| *port > 0);
            port.ok_or_else(|| at.reject("not a port"))
        })?,
    })
}

/// `www.example.com` or `*.example.com`, in lower case.
fn server_name(at: &At<'_>, name: &str) -> Result<String, Rejection> {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if rest.is_empty() || rest.contains('*') {
        return Err(at.reject(format!("not a name or *.name: {name:?}")));
    }
    Ok(name.to_ascii_lowercase())
}

fn network_filters(
    at: &At<'_>,
    filters: &[pb::Filter],
) -> Result<(Vec<Arc<NetworkFilterConfig>>, TerminalFilter), Rejection> {
    let mut before = Vec::new();
    let mut terminal = None;
    let mut by_server_name = false;
    let mut forward = None;
    for (i, filter) in filters.iter().enumerate() {
        let at = at.item("filters", i);
        if terminal.is_some() {
            return Err(at.reject("a filter after the terminal one"));
        }
        match network_filter(&at, filter)? {
            NetworkFilter::Before(filter) => before.push(Arc::new(filter)),
            NetworkFilter::Terminal(filter) => terminal = Some(filter),
            NetworkFilter::ServerName => by_server_name = true,
            NetworkFilter::Forward(toward) => forward = Some(Arc::new(toward)),
            NetworkFilter::Nothing => {}
        }
    }
    match terminal {
        Some(TerminalFilter::Tcp(proxy)) if by_server_name || forward.is_some() => {
            let proxy = TcpProxy {
                by_server_name,
                forward,
                ..TcpProxy::clone(&proxy)
            };
            Ok((before, TerminalFilter::Tcp(Arc::new(proxy))))
        }
        Some(_) if by_server_name || forward.is_some() => Err(at
            .field("filters")
            .reject("sni_cluster and sni_dynamic_forward_proxy are for the TCP proxy")),
        Some(terminal) => Ok((before, terminal)),
        None => Err(at
            .field("filters")
            .reject("the last filter must be a proxy: HTTP or TCP")),
    }
}

fn discovered(
    at: &At<'_>,
    name: &str,
    message: &core::ExtensionConfigSource,
) -> Result<NetworkFilterConfig, Rejection> {
    let Place {
        source,
        types,
        default,
    } = extension::place(at, message, network::is_known, extension::network)?;
    Ok(NetworkFilterConfig::discovered(
        message.encode_to_vec().into(),
        Discovered {
            name: name.to_owned(),
            source,
            types,
            default: default.map(Arc::new),
        },
    ))
}

enum NetworkFilter {
    Before(NetworkFilterConfig),
    Terminal(TerminalFilter),
    /// The cluster is named by the client.
    ServerName,
    /// The upstream's host is.
    Forward(ServerNameForward),
    /// It does nothing here, which has been told.
    Nothing,
}

fn network_filter(at: &At<'_>, message: &pb::Filter) -> Result<NetworkFilter, Rejection> {
    use pb::filter::ConfigType;
    let pb::Filter { name, config_type } = message;
    let any = match at.required("typed_config", config_type)? {
        ConfigType::TypedConfig(any) => any,
        ConfigType::ConfigDiscovery(source) => {
            at.not_empty("name", name)?;
            return discovered(&at.field("config_discovery"), name, source).map(NetworkFilter::Before);
        }
    };
    let at = at.field("typed_config");
    let any = &*typed_struct::opened(&at, any)?;
    if any.is::<hcm::HttpConnectionManager>() {
        let manager = http::manager(&at, &at.unpack(any)?)?;
        return Ok(NetworkFilter::Terminal(TerminalFilter::Http(Arc::new(manager))));
    }
    if any.is::<tcp_proxy::TcpProxy>() {
        let proxy = tcp::tcp_proxy(&at, &at.unpack(any)?)?;
        return Ok(NetworkFilter::Terminal(TerminalFilter::Tcp(Arc::new(proxy))));
    }
    if metadata_exchange::is_one(any) {
        return metadata_exchange::check(&at, any).map(|()| NetworkFilter::Nothing);
    }
    if filter::only_counts(any) {
        filter::counts(&at);
        return Ok(NetworkFilter::Nothing);
    }
    if any.is::<direct_response::Config>() {
        let direct_response::Config { response } = &at.unpack::<direct_response::Config>(any)?;
        let bytes = match response {
            None => Vec::new(),
            Some(source) => at.field("response").data_source(source)?,
        };
        return Ok(NetworkFilter::Terminal(TerminalFilter::DirectResponse(
            bytes.into(),
        )));
    }
    if any.is::<echo::Echo>() {
        let echo::Echo {} = at.unpack(any)?;
        return Ok(NetworkFilter::Terminal(TerminalFilter::Echo));
    }
    if any.is::<sni_cluster::SniCluster>() {
        let sni_cluster::SniCluster {} = at.unpack(any)?;
        return Ok(NetworkFilter::ServerName);
    }
    if any.is::<sni_dynamic_forward::FilterConfig>() {
        return server_name_forward(&at, &at.unpack(any)?).map(NetworkFilter::Forward);
    }
    match network::config(&at, any)? {
        Some(filter) => Ok(NetworkFilter::Before(filter)),
        None => Err(at.unknown_extension(any)),
    }
}

fn server_name_forward(
    at: &At<'_>,
    message: &sni_dynamic_forward::FilterConfig,
) -> Result<ServerNameForward, Rejection> {
    use sni_dynamic_forward::filter_config::PortSpecifier;
    let sni_dynamic_forward::FilterConfig {
        dns_cache_config,
        save_upstream_address,
        port_specifier,
    } = message;
    refuse!(at; save_upstream_address);
    let cache = at.required("dns_cache_config", dns_cache_config)?;
    let PortSpecifier::PortValue(port) = at.required("port_value", port_specifier)?;
    let port = match at.port("port_value", *port)? {
        0 => return Err(at.field("port_value").reject("must be more than 0")),
        port => port,
    };
    Ok(ServerNameForward {
        port,
        cache: dns_cache::dns_cache(&at.field("dns_cache_config"), cache)?,
    })
}
