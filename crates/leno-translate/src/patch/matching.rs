//! Which objects a patch is for.

use std::net::{IpAddr, Ipv4Addr};

use leno_model::EnvoyPatch;
use leno_model::envoy_filter::{
    ApplyTo, FilterChainMatch, ListenerMatch, PatchContext, RouteAction, RouteConfigurationMatch,
    VirtualHostMatch,
};

use crate::naming::{self, ClusterName, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND};
use crate::pb::listener::FilterChain;
use crate::pb::route::{Route, VirtualHost, route::Action};

pub(super) fn context(patch: &EnvoyPatch, context: PatchContext) -> bool {
    let wanted = patch.matches.context;
    wanted == PatchContext::Any || wanted == context
}

/// `hosts`: of an inbound cluster the services behind it.
pub(super) fn cluster(patch: &EnvoyPatch, name: &str, hosts: &[&str]) -> bool {
    let Some(by) = &patch.matches.cluster else {
        return true;
    };
    if !by.name.is_empty() {
        return by.name == name;
    }
    let (port, subset, host) = match ClusterName::parse(name) {
        Some(ClusterName::Outbound {
            port, subset, host, ..
        }) => (port, subset, Some(host)),
        Some(ClusterName::Inbound { port }) => (port, None, None),
        _ => (0, None, None),
    };
    let service = match &host {
        Some(host) => host.as_str().eq_ignore_ascii_case(&by.service),
        None => hosts.iter().any(|host| host.eq_ignore_ascii_case(&by.service)),
    };
    (by.subset.is_empty() || subset.as_ref() == Some(&by.subset))
        && (by.service.is_empty() || service)
        && (by.port_number == 0 || by.port_number == u32::from(port))
}

fn is_virtual(name: &str) -> bool {
    matches!(name, VIRTUAL_INBOUND | VIRTUAL_OUTBOUND)
}

/// By its name and port; of the two virtual ones the port is a matter of their chains.
pub(super) fn listener(patch: &EnvoyPatch, name: &str, on_demand: bool) -> bool {
    let Some(by) = &patch.matches.listener else {
        return true;
    };
    let address = naming::parse_address_listener(name);
    let of_port = address.map(|address| {
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        naming::address_listener(any, address.port())
    });
    let named = by.name.is_empty() || by.name == name || (on_demand && of_port.as_ref() == Some(&by.name));
    if patch.apply_to != ApplyTo::Listener && is_virtual(name) {
        return named;
    }
    let port = match name {
        VIRTUAL_OUTBOUND => 15001,
        VIRTUAL_INBOUND => 15006,
        _ => address.map_or(0, |address| u32::from(address.port())),
    };
    named && (by.port_number == 0 || by.port_number == port)
}

/// The listener has been found to be meant.
pub(super) fn chain(by: Option<&ListenerMatch>, listener: &str, chain: &FilterChain) -> bool {
    let Some(by) = by else {
        return true;
    };
    let matches = chain.filter_chain_match.clone().unwrap_or_default();
    let port = matches.destination_port.map_or(0, |port| port.value);
    if is_virtual(listener) && by.port_number != 0 && by.port_number != port {
        return false;
    }
    let Some(FilterChainMatch {
        name,
        sni,
        transport_protocol,
        application_protocols,
        filter: _,
        destination_port,
    }) = &by.filter_chain
    else {
        return true;
    };
    let mut protocols = application_protocols.split(',').filter(|name| !name.is_empty());
    (name.is_empty() || *name == chain.name)
        && (sni.is_empty() || matches.server_names.contains(sni))
        && (transport_protocol.is_empty() || *transport_protocol == matches.transport_protocol)
        && protocols.all(|wanted| matches.application_protocols.iter().any(|has| has == wanted))
        && (*destination_port == 0 || *destination_port == port)
}

/// The network filter that the patch names; None: any.
pub(super) fn network_filter(by: Option<&ListenerMatch>) -> Option<&str> {
    let filter = by?.filter_chain.as_ref()?.filter.as_ref()?;
    Some(&filter.name)
}

/// The HTTP filter that the patch names; None: any.
pub(super) fn http_filter(by: Option<&ListenerMatch>) -> Option<&str> {
    let filter = by?.filter_chain.as_ref()?.filter.as_ref()?;
    filter.sub_filter.as_ref().map(|inner| inner.name.as_str())
}

pub(super) fn routes(patch: &EnvoyPatch, name: &str, context: PatchContext) -> bool {
    let Some(by) = &patch.matches.route_configuration else {
        return true;
    };
    let RouteConfigurationMatch {
        port_number,
        port_name,
        gateway,
        vhost: _,
        name: wanted,
    } = by;
    let read = Read::of(name, context == PatchContext::Gateway);
    let port_is = *port_number == 0 || read.port.is_some_and(|port| u32::from(port) == *port_number);
    let named = wanted.is_empty() || wanted == name || read.of_port.as_ref() == Some(wanted);
    if context != PatchContext::Gateway {
        return port_is && named;
    }
    port_is
        && named
        && (port_name.is_empty() || Some(port_name.as_str()) == read.port_name)
        && (gateway.is_empty() || Some(gateway) == read.gateway.as_ref())
}

/// What the name of a route configuration says.
#[derive(Default)]
struct Read<'n> {
    port: Option<u16>,
    /// What others have for a port, leno's proxy has for each service.
    of_port: Option<String>,
    port_name: Option<&'n str>,
    /// `NAMESPACE/NAME`
    gateway: Option<String>,
}

impl<'n> Read<'n> {
    fn of(name: &'n str, gateway: bool) -> Self {
        if gateway {
            let parts: Vec<&str> = name.split('.').collect();
            return match parts.as_slice() {
                ["http", port, ..] => Self {
                    port: port.parse().ok(),
                    ..Self::default()
                },
                ["https", port, port_name, gateway, namespace] => Self {
                    port: port.parse().ok(),
                    port_name: Some(port_name),
                    gateway: Some(format!("{namespace}/{gateway}")),
                    ..Self::default()
                },
                _ => Self::default(),
            };
        }
        if let Some(ClusterName::Inbound { port }) = ClusterName::parse(name) {
            return Self {
                port: Some(port),
                ..Self::default()
            };
        }
        let port = name.rsplit_once(':').map_or(name, |(_, port)| port);
        Self {
            port: port.parse().ok(),
            of_port: Some(port.to_owned()),
            ..Self::default()
        }
    }
}

fn vhost(patch: &EnvoyPatch) -> Option<&VirtualHostMatch> {
    patch.matches.route_configuration.as_ref()?.vhost.as_ref()
}

pub(super) fn virtual_host(patch: &EnvoyPatch, host: &VirtualHost) -> bool {
    vhost(patch).is_none_or(|by| {
        (by.name.is_empty() || by.name == host.name)
            && (by.domain_name.is_empty() || host.domains.contains(&by.domain_name))
    })
}

/// Whether the patch names a route.
pub(super) fn names_route(patch: &EnvoyPatch) -> bool {
    vhost(patch).is_some_and(|by| by.route.is_some())
}

pub(super) fn route(patch: &EnvoyPatch, route: &Route) -> bool {
    let Some(by) = vhost(patch).and_then(|by| by.route.as_ref()) else {
        return true;
    };
    let action = match by.action {
        RouteAction::Any => true,
        RouteAction::Route => matches!(route.action, Some(Action::Route(_))),
        RouteAction::Redirect => matches!(route.action, Some(Action::Redirect(_))),
        RouteAction::DirectResponse => matches!(route.action, Some(Action::DirectResponse(_))),
    };
    action && (by.name.is_empty() || by.name == route.name)
}
