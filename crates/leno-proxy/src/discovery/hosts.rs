//! Virtual hosts that have come one by one, and the route configurations that they belong to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use leno_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use prost::Message;

/// By their resources' names: the route configuration's, a slash, and a domain.
#[derive(Debug, Default)]
pub(super) struct VirtualHosts(BTreeMap<String, VirtualHost>);

// === impl VirtualHosts ===

impl VirtualHosts {
    /// A route configuration with the hosts that have come for it. What cannot be read stays as it is.
    pub(super) fn put_into<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        if self.0.is_empty() {
            return Cow::Borrowed(body);
        }
        let Ok(mut table) = RouteConfiguration::decode(body) else {
            return Cow::Borrowed(body);
        };
        if table.vhds.is_none() {
            return Cow::Borrowed(body);
        }
        let of_table = self
            .0
            .iter()
            .filter(|(name, _)| route_of(name) == Some(&table.name));
        // One host may have come by several of its domains.
        let by_name: BTreeMap<&String, &VirtualHost> = of_table.map(|(_, host)| (&host.name, host)).collect();
        table.virtual_hosts.extend(by_name.into_values().cloned());
        Cow::Owned(table.encode_to_vec())
    }

    /// None: there is none any more. What was there before comes back.
    pub(super) fn replace(&mut self, name: &str, host: Option<VirtualHost>) -> Option<VirtualHost> {
        match host {
            Some(host) => self.0.insert(name.to_owned(), host),
            None => self.0.remove(name),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The name of a host's route configuration.
pub(super) fn route_of(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(route, _)| route)
}
