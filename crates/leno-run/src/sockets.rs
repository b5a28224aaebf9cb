//! Sockets, all non-blocking and closed on exec.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::message::Family;

/// The kernel cuts this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A TCP listener. An IPv6 one takes IPv6 only, so that it can stand beside an IPv4 one.
pub(crate) fn tcp_listener(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A bound UDP socket.
pub(crate) fn udp(address: SocketAddr) -> io::Result<OwnedFd> {
    bound(address, SocketType::DGRAM)
}

/// An unconnected TCP socket.
pub(crate) fn tcp(family: Family) -> io::Result<OwnedFd> {
    socket(family, SocketType::STREAM)
}

fn bound(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    let socket = socket(family, kind)?;
    if kind == SocketType::STREAM {
        // Or connections of the last run, in TIME_WAIT, would forbid it.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn socket(family: Family, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let protocol = if kind == SocketType::STREAM {
        ipproto::TCP
    } else {
        ipproto::UDP
    };
    Ok(rustix::net::socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(protocol),
    )?)
}
