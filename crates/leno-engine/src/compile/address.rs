//! Addresses and ranges.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::Rejection;
use super::at::{At, no_effect, refuse};
use super::pb::{core, protobuf::UInt32Value, xds_core};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Socket(SocketAddr),
    Pipe(PathBuf),
}

/// A socket address, or a name that DNS clusters resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Address(Address),
    Name { host: String, port: u16 },
}

// === impl Address ===

/// `10.0.0.1:80`, `[::1]:80`, or a path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe(path) => path.display().fmt(f),
        }
    }
}

// === impl Target ===

impl Target {
    pub(crate) fn is_shown_as(&self, text: &str) -> bool {
        match self {
            Self::Address(Address::Socket(address)) => text.parse() == Ok(*address),
            Self::Address(Address::Pipe(path)) => path.to_str() == Some(text),
            Self::Name { .. } => false,
        }
    }
}

/// `10.0.0.1:80`, `[::1]:80`, a path, or `host:80`; consistent hashing depends on this form.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// An address to bind or to connect to: numbers, or a socket in the file system.
pub(crate) fn address(at: &At<'_>, message: &core::Address) -> Result<Address, Rejection> {
    match target(at, message)? {
        Target::Address(address) => Ok(address),
        Target::Name { host, .. } => Err(at
            .field("socket_address")
            .field("address")
            .reject(format!("an IP address is needed, not {host:?}"))),
    }
}

/// An address, or a name that DNS resolves.
pub(crate) fn target(at: &At<'_>, message: &core::Address) -> Result<Target, Rejection> {
    use core::address::Address as Kind;
    let core::Address { address } = message;
    match at.required("address", address)? {
        Kind::SocketAddress(socket) => socket_address(&at.field("socket_address"), socket),
        Kind::Pipe(core::Pipe { path, mode }) => {
            let at = at.field("pipe");
            at.not_empty("path", path)?;
            refuse!(at; mode);
            Ok(Target::Address(Address::Pipe(PathBuf::from(path))))
        }
        Kind::EnvoyInternalAddress(_) => Err(at.field("envoy_internal_address").reject("not supported")),
    }
}

fn socket_address(at: &At<'_>, message: &core::SocketAddress) -> Result<Target, Rejection> {
    use core::socket_address::PortSpecifier;
    let core::SocketAddress {
        protocol,
        address,
        resolver_name,
        ipv4_compat,
        network_namespace_filepath,
        port_specifier,
    } = message;
    match at.choice("protocol", *protocol)? {
        core::socket_address::Protocol::Tcp => {}
        core::socket_address::Protocol::Udp => {
            return Err(at.field("protocol").reject("UDP is not supported"));
        }
    }
    refuse!(at; resolver_name, network_namespace_filepath);
    no_effect!(at, "IPv6 listeners are bound for IPv6 only"; ipv4_compat);
    at.not_empty("address", address)?;
    let port = match at.required("port_specifier", port_specifier)? {
        PortSpecifier::PortValue(port) => at.port("port_value", *port)?,
        PortSpecifier::NamedPort(_) => return Err(at.field("named_port").reject("not supported")),
    };
    Ok(match address.parse::<IpAddr>() {
        Ok(ip) => Target::Address(Address::Socket(SocketAddr::new(ip, port))),
        Err(_) => Target::Name {
            host: address.clone(),
            port,
        },
    })
}

pub(crate) fn cidr(at: &At<'_>, message: &core::CidrRange) -> Result<IpNet, Rejection> {
    let core::CidrRange {
        address_prefix,
        prefix_len,
    } = message;
    range(at, address_prefix, prefix_len.as_ref())
}

/// The same under xDS's own name.
pub(crate) fn xds_cidr(at: &At<'_>, message: &xds_core::CidrRange) -> Result<IpNet, Rejection> {
    let xds_core::CidrRange {
        address_prefix,
        prefix_len,
    } = message;
    range(at, address_prefix, prefix_len.as_ref())
}

fn range(at: &At<'_>, address: &str, length: Option<&UInt32Value>) -> Result<IpNet, Rejection> {
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err(at
            .field("address_prefix")
            .reject(format!("not an IP address: {address:?}")));
    };
    let length = length.map_or(0, |length| length.value);
    let range = u8::try_from(length)
        .ok()
        .and_then(|length| IpNet::new(ip, length).ok());
    match range {
        Some(range) => Ok(range.trunc()),
        None => Err(at
            .field("prefix_len")
            .reject(format!("too long for {ip}: {length}"))),
    }
}
