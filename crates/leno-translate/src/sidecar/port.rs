//! What is told apart by what a connection says, not by its address: the HTTP services of a port by the Host header, and
//! services whose address the caller found out by itself (`resolution: NONE`) by Host or SNI.
//!
//! A proxy that is given everything has one such listener for a port. leno's asks for the address that was called, and
//! is told of the services that may be at any address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use leno_model::{OutboundPolicy, PathNormalization, Protocol, Service};

use super::outbound::{branch_chains, catch_all, detect};
use super::screen::{self, chain};
use crate::Proxy;
use crate::access_log::LogInput;
use crate::connection_manager::{ConnectionManager, Side};
use crate::naming;
use crate::parts::{bool_value, bracketed, socket_address};
use crate::pb::core::CidrRange;
use crate::pb::core::TrafficDirection::Outbound;
use crate::pb::listener::{FilterChain, FilterChainMatch, Listener};
use crate::reader::Reader;
use crate::tcp::{Branch, Streams, Taken, streams, tcp_proxy};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortListener {
    address: SocketAddr,
    http: bool,
    /// By the name that the client asks for in its hello.
    by_sni: Vec<(String, Branch)>,
    /// Everything else.
    tcp: Option<(String, Streams)>,
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
    let mut services: Vec<&Service> = reader.services().into_iter().filter(shared).collect();
    services.retain(|service| reader.imports(service, port));
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
    let alone = (!address.ip().is_unspecified()).then_some(address.ip());
    let mut made = PortListener {
        address,
        http: false,
        by_sni: Vec::new(),
        tcp: None,
        policy: reader.outbound(),
        ipv6: super::has_ipv6(reader, proxy),
        leno: proxy.on_demand,
        log: super::client_log(reader, proxy),
        paths: reader.mesh().paths,
    };
    for service in services {
        let protocol = service.port(port)?.protocol;
        let called = (&service.host, port, protocol);
        match protocol {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => made.http = true,
            Protocol::Tls => {
                let Streams { branches, otherwise } = streams(reader, proxy, called, alone);
                let name = service.host.to_string();
                let itself = otherwise.map(|targets| Branch::named(name.clone(), targets));
                let all = branches.into_iter().chain(itself);
                made.by_sni.extend(all.map(|branch| (name.clone(), branch)));
            }
            Protocol::Tcp | Protocol::Opaque | Protocol::Detect if made.tcp.is_none() => {
                let streams = streams(reader, proxy, called, alone);
                made.tcp = Some((naming::outbound_cluster(port, None, &service.host), streams));
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
    let mut taken = Taken::default();
    let mut chains_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (host, branch) in &input.by_sni {
        let count = chains_of.entry(host).or_default();
        let name = match *count {
            0 => host.clone(),
            further => format!("{host}-{further}"),
        };
        *count += 1;
        let filter = tcp_proxy(host, &branch.targets, log);
        listener
            .filter_chains
            .extend(branch_chains(&name, branch, &mut taken, filter));
    }
    let bytes = input.tcp.iter().flat_map(|(prefix, streams)| {
        let branches = streams.branches.iter().enumerate();
        branches.map(move |(i, branch)| (prefix, i, branch))
    });
    for (prefix, i, branch) in bytes {
        let filter = tcp_proxy(prefix, &branch.targets, log);
        let chains = branch_chains(&format!("{prefix}-{i}"), branch, &mut taken, filter);
        listener.filter_chains.extend(chains);
    }
    repeat_within_subnets(&mut listener);
    let otherwise = input
        .tcp
        .as_ref()
        .and_then(|(prefix, streams)| Some((prefix, streams.otherwise.as_ref()?)));
    listener.default_filter_chain = Some(match otherwise {
        Some((prefix, targets)) => {
            let filter = tcp_proxy(prefix, targets, log);
            chain(prefix, FilterChainMatch::default(), filter)
        }
        None => catch_all("PassthroughFilterChain", input.policy, log),
    });
    listener
}

/// A chain is looked for by the destination's address before anything else: within a subnet that some chain names,
/// chains that name none would never be found. They are repeated there.
fn repeat_within_subnets(listener: &mut Listener) {
    let matched = |chain: &FilterChain| chain.filter_chain_match.clone().unwrap_or_default();
    let mut subnets: Vec<CidrRange> = Vec::new();
    for net in listener
        .filter_chains
        .iter()
        .flat_map(|chain| matched(chain).prefix_ranges)
    {
        if !subnets.contains(&net) {
            subnets.push(net);
        }
    }
    let anywhere = |chain: &&FilterChain| matched(chain).prefix_ranges.is_empty();
    let everywhere: Vec<FilterChain> = listener.filter_chains.iter().filter(anywhere).cloned().collect();
    for (i, net) in subnets.into_iter().enumerate() {
        for chain in &everywhere {
            let wanted = matched(chain);
            let mut there = listener.filter_chains.iter().map(matched);
            let own = there.find(|other| {
                other.prefix_ranges.contains(&net)
                    && other.transport_protocol == wanted.transport_protocol
                    && other.application_protocols == wanted.application_protocols
            });
            let named = own.map_or_else(Vec::new, |own| own.server_names);
            let names = wanted.server_names.iter().filter(|name| !named.contains(name));
            let left: Vec<String> = names.cloned().collect();
            if left.is_empty() && !wanted.server_names.is_empty() {
                continue;
            }
            listener.filter_chains.push(FilterChain {
                name: format!("{}/subnet-{i}", chain.name),
                filter_chain_match: Some(FilterChainMatch {
                    prefix_ranges: vec![net.clone()],
                    server_names: left,
                    ..wanted
                }),
                ..chain.clone()
            });
        }
    }
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
