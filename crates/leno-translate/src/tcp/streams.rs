//! Where the connections of a service's port go under the routes for connections: decided here as far as it is about
//! the caller, by filter chains as far as it is about the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use leno_model::route::StreamMatch;
use leno_model::{Host, Protocol};

use super::{TcpTargets, itself, shares};
use crate::Proxy;
use crate::parts::cidr;
use crate::pb::listener::FilterChainMatch;
use crate::reader::Reader;
use crate::sidecar::screen::TLS;

/// Connections by what they say, and where all others go; none: nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Streams {
    pub(crate) branches: Vec<Branch>,
    pub(crate) otherwise: Option<TcpTargets>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Branch {
    tls: bool,
    /// Names in the hello; empty: any.
    names: Vec<String>,
    /// Addresses that the connection is for; empty: any.
    subnets: Vec<IpNet>,
    pub(crate) targets: TcpTargets,
}

/// What earlier branches of a listener match. Of two chains for the same Envoy refuses both, and with them the listener.
#[derive(Debug, Default)]
pub(crate) struct Taken(BTreeSet<(bool, Option<String>, Option<IpNet>)>);

/// `address`: the one that is called, where the listener is for it alone.
///
/// As in Istio a port of TLS has the rules by name, and other ports those of bytes. With rules by name of which none
/// fits, a connection goes nowhere; without, all goes to the service.
pub(crate) fn streams(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    (host, port, protocol): (&Host, u16, Protocol),
    address: Option<IpAddr>,
) -> Streams {
    let tls = protocol == Protocol::Tls;
    let mut streams = Streams {
        branches: Vec::new(),
        otherwise: None,
    };
    let routes = reader.tcp_routes(host);
    for route in routes.iter().filter(|route| route.tls == tls) {
        let all = [StreamMatch::default()];
        let matches = match route.matches.as_slice() {
            [] => &all[..],
            said => said,
        };
        let mut here = matches
            .iter()
            .filter(|matching| holds(matching, proxy, port, address));
        let subnets_of = |matching: &StreamMatch| match address {
            Some(_) => Vec::new(),
            None => matching.subnets.clone(),
        };
        if tls {
            for matching in here {
                let targets = shares(reader, proxy, route, port);
                streams.branches.push(Branch {
                    tls,
                    names: matching.names.clone(),
                    subnets: subnets_of(matching),
                    targets,
                });
            }
            continue;
        }
        let mut subnets = Vec::new();
        let everything = here.any(|matching| {
            let own = subnets_of(matching);
            subnets.extend(own.iter().copied());
            own.is_empty()
        });
        if everything {
            streams.otherwise = Some(shares(reader, proxy, route, port));
            return streams;
        }
        if !subnets.is_empty() {
            let targets = shares(reader, proxy, route, port);
            streams.branches.push(Branch {
                tls,
                names: Vec::new(),
                subnets,
                targets,
            });
        }
    }
    if !tls || streams.branches.is_empty() {
        streams.otherwise = Some(itself(reader, proxy, host, port));
    }
    streams
}

fn holds(matching: &StreamMatch, proxy: &Proxy, port: u16, address: Option<IpAddr>) -> bool {
    let mut labels = matching.source_labels.iter();
    let mut subnets = matching.subnets.iter();
    matching.port.is_none_or(|wanted| wanted == port)
        && labels.all(|(name, value)| proxy.labels.get(name) == Some(value))
        && matching
            .source_namespace
            .as_ref()
            .is_none_or(|wanted| *wanted == proxy.namespace)
        && address
            .is_none_or(|called| matching.subnets.is_empty() || subnets.any(|net| net.contains(&called)))
}

// === impl Branch ===

impl Branch {
    /// TLS for this name.
    pub(crate) fn named(name: String, targets: TcpTargets) -> Self {
        Self {
            tls: true,
            names: vec![name],
            subnets: Vec::new(),
            targets,
        }
    }

    pub(crate) fn is_by_name(&self) -> bool {
        self.tls
    }

    /// What chains for it match, as far as it is not taken; mostly one.
    pub(crate) fn matches(&self, taken: &mut Taken) -> Vec<FilterChainMatch> {
        let names: Vec<Option<&String>> =
            match self.names.iter().any(|name| name == "*") || self.names.is_empty() {
                true => vec![None],
                false => self.names.iter().map(Some).collect(),
            };
        let subnets: Vec<Option<IpNet>> = match self.subnets.as_slice() {
            [] => vec![None],
            said => said.iter().copied().map(Some).collect(),
        };
        // Names that have the same addresses left are one chain.
        let mut free: BTreeMap<Vec<Option<IpNet>>, Vec<&String>> = BTreeMap::new();
        for name in names {
            let mut own = subnets.clone();
            own.retain(|net| taken.0.insert((self.tls, name.cloned(), *net)));
            if !own.is_empty() {
                free.entry(own).or_default().extend(name);
            }
        }
        let chains = free.into_iter().map(|(subnets, names)| FilterChainMatch {
            transport_protocol: if self.tls { TLS.into() } else { String::new() },
            server_names: names.into_iter().cloned().collect(),
            prefix_ranges: subnets
                .into_iter()
                .flatten()
                .map(|net| cidr(&net.addr().to_string(), net.prefix_len().into()))
                .collect(),
            ..Default::default()
        });
        chains.collect()
    }
}
