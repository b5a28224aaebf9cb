//! What is spoken to an endpoint below HTTP, and what a listener looks for in what it is sent.

use std::collections::BTreeMap;

use crate::compile::cluster::{Transport, TransportSockets};
use crate::compile::endpoint::Endpoint;
use crate::compile::listener::{ListenerFilters, PortRange};

impl TransportSockets {
    /// The first whose demands the endpoint's metadata meet, else the cluster's own.
    pub fn of(&self, endpoint: &Endpoint) -> &Transport {
        self.matching(&endpoint.transport_match)
    }

    /// The first whose criteria are all among these.
    pub fn matching(&self, has: &BTreeMap<String, String>) -> &Transport {
        let mut matches = self.matches.iter();
        matches
            .find(|(wanted, _)| wanted.iter().all(|(name, value)| has.get(name) == Some(value)))
            .map_or(&self.default, |(_, transport)| transport)
    }
}

impl ListenerFilters {
    /// Whether connections to this port are looked at for TLS.
    pub fn looks_for_tls(&self, port: u16) -> bool {
        self.tls_inspector && !covered(&self.tls_inspector_off, port)
    }

    /// Whether connections to this port are looked at for HTTP.
    pub fn looks_for_http(&self, port: u16) -> bool {
        self.http_inspector && !covered(&self.http_inspector_off, port)
    }
}

fn covered(ranges: &[PortRange], port: u16) -> bool {
    ranges
        .iter()
        .any(|range| (range.start..range.end).contains(&port))
}
