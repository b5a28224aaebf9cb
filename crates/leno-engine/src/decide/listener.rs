//! Which filter chain serves a connection.
//!
//! Envoy's order (`FilterChainMatch` in `listener_components.proto`): destination port, destination address, server
//! name, transport protocol, application protocols, directly connected source, source type, source address, source
//! port. At each step the most specific criterion that holds wins, and *there is no way back*: a chain that names
//! the destination port hides every chain that does not, even if it fails at a later step. Ranks compared
//! lexicographically say exactly that, with rank 0 for "does not hold": the best tuple decides, and if there is a
//! 0 in it nothing matches and the default chain serves.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::matcher::tree::{Facts, Undecided};
use super::notes::Notes;
use crate::compile::listener::{ChainMatch, FilterChain, Listener, SourceType, TransportProtocol};
use crate::compile::matcher::input::Input;

/// What is known of a connection once the listener filters have looked at it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo<'a> {
    /// The original destination, where the listener restores it.
    pub destination: SocketAddr,
    pub source: SocketAddr,
    /// The connection's own peer; the same as `source` unless a proxy protocol said otherwise.
    pub direct_source: SocketAddr,
    /// Of the client's hello, lower case.
    pub sni: Option<&'a str>,
    pub transport: TransportProtocol,
    /// ALPN names of the client's hello in its order, or what the HTTP inspector found (`http/1.1`, `h2c`).
    pub application_protocols: &'a [&'a [u8]],
    /// What it was told by the listener that it comes from.
    pub notes: Option<&'a Notes>,
}

/// What a chain can demand, in the order in which it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    DestinationPort,
    DestinationAddress,
    ServerName,
    TransportProtocol,
    ApplicationProtocol,
    DirectSource,
    SourceType,
    SourceAddress,
    SourcePort,
}

const CRITERIA: [Criterion; STEPS] = [
    Criterion::DestinationPort,
    Criterion::DestinationAddress,
    Criterion::ServerName,
    Criterion::TransportProtocol,
    Criterion::ApplicationProtocol,
    Criterion::DirectSource,
    Criterion::SourceType,
    Criterion::SourceAddress,
    Criterion::SourcePort,
];

const STEPS: usize = 9;
type Ranks = [u32; STEPS];

/// The chain for this connection; the default chain where none matches; None where there is no default.
pub fn choose<'l>(listener: &'l Listener, connection: &ConnectionInfo<'_>) -> Option<&'l Arc<FilterChain>> {
    if let Some(matcher) = &listener.matcher {
        return match matcher.decide(connection) {
            Some(named) => named.and_then(|at| listener.chains.get(at)),
            None => listener.default_chain.as_ref(),
        };
    }
    // Most listeners have one chain, for everybody.
    if let [only] = listener.chains.as_slice()
        && only.matches.is_anything()
    {
        return Some(only);
    }
    let local = same_ip_or_loopback(connection);
    let mut best: Option<(Ranks, &Arc<FilterChain>)> = None;
    for chain in &listener.chains {
        let ranks = ranks(&chain.matches, connection, local);
        if best.is_none_or(|(so_far, _)| ranks > so_far) {
            best = Some((ranks, chain));
        }
    }
    match best {
        Some((ranks, chain)) if !ranks.contains(&0) => Some(chain),
        _ => listener.default_chain.as_ref(),
    }
}

/// Each chain with the first of its demands that the connection does not meet; None: it meets all of them (and if it is
/// not the one that [`choose`] gives, a more specific one is).
pub fn misses<'l>(
    listener: &'l Listener,
    connection: &ConnectionInfo<'_>,
) -> Vec<(&'l Arc<FilterChain>, Option<Criterion>)> {
    let local = same_ip_or_loopback(connection);
    let missed = |chain: &Arc<FilterChain>| {
        let ranks = ranks(&chain.matches, connection, local);
        let (_, criterion) = ranks.iter().zip(CRITERIA).find(|(rank, _)| **rank == 0)?;
        Some(criterion)
    };
    let chains = listener.chains.iter();
    chains.map(|chain| (chain, missed(chain))).collect()
}

impl Facts for ConnectionInfo<'_> {
    fn get(&self, input: &Input) -> Result<Option<Cow<'_, [u8]>>, Undecided> {
        let text = |text: String| Some(Cow::Owned(text.into_bytes()));
        Ok(match input {
            Input::DestinationPort => text(self.destination.port().to_string()),
            Input::SourcePort => text(self.source.port().to_string()),
            Input::DestinationIp | Input::SourceIp | Input::DirectSourceIp => {
                self.address(input)?.and_then(|address| text(address.to_string()))
            }
            Input::SourceType => same_ip_or_loopback(self).then_some(Cow::Borrowed(&b"local"[..])),
            Input::ServerName => self.sni.map(|name| Cow::Borrowed(name.as_bytes())),
            Input::TransportProtocol => Some(Cow::Borrowed(match self.transport {
                TransportProtocol::RawBuffer => &b"raw_buffer"[..],
                TransportProtocol::Tls => b"tls",
            })),
            // `'h2','http/1.1'`
            Input::ApplicationProtocol => (!self.application_protocols.is_empty()).then(|| {
                let joined = self.application_protocols.join(&b"','"[..]);
                Cow::Owned([b"'", &joined[..], b"'"].concat())
            }),
            Input::FilterState(key) => {
                let noted = |notes: &Notes| notes.state(key, |object| object.value.clone());
                self.notes.and_then(noted).and_then(text)
            }
            // No listener may name them.
            Input::Attributes
            | Input::RequestHeader(_)
            | Input::QueryParameter(_)
            | Input::UriSan
            | Input::DnsSan
            | Input::Subject
            | Input::DynamicMetadata { .. }
            | Input::EndpointMetadata { .. }
            | Input::LocalityMetadata { .. } => None,
        })
    }

    fn address(&self, input: &Input) -> Result<Option<IpAddr>, Undecided> {
        let address = match input {
            Input::DestinationIp => self.destination,
            Input::SourceIp => self.source,
            Input::DirectSourceIp => self.direct_source,
            _ => return Ok(None),
        };
        Ok(Some(address.ip().to_canonical()))
    }
}

impl ChainMatch {
    /// Every connection is one for it.
    fn is_anything(&self) -> bool {
        let Self {
            destination_port,
            prefix_ranges,
            server_names,
            transport_protocol,
            application_protocols,
            direct_source_ranges,
            source_type,
            source_ranges,
            source_ports,
        } = self;
        destination_port.is_none()
            && prefix_ranges.is_empty()
            && server_names.is_empty()
            && transport_protocol.is_none()
            && application_protocols.is_empty()
            && direct_source_ranges.is_empty()
            && *source_type == SourceType::Any
            && source_ranges.is_empty()
            && source_ports.is_empty()
    }
}

fn ranks(matches: &ChainMatch, connection: &ConnectionInfo<'_>, local: bool) -> Ranks {
    let ChainMatch {
        destination_port,
        prefix_ranges,
        server_names,
        transport_protocol,
        application_protocols,
        direct_source_ranges,
        source_type,
        source_ranges,
        source_ports,
    } = matches;
    [
        named(destination_port.as_slice(), &connection.destination.port()),
        prefix(prefix_ranges, connection.destination.ip()),
        server_name(server_names, connection.sni),
        named(transport_protocol.as_slice(), &connection.transport),
        application_protocol(application_protocols, connection.application_protocols),
        prefix(direct_source_ranges, connection.direct_source.ip()),
        match source_type {
            SourceType::Any => 1,
            SourceType::SameIpOrLoopback => 2 * u32::from(local),
            SourceType::External => 2 * u32::from(!local),
        },
        prefix(source_ranges, connection.source.ip()),
        named(source_ports, &connection.source.port()),
    ]
}

/// 2: named; 1: nothing is demanded; 0: others are.
fn named<T: PartialEq>(wanted: &[T], is: &T) -> u32 {
    if wanted.is_empty() {
        1
    } else {
        2 * u32::from(wanted.contains(is))
    }
}

/// No range is the same as `0.0.0.0/0` and `::/0`.
fn prefix(ranges: &[IpNet], ip: IpAddr) -> u32 {
    if ranges.is_empty() {
        return 1;
    }
    let ip = ip.to_canonical();
    let longest = ranges.iter().filter(|range| range.contains(&ip));
    longest
        .map(|range| u32::from(range.prefix_len()) + 1)
        .max()
        .unwrap_or(0)
}

/// Exact first, then the longest wildcard (`*.example.com`), then no demand.
fn server_name(names: &[String], sni: Option<&str>) -> u32 {
    if names.is_empty() {
        return 1;
    }
    let Some(sni) = sni else { return 0 };
    let rank = |name: &String| match name.strip_prefix('*') {
        // `*.example.com` is for names below example.com, not for itself.
        Some(suffix) if sni.len() > suffix.len() && sni.ends_with(suffix) => suffix.len() as u32 + 1,
        None if name == sni => u32::MAX,
        _ => 0,
    };
    names.iter().map(rank).max().unwrap_or(0)
}

/// The client's order of preference decides.
fn application_protocol(names: &[String], offered: &[&[u8]]) -> u32 {
    if names.is_empty() {
        return 1;
    }
    let named = |offer: &&[u8]| names.iter().any(|name| name.as_bytes() == *offer);
    match offered.iter().position(named) {
        Some(at) => (offered.len() - at) as u32 + 1,
        None => 0,
    }
}

/// As in Envoy, of which only 127.0.0.1 and ::1 are loopback.
fn same_ip_or_loopback(connection: &ConnectionInfo<'_>) -> bool {
    let source = connection.source.ip().to_canonical();
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    loopback.contains(&source) || source == connection.destination.ip().to_canonical()
}
