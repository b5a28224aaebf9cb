//! A listening socket, as the one who binds it and those who accept from it know it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::sync::watch;

/// How a socket's connections say where they were going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// They were redirected: `SO_ORIGINAL_DST` says it; the socket's own address is nobody's destination.
    Redirected,
    /// The address they connected to is the destination (as with TPROXY, or a host-side inbound socket).
    Local,
    /// The address they connected to is the listener's own, which is nobody's destination but the listener's.
    Own,
    /// They may have been redirected (`envoy.filters.listener.original_dst`): as [`Self::Redirected`] then, else as
    /// [`Self::Own`].
    Asked,
    /// As [`Self::Local`], with this port: a way in under another port.
    Port(u16),
}

/// The address of what has none.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    /// By this name.
    Unix(UnixListener, Arc<str>),
}

/// A socket in use by the workers.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    pub(crate) listener: String,
    pub(crate) origin: Origin,
    pub(crate) address: SocketAddr,
    /// Every connection's local address is the socket's: it is bound to one address, and not transparently.
    pub(crate) fixed: bool,
    pub(crate) socket: Listening,
    pub(crate) open: watch::Receiver<bool>,
}
