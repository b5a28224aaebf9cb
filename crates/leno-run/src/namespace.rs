//! The application's own namespaces: what the supervisor enters and furnishes.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use leno_capture::{NetlinkError, RedirectPlan, route};
use rustix::{
    io::Errno,
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{
    message::{Family, NamespaceListener, NamespaceRole},
    names,
    ports::{DNS_PORT, OUTBOUND_PORT},
    remedy::{Facts, Step, remedy},
    sockets,
};

/// The source of the application's outbound connections: from the range for benchmarks
/// (RFC 2544), which no real network has.
const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The same in a unique local prefix (RFC 4193): fd00:6c65::2.
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6c65, 0, 0, 0, 0, 0, 2);
const LOW_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Why the namespaces cannot be had.
#[derive(Debug)]
pub(crate) struct NamespaceError {
    pub(crate) step: Step,
    pub(crate) source: io::Error,
    /// What precisely was refused, if the step has parts.
    pub(crate) what: Option<String>,
}

/// A furnished namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) listeners: Vec<(NamespaceListener, OwnedFd)>,
    pub(crate) ipv6: bool,
}

/// Moves the calling process, which must have one thread, into new namespaces and furnishes them.
/// `low_ports`: the application must be able to bind ports below 1024.
pub(crate) fn enter(search: &[String], low_ports: bool) -> Result<Namespace, NamespaceError> {
    unshare()?;
    names::mount(search).map_err(at(Step::Names))?;
    let ipv6 = ipv6_available();
    routes(ipv6)?;
    rules()?;
    // Only in the namespace's own sysctl; read-only in some containers, which matters only if such
    // a port is wanted.
    if let Err(error) = fs::write(LOW_PORTS, "0")
        && low_ports
    {
        return Err(at(Step::LowPorts)(error));
    }
    let listeners = listeners(ipv6).map_err(at(Step::Listeners))?;
    Ok(Namespace { listeners, ipv6 })
}

/// Root needs no user namespace, and keeps its true identity without one. A root without the
/// right to do so (in a container) is tried like everybody else.
fn unshare() -> Result<(), NamespaceError> {
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    // SAFETY: only NEWFD (`FILES`) could take descriptors from another thread; it is not asked for.
    if rustix::process::geteuid().is_root() && unsafe { unshare_unsafe(flags) }.is_ok() {
        return Ok(());
    }
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    // SAFETY: as above.
    unsafe { unshare_unsafe(flags | UnshareFlags::NEWUSER) }
        .map_err(|errno| at(Step::Unshare)(errno.into()))?;
    // user_namespaces(7): an ordinary user may map itself only, and its group only after giving
    // up setgroups(2).
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")))
        .map_err(at(Step::Identity))
}

fn routes(ipv6: bool) -> Result<(), NamespaceError> {
    route::loopback_up().map_err(netlink(Step::Routes))?;
    route::default_through_loopback(IpAddr::V4(ADDRESS_V4)).map_err(netlink(Step::Routes))?;
    if ipv6 {
        // Inherited from the host if that is how it is set there.
        let _ = fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0");
        route::default_through_loopback(IpAddr::V6(ADDRESS_V6)).map_err(netlink(Step::Routes))?;
    }
    Ok(())
}

fn rules() -> Result<(), NamespaceError> {
    let plan = RedirectPlan {
        outbound: OUTBOUND_PORT,
        // Nothing comes in from outside: there is no way into this namespace.
        inbound: None,
        dns: Some(DNS_PORT),
        excluded_uids: Vec::new(),
        excluded_marks: Vec::new(),
        excluded_destinations: Vec::new(),
        excluded_outbound_ports: Vec::new(),
        excluded_inbound_ports: Vec::new(),
        refuse_udp: true,
    };
    leno_capture::apply(&plan.ruleset()).map_err(netlink(Step::Rules))
}

fn listeners(ipv6: bool) -> io::Result<Vec<(NamespaceListener, OwnedFd)>> {
    let mut opened = Vec::new();
    let families: &[(IpAddr, IpAddr)] = &[
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    ];
    for (any, loopback) in families.iter().take(if ipv6 { 2 } else { 1 }) {
        let outbound = SocketAddr::new(*any, OUTBOUND_PORT);
        // Bound to a wildcard, UDP answers would come from another address than was asked, and
        // clients with connected sockets would not see them.
        let dns = SocketAddr::new(*loopback, DNS_PORT);
        for (role, address, socket) in [
            (
                NamespaceRole::Outbound,
                outbound,
                sockets::tcp_listener(outbound)?,
            ),
            (NamespaceRole::DnsUdp, dns, sockets::udp(dns)?),
            (NamespaceRole::DnsTcp, dns, sockets::tcp_listener(dns)?),
        ] {
            opened.push((NamespaceListener { role, address }, socket));
        }
    }
    Ok(opened)
}

/// Whether the kernel speaks IPv6 at all.
fn ipv6_available() -> bool {
    sockets::tcp(Family::V6).is_ok() && fs::exists("/proc/sys/net/ipv6/conf/lo").unwrap_or(false)
}

fn at(step: Step) -> impl Fn(io::Error) -> NamespaceError {
    move |source| NamespaceError {
        step,
        source,
        what: None,
    }
}

fn netlink(step: Step) -> impl Fn(NetlinkError) -> NamespaceError {
    move |error| {
        let what = Some(error.to_string());
        let source = match error {
            NetlinkError::Open { source, .. }
            | NetlinkError::Refused { source, .. }
            | NetlinkError::Transport(source) => source,
            NetlinkError::Unanswered(_) => Errno::IO.into(),
        };
        NamespaceError { step, source, what }
    }
}

impl std::fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.step {
            Step::Unshare => "cannot make a user, network and mount namespace",
            Step::Identity => "cannot keep the user's id in a new user namespace",
            Step::Names => "cannot mount /etc/resolv.conf and /etc/nsswitch.conf in a new mount namespace",
            Step::Routes => "cannot set addresses and routes in a new network namespace",
            Step::Rules => "cannot set redirect rules (nf_tables) in a new network namespace",
            Step::LowPorts => "cannot allow ports below 1024 in a new network namespace",
            Step::Listeners => "cannot listen in a new network namespace",
        };
        write!(f, "{what} — ")?;
        match &self.what {
            Some(what) => write!(f, "{what}")?,
            None => write!(f, "{}", self.source)?,
        }
        write!(
            f,
            " — {}",
            remedy(self.step, self.source.raw_os_error(), &Facts::of_this_machine())
        )
    }
}
