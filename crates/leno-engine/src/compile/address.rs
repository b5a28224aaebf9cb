//! Addresses and ranges.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::Rejection;
use super::at::{At, refuse};
use super::pb::{core, protobuf::UInt32Value, xds_core};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Socket(SocketAddr),
    Pipe(Pipe),
    /// A listener of the proxy's own.
    Internal(Arc<Internal>),
}

/// A socket in the file system, or of the abstract namespace: `@name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pipe {
    pub path: PathBuf,
    /// Of the file, where it is bound. 0: as the process makes files.
    pub mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Internal {
    pub listener: String,
    /// Tells endpoints of one listener apart.
    pub id: String,
    /// What the connection is to be taken for by the listener, where the endpoint says it
    /// (`filter_metadata["envoy.filters.listener.original_dst"]`).
    pub passed: Passed,
}

/// Addresses of a connection that are told from one listener to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Passed {
    /// Where it goes.
    pub local: Option<SocketAddr>,
    /// Whose it is.
    pub remote: Option<SocketAddr>,
}

/// A socket address, or a name that DNS clusters resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Address(Address),
    Name { host: String, port: u16 },
}

// === impl Address ===

impl Address {
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Pipe(_) | Self::Internal(_) => None,
        }
    }
}

/// `10.0.0.1:80`, `[::1]:80`, a path, or `envoy://listener/id`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe(pipe) => pipe.path.display().fmt(f),
            Self::Internal(internal) => write!(f, "envoy://{}/{}", internal.listener, internal.id),
        }
    }
}

// === impl Target ===

impl Target {
    pub(crate) fn is_shown_as(&self, text: &str) -> bool {
        match self {
            Self::Address(Address::Socket(address)) => text.parse() == Ok(*address),
            Self::Address(Address::Pipe(pipe)) => pipe.path.to_str() == Some(text),
            Self::Address(Address::Internal(_)) | Self::Name { .. } => false,
        }
    }
}

/// As addresses are, or `host:80`; consistent hashing depends on this form.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// An address to bind: numbers, or a socket in the file system.
pub(crate) fn address(at: &At<'_>, message: &core::Address) -> Result<Address, Rejection> {
    match target(at, message)? {
        Target::Address(Address::Internal(_)) => Err(at
            .field("envoy_internal_address")
            .reject("nothing can be bound to it: an internal_listener has no address")),
        Target::Address(address) => Ok(address),
        Target::Name { host, .. } => Err(at
            .field("socket_address")
            .field("address")
            .reject(format!("an IP address is needed, not {host:?}"))),
    }
}

/// Whether a socket that is bound to this address of IPv6 takes connections of IPv4 too.
pub(crate) fn dual_stack(message: &core::Address) -> bool {
    matches!(&message.address, Some(core::address::Address::SocketAddress(socket)) if socket.ipv4_compat)
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
            if *mode > 0o777 {
                return Err(at.field("mode").reject("at most 511 (0777)"));
            }
            Ok(Target::Address(Address::Pipe(Pipe {
                path: PathBuf::from(path),
                mode: *mode,
            })))
        }
        Kind::EnvoyInternalAddress(internal) => Ok(Target::Address(Address::Internal(Arc::new(
            internal_address(&at.field("envoy_internal_address"), internal)?,
        )))),
    }
}

/// An address alone.
pub(crate) fn socket(at: &At<'_>, message: &core::SocketAddress) -> Result<SocketAddr, Rejection> {
    match socket_address(at, message)? {
        Target::Address(Address::Socket(address)) => Ok(address),
        _ => Err(at.field("address").reject("an IP address is needed")),
    }
}

fn internal_address(at: &At<'_>, message: &core::EnvoyInternalAddress) -> Result<Internal, Rejection> {
    use core::envoy_internal_address::AddressNameSpecifier;
    let core::EnvoyInternalAddress {
        endpoint_id,
        address_name_specifier,
    } = message;
    let AddressNameSpecifier::ServerListenerName(listener) =
        at.required("server_listener_name", address_name_specifier)?;
    at.not_empty("server_listener_name", listener)?;
    Ok(Internal {
        listener: listener.clone(),
        id: endpoint_id.clone(),
        passed: Passed::default(),
    })
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
    // [`dual_stack`]: a listener asks.
    let _ = ipv4_compat;
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
