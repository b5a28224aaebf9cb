//! Outbound: what the workload calls.
//!
//! `virtualOutbound` gets every captured connection and hands it to the listener of its original destination.
//! What has none is not the mesh's and passes (or, under `REGISTRY_ONLY`, is refused); but an address of the mesh's
//! own ranges that nobody has is refused always: it means nothing outside, and must not leak there.

use std::net::{IpAddr, SocketAddr};

use leno_model::{Host, OutboundPolicy, PathNormalization, Protocol};

use super::screen::{self, PLAINTEXT_HTTP, RAW, chain, protocols};
use crate::Proxy;
use crate::access_log::{LogInput, refusal_log};
use crate::connection_manager::{ConnectionManager, Side};
use crate::naming::{self, BLACK_HOLE, PASSTHROUGH, VIRTUAL_OUTBOUND};
use crate::parts::{bool_value, cidr, socket_address, u32_value};
use crate::pb::core::TrafficDirection::Outbound;
use crate::pb::listener::{Filter, FilterChain, FilterChainMatch, Listener};
use crate::reader::Reader;
use crate::tcp::{Branch, Streams, Taken, TcpTargets, streams, tcp_proxy};

/// Where captured connections arrive.
const PORT: u16 = 15001;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VirtualOutbound {
    policy: OutboundPolicy,
    ipv6: bool,
    log: Option<LogInput>,
}

pub(super) fn virtual_outbound_input(reader: &mut Reader<'_>, proxy: &Proxy) -> VirtualOutbound {
    VirtualOutbound {
        policy: reader.outbound(),
        ipv6: super::has_ipv6(reader, proxy),
        log: super::client_log(reader, proxy),
    }
}

pub(super) fn virtual_outbound(input: &VirtualOutbound) -> Listener {
    let log = input.log.as_ref();
    let to_itself = FilterChainMatch {
        destination_port: u32_value(PORT.into()),
        ..Default::default()
    };
    let unknown_vip = FilterChainMatch {
        prefix_ranges: vec![cidr("240.240.0.0", 16), cidr("fd00:6c65:6e6f::", 64)],
        ..Default::default()
    };
    let mut listener = screen::wildcard(VIRTUAL_OUTBOUND, PORT, input.ipv6, Outbound);
    listener.use_original_dst = bool_value(true);
    listener.filter_chains = vec![
        chain("virtualOutbound-trap", to_itself, straight(BLACK_HOLE, log)),
        chain("virtualOutbound-vips", unknown_vip, straight(BLACK_HOLE, log)),
    ];
    listener.default_filter_chain = Some(catch_all("virtualOutbound-catchall-tcp", input.policy, log));
    listener.access_log = refusal_log(log);
    listener
}

/// All connections to one cluster, under the cluster's own statistics.
fn straight(cluster: &str, log: Option<&LogInput>) -> Filter {
    tcp_proxy(cluster, &TcpTargets::one(cluster), log)
}

pub(super) fn catch_all(name: &str, policy: OutboundPolicy, log: Option<&LogInput>) -> FilterChain {
    let cluster = match policy {
        OutboundPolicy::AllowAny => PASSTHROUGH,
        OutboundPolicy::RegistryOnly => BLACK_HOLE,
    };
    chain(name, FilterChainMatch::default(), straight(cluster, log))
}

/// One port of one service's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressListener {
    address: SocketAddr,
    host: Host,
    speaks: Speaks,
    leno: bool,
    log: Option<LogInput>,
    paths: PathNormalization,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Speaks {
    Http,
    Tcp(Streams),
    /// Not said: HTTP if it looks like that, else this.
    Detect(Streams),
}

pub(super) fn address_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    address: SocketAddr,
) -> Option<AddressListener> {
    let service = reader.by_address(address.ip(), address.port())?;
    let port = service.port(address.port())?;
    let called = (&service.host, port.port, port.protocol);
    let speaks = match port.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => Speaks::Http,
        Protocol::Tcp | Protocol::Tls | Protocol::Opaque => {
            Speaks::Tcp(streams(reader, proxy, called, Some(address.ip())))
        }
        Protocol::Detect => Speaks::Detect(streams(reader, proxy, called, Some(address.ip()))),
        Protocol::Udp => return None,
    };
    Some(AddressListener {
        address,
        host: service.host.clone(),
        speaks,
        leno: proxy.on_demand,
        log: super::client_log(reader, proxy),
        paths: reader.mesh().paths,
    })
}

pub(super) fn address_listener(input: &AddressListener) -> Listener {
    let (address, port) = (input.address.ip(), input.address.port());
    let mut listener = Listener {
        name: naming::address_listener(address, port),
        address: socket_address(&address.to_string(), port),
        bind_to_port: bool_value(false),
        traffic_direction: Outbound.into(),
        ..Default::default()
    };
    match &input.speaks {
        Speaks::Http => {
            let filter = http(input, false);
            listener.filter_chains = vec![chain(&listener.name, FilterChainMatch::default(), filter)];
        }
        Speaks::Tcp(streams) => {
            let mut taken = Taken::default();
            for (i, branch) in streams.branches.iter().enumerate() {
                let name = format!("{}-{i}", listener.name);
                let chains = branch_chains(&name, branch, &mut taken, tcp(input, &branch.targets));
                listener.filter_chains.extend(chains);
            }
            if streams.branches.iter().any(Branch::is_by_name) {
                listener.listener_filters = vec![screen::inspect_tls(&[])];
                screen::wait_for_inspectors(&mut listener);
            }
            if let Some(targets) = &streams.otherwise {
                let otherwise = chain(&listener.name, FilterChainMatch::default(), tcp(input, targets));
                listener.filter_chains.push(otherwise);
            }
        }
        // The listener is for one address, so that nothing but HTTP is left to be told apart.
        Speaks::Detect(streams) => {
            detect(&mut listener, http(input, true));
            let name = format!("{}-tcp", listener.name);
            let otherwise = streams.otherwise.as_ref();
            listener.default_filter_chain =
                otherwise.map(|targets| chain(&name, FilterChainMatch::default(), tcp(input, targets)));
        }
    }
    listener
}

/// The chains of a branch; more than one only where parts of it are taken.
pub(super) fn branch_chains(
    name: &str,
    branch: &Branch,
    taken: &mut Taken,
    filter: Filter,
) -> Vec<FilterChain> {
    let matches = branch.matches(taken).into_iter().enumerate();
    let chains = matches.map(|(i, matches)| {
        let name = match i {
            0 => name.to_owned(),
            further => format!("{name}/{further}"),
        };
        chain(&name, matches, filter.clone())
    });
    chains.collect()
}

/// Plaintext HTTP goes to `filter`; what else comes takes the default chain.
pub(super) fn detect(listener: &mut Listener, filter: Filter) {
    let http = FilterChainMatch {
        transport_protocol: RAW.into(),
        application_protocols: protocols(PLAINTEXT_HTTP),
        ..Default::default()
    };
    listener.filter_chains = vec![chain(&format!("{}-http", listener.name), http, filter)];
    listener.listener_filters = vec![screen::inspect_tls(&[]), screen::inspect_http(&[])];
    screen::wait_for_inspectors(listener);
}

fn http(input: &AddressListener, detected: bool) -> Filter {
    let port = input.address.port();
    let manager = ConnectionManager {
        stat_prefix: stat_prefix(input.address.ip(), port),
        log: input.log.as_ref(),
        audit: None,
        leno: input.leno,
        guards: Vec::new(),
        paths: input.paths,
        side: Side::Outbound {
            routes: format!("{}:{port}", input.host),
            detected,
        },
    };
    manager.filter()
}

fn tcp(input: &AddressListener, targets: &TcpTargets) -> Filter {
    let prefix = naming::outbound_cluster(input.address.port(), None, &input.host);
    tcp_proxy(&prefix, targets, input.log.as_ref())
}

fn stat_prefix(address: IpAddr, port: u16) -> String {
    format!("outbound_{}_{port};", crate::parts::bracketed(address))
}
