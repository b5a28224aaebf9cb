//! Whether this machine can run workloads: found out by doing it.
//!
//! Settings do not tell: some distributions let a user namespace be made and then give no
//! capabilities in it. So a child makes one, furnishes it as for a workload, and connects to an
//! address that exists nowhere.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use leno_capture::original_dst::{Captured, original_destination};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::SocketFlags,
    process::{Signal, WaitOptions, getpid},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    message::{Family, NamespaceRole},
    namespace::{self, Namespace},
    process, sockets,
};

/// Addresses from the mesh's own ranges; nothing answers there but a redirect.
const NOWHERE_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(240, 240, 255, 254)), 80);
const NOWHERE_V6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x6c65, 0x6e6f, 0, 0, 0, 0, 0xfffe)),
    80,
);
const PATIENCE: Duration = Duration::from_secs(2);

/// What this machine can do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Abilities {
    /// IPv6 connections are captured too.
    pub ipv6: bool,
}

/// What is missing.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The calling process has several threads: a mistake of the program, not of the machine.
    #[error("the probe needs a process with one thread; this one has {0}")]
    Threads(usize),
    /// The machine forbids or lacks something; the message says what, where, and what to do.
    #[error("{0}")]
    Missing(String),
    /// The probe itself failed.
    #[error("cannot probe this machine for namespaces — {0} — try again")]
    System(#[from] io::Error),
}

/// Tries everything that a workload needs, and leaves nothing behind. Takes some milliseconds.
pub fn probe() -> Result<Abilities, ProbeError> {
    let threads = process::threads()?;
    if threads != 1 {
        return Err(ProbeError::Threads(threads));
    }
    let (mut reader, mut writer) = io::pipe()?;
    let parent = getpid();
    let child = process::fork_into(|| {
        let result = process::end_with(parent, Signal::KILL).map_err(|error| error.to_string());
        let result: Result<Abilities, String> = result.and_then(|()| attempt());
        let written = serde_json::to_vec(&result).map(|bytes| writer.write_all(&bytes));
        i32::from(!matches!(written, Ok(Ok(()))))
    })?;
    drop(writer);
    let mut answer = Vec::new();
    let read = reader.read_to_end(&mut answer);
    while let Err(Errno::INTR) = rustix::process::waitpid(Some(child), WaitOptions::empty()) {}
    read?;
    let result: Result<Abilities, String> = serde_json::from_slice(&answer).map_err(io::Error::from)?;
    result.map_err(ProbeError::Missing)
}

fn attempt() -> Result<Abilities, String> {
    let namespace = namespace::enter(&[], false).map_err(|error| error.to_string())?;
    redirected(&namespace, NOWHERE_V4).map_err(|error| {
        format!(
            "a redirected connection does not arrive in a new network namespace — {error} — the kernel needs \
             connection tracking: `sudo modprobe -a nf_conntrack nft_redir`"
        )
    })?;
    Ok(Abilities {
        ipv6: namespace.ipv6 && redirected(&namespace, NOWHERE_V6).is_ok(),
    })
}

fn redirected(namespace: &Namespace, destination: SocketAddr) -> io::Result<()> {
    let family = if destination.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let client = sockets::tcp(family)?;
    match rustix::net::connect(&client, &destination) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let (_, listener) = namespace
        .listeners
        .iter()
        .find(|(listener, _)| {
            listener.role == NamespaceRole::Outbound && listener.address.is_ipv4() == destination.is_ipv4()
        })
        .ok_or(io::ErrorKind::NotFound)?;
    let accepted = accept(listener)?;
    let original = original_destination(&accepted, Captured::Redirect)?;
    if original == destination {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "its destination reads {original} instead of {destination}"
        )))
    }
}

fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let timeout = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut waiting = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    if rustix::event::poll(&mut waiting, Some(&timeout))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?)
}
