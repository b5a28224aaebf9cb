//! VHDS: virtual hosts that come one by one, each put into its route configuration, which is compiled anew.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use leno_engine::compile::config_source::Origin;
use leno_proto::envoy::config::route::v3::VirtualHost;
use prost::Message;

use super::Discovery;
use super::feeds::Feeds;
use super::hosts::route_of;
use super::memory::Memory;
use crate::resources::{Compiled, Kind, Name};

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
        let before = memory.virtual_hosts.replace(name, host);
        let Some(route) = route_of(name) else {
            memory.virtual_hosts.replace(name, None);
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
                memory.virtual_hosts.replace(name, before);
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
