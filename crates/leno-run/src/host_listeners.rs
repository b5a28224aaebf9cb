//! The workload's listeners in the host, on a loopback address of its own.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::{
    address,
    handoff::{HostListener, HostRole},
    launch::{Launch, LaunchError},
    port_owner,
    ports::INBOUND_PORT,
    sockets,
};

/// How many addresses to try; each is taken with a probability of one in some thousands.
const ATTEMPTS: usize = 64;
const LOW_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Finds a free address and binds all that comes there, and what was asked for on others.
pub(crate) fn bind(launch: &Launch) -> Result<(Ipv4Addr, Vec<HostListener>), LaunchError> {
    let (address, virtual_inbound) = reserve(&launch.name)?;
    let mut listeners = vec![virtual_inbound];
    let mut add = |role, address| {
        let socket = sockets::tcp_listener(address).map_err(|source| refusal(address, source))?;
        listeners.push(HostListener {
            role,
            address,
            socket,
        });
        Ok::<_, LaunchError>(())
    };
    let ports: BTreeSet<u16> = launch.ports.iter().copied().collect();
    for host in std::iter::once(IpAddr::V4(address)).chain(launch.advertise) {
        for port in &ports {
            add(HostRole::Inbound { port: *port }, SocketAddr::new(host, *port))?;
        }
    }
    for published in &launch.publish {
        add(HostRole::Published { port: published.port }, published.host)?;
    }
    Ok((address, listeners))
}

fn reserve(name: &str) -> Result<(Ipv4Addr, HostListener), LaunchError> {
    let mut refused = None;
    for candidate in address::candidates(name, std::process::id().cast_signed()).take(ATTEMPTS) {
        let address = SocketAddr::new(candidate.into(), INBOUND_PORT);
        match sockets::tcp_listener(address) {
            Ok(socket) => {
                return Ok((
                    candidate,
                    HostListener {
                        role: HostRole::VirtualInbound,
                        address,
                        socket,
                    },
                ));
            }
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => refused = Some((address, source)),
            Err(source) => return Err(refusal(address, source)),
        }
    }
    // That many single addresses are never taken: something listens on this port everywhere.
    let (address, source) = refused.unwrap_or((
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), INBOUND_PORT),
        io::ErrorKind::AddrInUse.into(),
    ));
    Err(refusal(address, source))
}

fn refusal(address: SocketAddr, source: io::Error) -> LaunchError {
    match source.kind() {
        io::ErrorKind::AddrInUse => LaunchError::PortTaken {
            address,
            owner: port_owner::find(address),
        },
        io::ErrorKind::PermissionDenied => {
            let first = std::fs::read_to_string(LOW_PORTS)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            LaunchError::PortForbidden {
                address,
                first: first.unwrap_or(1024),
            }
        }
        _ => LaunchError::Bind { address, source },
    }
}
