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

/// Where a connection was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WasGoing {
    pub(crate) to: SocketAddr,
    /// The socket's own address.
    pub(crate) come: SocketAddr,
    /// Somebody has told so; else it is where the connection has come, and sending it there would loop.
    pub(crate) told: bool,
}

/// The destination, or None for a connection that goes to the proxy's own listener: serving it would loop.
pub(crate) fn original_destination(
    stream: &TcpStream,
    listening: &ListenSocket,
) -> io::Result<Option<WasGoing>> {
    let own = listening.address;
    let local = match listening.fixed {
        true => own,
        false => stream.local_addr()?,
    };
    let local = canonical(local);
    let going = |to, told| {
        Ok(Some(WasGoing {
            to,
            come: local,
            told,
        }))
    };
    match listening.origin {
        Origin::Local => return going(local, true),
        Origin::Own => return going(local, false),
        Origin::Port(port) => return going(SocketAddr::new(local.ip(), port), true),
        Origin::Redirected | Origin::Asked => {}
    }
    let socket = SockRef::from(stream);
    let found = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let found = found.ok().and_then(|address| address.as_socket()).map(canonical);
    if listening.origin == Origin::Asked {
        return going(found.unwrap_or(local), found.is_some_and(|found| found != local));
    }
    // Not redirected: conntrack does not know it.
    let destination = found.unwrap_or(local);
    match destination != local || destination.port() != own.port() {
        true => going(destination, true),
        false => Ok(None),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
