//! VHDS: virtual hosts that come one by one, each put into its route configuration, which is compiled anew.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use leno_engine::compile::config_source::Origin;
use leno_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use prost::Message;

use super::Discovery;
use super::feeds::Feeds;
use super::memory::Memory;
use crate::resources::{Compiled, Kind, Name};

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

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The name of a host's route configuration.
pub(super) fn route_of(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(route, _)| route)
}

// === impl Discovery ===

impl Discovery {
    /// A virtual host as it is now, or that there is none (any more).
    pub(super) fn take_virtual_host(
        &self,
        memory: &mut Memory,
        feeds: &Feeds,
        name: &str,
        body: Option<&[u8]>,
        now: Instant,
    ) -> Result<(), String> {
        let host = body.map(VirtualHost::decode).transpose();
        let host = host.map_err(|error| error.to_string())?;
        let hosts = &mut memory.virtual_hosts.0;
        let before = match host {
            Some(host) => hosts.insert(name.to_owned(), host),
            None => hosts.remove(name),
        };
        let Some(route) = route_of(name) else {
            memory.virtual_hosts.0.remove(name);
            return Err("its name has no route configuration before a slash".to_owned());
        };
        let route: Name = (Kind::Route, route.to_owned());
        let Some((version, table)) = memory.resources.newest(&route) else {
            return Ok(());
        };
        match self.compile(memory, feeds, Kind::Route, &table, &*self.files()) {
            Ok(compiled) => {
                memory.resources.accept(route, version, table, compiled, now);
                Ok(())
            }
            Err(why) => {
                match before {
                    Some(before) => memory.virtual_hosts.0.insert(name.to_owned(), before),
                    None => memory.virtual_hosts.0.remove(name),
                };
                Err(why)
            }
        }
    }

    /// What VHDS needs of its stream.
    pub(super) fn check_virtual_hosts(compiled: &Compiled, feeds: &Feeds) -> Result<(), String> {
        match compiled {
            Compiled::Route(table) => match &table.vhds {
                Some(source) if source.origin == Origin::Ads && !feeds.ads_is_delta() => {
                    Err("vhds: ads is not delta here".to_owned())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Memory {
    /// The message of a resource as it counts.
    pub(super) fn whole(&self, kind: Kind, body: &Bytes) -> Bytes {
        match kind {
            Kind::Route => match self.virtual_hosts.put_into(body) {
                Cow::Borrowed(_) => body.clone(),
                Cow::Owned(whole) => whole.into(),
            },
            _ => body.clone(),
        }
    }
}
