//! What supervisor and proxy say to each other.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The most sockets in one message. The kernel's own limit is 253 (`SCM_MAX_FD`).
pub const MAX_SOCKETS: usize = 64;

/// From the supervisor to the proxy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToProxy {
    /// The first message: the listeners in the application's namespace, one descriptor each, in
    /// this order; all non-blocking.
    Listeners(Vec<NamespaceListener>),
    /// The answer to [`FromProxy::NeedSockets`]: as many unconnected, non-blocking TCP sockets of
    /// the application's namespace as there are descriptors; fewer than asked for on an error.
    Sockets {
        /// The family asked for.
        family: Family,
        /// Why there are fewer.
        error: Option<String>,
    },
    /// The application listens on a declared port.
    Listening {
        /// The declared port.
        port: u16,
        /// The loopback address to try first; the other one if it refuses.
        family: Family,
    },
    /// It listens there no longer.
    Closed {
        /// The declared port.
        port: u16,
    },
    /// The command was asked to stop: advertise the workload no longer, and serve what is open.
    /// Outbound connections work on, new ones too, until [`ToProxy::Exited`].
    Stopping {
        /// How long open inbound requests may take.
        drain_ms: u64,
    },
    /// The command has ended. Flush, leave the mesh, and exit.
    Exited {
        /// As a shell would say it: 128 + n after signal n.
        code: i32,
    },
}

/// From the proxy to the supervisor.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FromProxy {
    /// Identity and configuration are there: the command may start.
    Ready,
    /// More sockets, please; at most [`MAX_SOCKETS`] a message.
    NeedSockets {
        /// Of this family.
        family: Family,
        /// So many.
        count: usize,
    },
    /// The proxy cannot work and ends; before [`FromProxy::Ready`] this ends the launch.
    Failed {
        /// For the user: what, where, and how to mend it.
        message: String,
    },
    /// After [`ToProxy::Exited`]: nothing is open any more, there is no need to wait.
    Drained,
}

/// An address family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A listener in the application's namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NamespaceListener {
    /// What comes there.
    pub role: NamespaceRole,
    /// Its own address in that namespace.
    pub address: SocketAddr,
}

/// What comes to a listener in the application's namespace.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum NamespaceRole {
    /// Captured connections: the destination is `SO_ORIGINAL_DST`.
    Outbound,
    /// Captured DNS queries over UDP.
    DnsUdp,
    /// Captured DNS queries over TCP.
    DnsTcp,
}
