//! Addresses and routes of a network namespace that has nothing but `lo` (rtnetlink(7)).
//!
//! A connection without a route fails with ENETUNREACH before any redirect is looked at, so the
//! default routes lead to `lo`; its extra addresses give such connections a source other than
//! 127.0.0.1, which the kernel would refuse to use towards anything that is not loopback.

use std::net::IpAddr;

use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, NetlinkError, Requests, Subsystem};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: the address is usable at once.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// `lo` is the first interface of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Sets `lo` up.
pub fn loopback_up() -> Result<(), NetlinkError> {
    let mut requests = Requests::default();
    // `struct ifinfomsg`: family, padding, type, index, flags, mask of the flags to change.
    let mut header = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    header.extend(LOOPBACK.to_ne_bytes());
    header.extend(IFF_UP.to_ne_bytes());
    header.extend(IFF_UP.to_ne_bytes());
    requests.request(RTM_NEWLINK, 0, "link set lo up".to_owned(), &header, |_| {});
    requests.send(Subsystem::Route)
}

/// Gives `lo` the address, and makes it the source of a default route through `lo`.
pub fn default_through_loopback(address: IpAddr) -> Result<(), NetlinkError> {
    let mut requests = Requests::default();
    add_address(&mut requests, address);
    add_default_route(&mut requests, address);
    requests.send(Subsystem::Route)
}

fn add_address(requests: &mut Requests, address: IpAddr) {
    let (family, bytes) = encoded(address);
    let prefix = (bytes.len() * 8) as u8;
    let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    // `struct ifaddrmsg`: family, prefix length, flags, scope, interface.
    let mut header = vec![family, prefix, flags, RT_SCOPE_UNIVERSE];
    header.extend(LOOPBACK.to_ne_bytes());
    let name = format!("address {address}/{prefix} dev lo");
    requests.request(
        RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_EXCL,
        name,
        &header,
        |attributes| {
            attributes.bytes(IFA_LOCAL, &bytes);
            attributes.bytes(IFA_ADDRESS, &bytes);
        },
    );
}

fn add_default_route(requests: &mut Requests, source: IpAddr) {
    let (family, bytes) = encoded(source);
    // IPv6 has no scopes of routes.
    let scope = if source.is_ipv6() {
        RT_SCOPE_UNIVERSE
    } else {
        RT_SCOPE_LINK
    };
    // `struct rtmsg`: family, destination and source length, TOS, table, protocol, scope, type, flags.
    let header = [
        family,
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        scope,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let name = format!("route default dev lo src {source}");
    requests.request(
        RTM_NEWROUTE,
        NLM_F_CREATE | NLM_F_EXCL,
        name,
        &header,
        |attributes| {
            attributes.u32(RTA_OIF, LOOPBACK);
            attributes.bytes(RTA_PREFSRC, &bytes);
        },
    );
}

fn encoded(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (libc::AF_INET as u8, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6 as u8, address.octets().to_vec()),
    }
}
