//! A sidecar's listeners: which there are, and what each is made of.

mod inbound;
mod outbound;
mod port;
pub(crate) mod screen;

use std::collections::BTreeSet;

use leno_model::telemetry::Side;
use leno_model::{Protocol, Service};

use crate::Proxy;
use crate::access_log::LogInput;
use crate::naming::{self, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND};
use crate::pb::listener::Listener;
use crate::reader::Reader;
use crate::telemetry::told;

pub(crate) use inbound::{inbound_port, mode as mtls_mode};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListenerInput {
    VirtualOutbound(outbound::VirtualOutbound),
    VirtualInbound(inbound::VirtualInbound),
    Address(outbound::AddressListener),
    Port(port::PortListener),
}

/// The name comes from the proxy; what is no listener's name gives None.
pub(crate) fn listener_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<ListenerInput> {
    match name {
        VIRTUAL_OUTBOUND => Some(ListenerInput::VirtualOutbound(outbound::virtual_outbound_input(
            reader, proxy,
        ))),
        VIRTUAL_INBOUND => Some(ListenerInput::VirtualInbound(inbound::virtual_inbound_input(
            reader, proxy,
        ))),
        _ => {
            let address = naming::parse_address_listener(name)?;
            if address.ip().is_unspecified() {
                return port::port_input(reader, proxy, address.port()).map(ListenerInput::Port);
            }
            let known = outbound::address_input(reader, proxy, address).map(ListenerInput::Address);
            known.or_else(|| port::stranger_input(reader, proxy, address).map(ListenerInput::Port))
        }
    }
}

pub(crate) fn listener(input: &ListenerInput) -> Listener {
    match input {
        ListenerInput::VirtualOutbound(input) => outbound::virtual_outbound(input),
        ListenerInput::VirtualInbound(input) => inbound::virtual_inbound(input),
        ListenerInput::Address(input) => outbound::address_listener(input),
        ListenerInput::Port(input) => port::port_listener(input),
    }
}

/// All that a proxy without on-demand discovery needs; the other kind asks for the rest when it is called.
pub(crate) fn listener_names(reader: &mut Reader<'_>, proxy: &Proxy) -> Vec<String> {
    let mut names: BTreeSet<String> = [VIRTUAL_OUTBOUND.to_owned(), VIRTUAL_INBOUND.to_owned()].into();
    if !proxy.on_demand {
        for service in reader.services() {
            names.extend(service_listeners(reader, service));
        }
    }
    names.into_iter().collect()
}

/// HTTP ports share one listener per port; others are told apart by their address alone.
fn service_listeners(reader: &Reader<'_>, service: &Service) -> impl Iterator<Item = String> {
    let served = service
        .ports
        .iter()
        .filter(|port| port.protocol != Protocol::Udp && reader.imports(service, port.port));
    served.flat_map(|port| {
        if port.protocol.is_http() || service.is_anywhere() {
            vec![naming::port_listener(port.port)]
        } else {
            let named = |address: &std::net::IpAddr| naming::address_listener(*address, port.port);
            service.vips.iter().map(named).collect()
        }
    })
}

/// Whether the proxy's host has IPv6: leno's own capture always does; Envoy must not bind what is not there.
fn has_ipv6(reader: &mut Reader<'_>, proxy: &Proxy) -> bool {
    let Some(id) = proxy.workload.as_ref().filter(|_| !proxy.on_demand) else {
        return proxy.on_demand;
    };
    let workload = reader.workload(id);
    workload.is_some_and(|workload| workload.addresses.iter().any(std::net::IpAddr::is_ipv6))
}

/// What is told of what the workload calls.
fn client_log(reader: &mut Reader<'_>, proxy: &Proxy) -> Option<LogInput> {
    told(reader, proxy, Side::Client)
}
