//! `/listeners`: where each listens.

use std::net::SocketAddr;

use leno_proto::envoy::admin::v3::{ListenerStatus, Listeners};
use leno_proto::envoy::config::core::v3 as core;

use crate::Handle;

/// By name, in the order of the configuration, each with its addresses.
fn listening(proxy: &Handle) -> Vec<(String, Vec<SocketAddr>)> {
    let updater = proxy.updater();
    let mut listeners: Vec<_> = updater
        .config()
        .listeners()
        .map(|listener| (listener.name.clone(), updater.addresses(&listener.name)))
        .collect();
    listeners.sort();
    listeners
}

pub(super) fn text(proxy: &Handle) -> String {
    let listening = listening(proxy);
    let lines = listening.iter().map(|(name, addresses)| {
        let addresses = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        format!("{name}::{}\n", addresses.join(","))
    });
    lines.collect()
}

pub(super) fn message(proxy: &Handle) -> Listeners {
    let statuses = listening(proxy).into_iter().map(|(name, addresses)| {
        let mut addresses = addresses.into_iter().map(socket);
        ListenerStatus {
            name,
            local_address: addresses.next(),
            additional_local_addresses: addresses.collect(),
        }
    });
    Listeners {
        listener_statuses: statuses.collect(),
    }
}

pub(super) fn socket(address: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            address.port().into(),
        )),
        ..Default::default()
    };
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}
