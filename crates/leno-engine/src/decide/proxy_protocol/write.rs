//! What an upstream is told.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, V2};
use crate::compile::proxy_protocol::{Introduction, Tlv};

/// Whose connection an upstream's is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub addresses: Addresses,
    /// Of the header that it came with.
    pub tlvs: Vec<Tlv>,
}

/// A header's length is of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PROXY protocol header with all extensions would be too long")]
pub struct TooLong;

// === impl Introduction ===

impl Introduction {
    /// The header. Without a client it is the proxy that speaks, from and to its `own` addresses.
    pub fn write(&self, client: Option<&Client>, own: Addresses) -> Result<Vec<u8>, TooLong> {
        let (passed, added) = match self {
            Self::V1 => return Ok(line(client.map_or(own, |client| client.addresses))),
            Self::V2 { passed, added } => (passed, added),
        };
        let Some(client) = client else {
            return Ok([V2, &[0x20, 0, 0, 0]].concat());
        };
        let Addresses { source, destination } = same_family(client.addresses);
        let family = if source.is_ipv4() { 0x11 } else { 0x21 };
        let mut body = Vec::new();
        for address in [source, destination] {
            match address.ip() {
                IpAddr::V4(ip) => body.extend(ip.octets()),
                IpAddr::V6(ip) => body.extend(ip.octets()),
            }
        }
        body.extend(source.port().to_be_bytes());
        body.extend(destination.port().to_be_bytes());
        let is_added = |kind| added.iter().any(|tlv| tlv.kind == kind);
        let of_client = client.tlvs.iter();
        let of_client = of_client.filter(|tlv| passed.has(tlv.kind) && !is_added(tlv.kind));
        for tlv in added.iter().chain(of_client) {
            let length = u16::try_from(tlv.value.len()).map_err(|_| TooLong)?;
            body.push(tlv.kind);
            body.extend(length.to_be_bytes());
            body.extend(&tlv.value);
        }
        let length = u16::try_from(body.len()).map_err(|_| TooLong)?;
        Ok([V2, &[0x21, family], &length.to_be_bytes(), &body].concat())
    }
}

fn line(addresses: Addresses) -> Vec<u8> {
    let Addresses { source, destination } = same_family(addresses);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    format!(
        "PROXY {family} {} {} {from} {to}\r\n",
        source.ip(),
        destination.ip()
    )
    .into_bytes()
}

/// A header has addresses of one family: where they differ, both are of IPv6.
fn same_family(addresses: Addresses) -> Addresses {
    let Addresses { source, destination } = addresses;
    if source.is_ipv4() == destination.is_ipv4() {
        return addresses;
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    Addresses {
        source: mapped(source),
        destination: mapped(destination),
    }
}
