//! The sockets that the proxy inherits from the launcher, and how it learns of them.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::channel::Channel;

/// The environment variable that lists the inherited descriptors, as JSON.
pub(crate) const VARIABLE: &str = "LENO_RUN_HANDOFF";

/// What the proxy inherits.
#[derive(Debug)]
pub struct Handoff {
    /// The channel to the supervisor.
    pub channel: Channel,
    /// The workload's own address in the host.
    pub address: Ipv4Addr,
    /// The listeners in the host, all non-blocking.
    pub listeners: Vec<HostListener>,
}

/// A listener in the host.
#[derive(Debug)]
pub struct HostListener {
    /// What comes there.
    pub role: HostRole,
    /// Its own address.
    pub address: SocketAddr,
    /// The listening socket.
    pub socket: OwnedFd,
}

/// What comes to a listener in the host.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum HostRole {
    /// Mesh traffic for a declared port; the socket's own address is the original destination.
    Inbound {
        /// The application's port.
        port: u16,
    },
    /// Mesh traffic to the inbound port itself (15006).
    VirtualInbound,
    /// Plain traffic from the host, for the application's port.
    Published {
        /// The application's port.
        port: u16,
    },
}

/// Why there is nothing to inherit.
#[derive(Debug, Error)]
pub enum HandoffError {
    /// Not started by a launcher.
    #[error("this process has not been started by `leno run` ({VARIABLE} is not set)")]
    Absent,
    /// The list cannot be read.
    #[error("{VARIABLE} cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A descriptor of the list is not there, or was taken before.
    #[error("{VARIABLE} names descriptor {0}, which was not inherited or has been taken already")]
    Descriptor(RawFd),
}

/// The variable's value.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct List {
    pub(crate) channel: RawFd,
    pub(crate) address: Ipv4Addr,
    pub(crate) listeners: Vec<ListedListener>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ListedListener {
    pub(crate) role: HostRole,
    pub(crate) address: SocketAddr,
    pub(crate) descriptor: RawFd,
}

impl Handoff {
    /// Takes what this process inherited; can be done once.
    pub fn take() -> Result<Self, HandoffError> {
        let text = std::env::var(VARIABLE).map_err(|_| HandoffError::Absent)?;
        let list: List = serde_json::from_str(&text)?;
        let mut taken = BTreeSet::new();
        let mut take = |descriptor| adopt(descriptor, &mut taken);
        Ok(Self {
            channel: Channel::from(take(list.channel)?),
            address: list.address,
            listeners: list
                .listeners
                .into_iter()
                .map(
                    |ListedListener {
                         role,
                         address,
                         descriptor,
                     }| {
                        Ok(HostListener {
                            role,
                            address,
                            socket: take(descriptor)?,
                        })
                    },
                )
                .collect::<Result<_, HandoffError>>()?,
        })
    }
}

/// Makes an inherited descriptor this process's own. Inherited ones are those that were not
/// closed on exec; everything that this process opened itself is marked to be, and so is what was
/// adopted before.
fn adopt(descriptor: RawFd, taken: &mut BTreeSet<RawFd>) -> Result<OwnedFd, HandoffError> {
    let refused = || HandoffError::Descriptor(descriptor);
    if descriptor <= libc::STDERR_FILENO || !taken.insert(descriptor) {
        return Err(refused());
    }
    // SAFETY: borrowed for these two calls, which fail with EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if !rustix::io::fcntl_getfd(borrowed)
        .map_err(|_| refused())?
        .is_empty()
    {
        return Err(refused());
    }
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|_| refused())?;
    // SAFETY: open, inherited over exec, hence owned by nothing in this process; and adopted once,
    // because it is marked close-on-exec from now on.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn descriptors_that_were_not_inherited_are_refused() {
        let own = std::fs::File::open("/dev/null").unwrap();
        for descriptor in [0, 2, -1, 12_345, own.as_raw_fd()] {
            assert!(adopt(descriptor, &mut BTreeSet::new()).is_err(), "{descriptor}");
        }
    }
}
