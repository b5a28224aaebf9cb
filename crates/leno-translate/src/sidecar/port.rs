//! What is told apart by what a connection says, not by its address: the HTTP services of a port by the Host header, and
//! services whose address the caller found out by itself (`resolution: NONE`) by Host or SNI.
//!
//! A proxy that is given everything has one such listener for a port. leno's asks for the address that was called, and
//! is told of the services that may be at any address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use leno_model::{OutboundPolicy, PathNormalization, Protocol, Service};

use super::outbound::{catch_all, detect};
use super::screen::{self, TLS, chain};
use crate::Proxy;
use crate::access_log::LogInput;
use crate::connection_manager::{ConnectionManager, Side};
use crate::naming;
use crate::parts::{bool_value, bracketed, socket_address};
use crate::pb::core::TrafficDirection::Outbound;
use crate::pb::listener::{FilterChainMatch, Listener};
use crate::reader::Reader;
use crate::tcp::{TcpTargets, targets, tcp_proxy};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortListener {
    address: SocketAddr,
    http: bool,
    /// By the name that the client asks for in its hello.
    by_sni: Vec<(String, TcpTargets)>,
    /// Everything else.
    tcp: Option<(String, TcpTargets)>,
    policy: OutboundPolicy,
    ipv6: bool,
    leno: bool,
    log: Option<LogInput>,
    paths: PathNormalization,
}

/// For a proxy that is given everything.
pub(super) fn port_input(reader: &mut Reader<'_>, proxy: &Proxy, port: u16) -> Option<PortListener> {
    let shared = |service: &&Service| {
        let served = service.port(port);
        served.is_some_and(|served| served.protocol.is_http() || service.is_anywhere())
    };
    let services: Vec<&Service> = reader.services().into_iter().filter(shared).collect();
    input(
        reader,
        proxy,
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        &services,
    )
}

/// For an address that is nobody's in particular.
pub(super) fn stranger_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    address: SocketAddr,
) -> Option<PortListener> {
    let services = reader.anywhere(address.port());
    input(reader, proxy, address, &services)
}

fn input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    address: SocketAddr,
    services: &[&Service],
) -> Option<PortListener> {
    let port = address.port();
    let mut made = PortListener {
        address,
        http: false,
        by_sni: Vec::new(),
        tcp: None,
        policy: reader.mesh().outbound,
        ipv6: super::has_ipv6(reader, proxy),
        leno: proxy.on_demand,
        log: super::client_log(reader, proxy),
        paths: reader.mesh().paths,
    };
    for service in services {
        match service.port(port)?.protocol {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => made.http = true,
            Protocol::Tls => {
                let targets = targets(reader, proxy, &service.host, port);
                made.by_sni.push((service.host.to_string(), targets));
            }
            Protocol::Tcp | Protocol::Opaque | Protocol::Detect if made.tcp.is_none() => {
                let targets = targets(reader, proxy, &service.host, port);
                made.tcp = Some((naming::outbound_cluster(port, None, &service.host), targets));
            }
            Protocol::Tcp | Protocol::Opaque | Protocol::Detect | Protocol::Udp => {}
        }
    }
    let any = made.http || made.tcp.is_some() || !made.by_sni.is_empty();
    any.then_some(made)
}

/// Strangers use the same port, and not all of them speak HTTP.
pub(super) fn port_listener(input: &PortListener) -> Listener {
    let log = input.log.as_ref();
    let mut listener = empty(input);
    if input.http {
        let manager = ConnectionManager {
            stat_prefix: format!("outbound_{};", listener.name),
            log,
            audit: None,
            leno: input.leno,
            guards: Vec::new(),
            paths: input.paths,
            side: Side::Outbound {
                routes: input.address.port().to_string(),
                detected: false,
            },
        };
        detect(&mut listener, manager.filter());
    } else if !input.by_sni.is_empty() {
        listener.listener_filters = vec![screen::inspect_tls(&[])];
        screen::wait_for_inspectors(&mut listener);
    }
    for (host, targets) in &input.by_sni {
        let asked = FilterChainMatch {
            transport_protocol: TLS.into(),
            server_names: vec![host.clone()],
            ..Default::default()
        };
        let filter = tcp_proxy(host, targets, log);
        listener.filter_chains.push(chain(host, asked, filter));
    }
    listener.default_filter_chain = Some(match &input.tcp {
        Some((prefix, targets)) => {
            let filter = tcp_proxy(prefix, targets, log);
            chain(prefix, FilterChainMatch::default(), filter)
        }
        None => catch_all("PassthroughFilterChain", input.policy, log),
    });
    listener
}

fn empty(input: &PortListener) -> Listener {
    let (address, port) = (input.address.ip(), input.address.port());
    let mut listener = if address.is_unspecified() {
        screen::wildcard(&naming::port_listener(port), port, input.ipv6, Outbound)
    } else {
        at(address, port)
    };
    listener.bind_to_port = bool_value(false);
    listener
}

fn at(address: IpAddr, port: u16) -> Listener {
    Listener {
        name: format!("{}_{port}", bracketed(address)),
        address: socket_address(&address.to_string(), port),
        traffic_direction: Outbound.into(),
        ..Default::default()
    }
}
