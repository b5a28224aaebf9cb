//! `/listeners`: where each listens.

use leno_engine::compile::endpoint::Target;
use leno_engine::compile::listener::Address;
use leno_proto::envoy::admin::v3::{ListenerStatus, Listeners};

use super::endpoints::address;
use crate::Handle;

/// By name, in the order of the configuration, each with its addresses.
fn listening(proxy: &Handle) -> Vec<(String, Vec<Address>)> {
    let updater = proxy.updater();
    let mut listeners: Vec<_> = updater
        .config()
        .listeners()
        .map(|listener| (listener.name.clone(), updater.listening(&listener.name)))
        .collect();
    listeners.sort_by(|a, b| a.0.cmp(&b.0));
    listeners
}

pub(super) fn text(proxy: &Handle) -> String {
    let listening = listening(proxy);
    let lines = listening.iter().map(|(name, addresses)| {
        let addresses = addresses.iter().map(Address::to_string).collect::<Vec<_>>();
        format!("{name}::{}\n", addresses.join(","))
    });
    lines.collect()
}

pub(super) fn message(proxy: &Handle) -> Listeners {
    let statuses = listening(proxy).into_iter().map(|(name, addresses)| {
        let mut addresses = addresses
            .into_iter()
            .map(|bound| address(&Target::Address(bound)));
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
