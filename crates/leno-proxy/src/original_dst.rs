//! Where a redirected connection was going.
//!
//! nftables and iptables REDIRECT leave the answer with conntrack (`SO_ORIGINAL_DST`, the same number for
//! `IP6T_SO_ORIGINAL_DST`); with TPROXY, and for host-side inbound sockets, it is the socket's own address. For a
//! v4-mapped peer on a dual-stack socket the question must be put to the IPv4 level.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::socket::{ListenSocket, Origin};

/// The destination, or None for a connection that goes to the proxy's own listener: serving it would loop.
pub(crate) fn original_destination(
    stream: &TcpStream,
    listening: &ListenSocket,
) -> io::Result<Option<SocketAddr>> {
    let own = listening.address;
    let local = match listening.fixed {
        true => own,
        false => stream.local_addr()?,
    };
    let local = canonical(local);
    match listening.origin {
        Origin::Local => return Ok(Some(local)),
        Origin::Port(port) => return Ok(Some(SocketAddr::new(local.ip(), port))),
        Origin::Redirected => {}
    }
    let socket = SockRef::from(stream);
    let found = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let destination = match found.ok().and_then(|address| address.as_socket()) {
        Some(address) => canonical(address),
        // Not redirected: conntrack does not know it.
        None => local,
    };
    Ok((destination != local || destination.port() != own.port()).then_some(destination))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
