//! Which declared ports the application listens on (proc_net_tcp).
//!
//! The kernel lists listening sockets before all others, so reading stops at the first other one:
//! the cost does not grow with the number of connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::message::Family;

/// `TCP_LISTEN` in net/tcp_states.h.
const LISTEN: &str = "0A";
/// How often to look while a declared port is missing, and once all are there.
const EAGER: Duration = Duration::from_millis(50);
const CALM: Duration = Duration::from_millis(250);

/// The declared ports, and which of them were last seen listening.
#[derive(Debug)]
pub(crate) struct PortWatch {
    declared: BTreeSet<u16>,
    listening: BTreeMap<u16, Family>,
}

/// What has changed about a declared port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Listening(u16, Family),
    Closed(u16),
}

// === impl PortWatch ===

impl PortWatch {
    pub(crate) fn new(declared: &[u16]) -> Self {
        Self {
            declared: declared.iter().copied().collect(),
            listening: BTreeMap::new(),
        }
    }

    /// When to look again; `None` if there is nothing to look for.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let missing = self.listening.len() < self.declared.len();
        (!self.declared.is_empty()).then_some(if missing { EAGER } else { CALM })
    }

    /// Looks at the calling process's network namespace.
    pub(crate) fn look(&mut self) -> io::Result<Vec<Change>> {
        Ok(self.update(listening_sockets()?))
    }

    /// What is known, for a proxy that has heard nothing yet.
    pub(crate) fn known(&self) -> impl Iterator<Item = Change> {
        self.listening
            .iter()
            .map(|(port, family)| Change::Listening(*port, *family))
    }

    fn update(&mut self, sockets: Vec<(IpAddr, u16)>) -> Vec<Change> {
        let mut now = BTreeMap::new();
        for (address, port) in sockets {
            if let Some(family) = reached_by(address).filter(|_| self.declared.contains(&port)) {
                let known = now.entry(port).or_insert(family);
                *known = family.min(*known);
            }
        }
        let closed = self
            .listening
            .keys()
            .filter(|port| !now.contains_key(port))
            .map(|port| Change::Closed(*port));
        let opened = now
            .iter()
            .filter(|(port, family)| self.listening.get(port) != Some(family))
            .map(|(port, family)| Change::Listening(*port, *family));
        let changes = closed.chain(opened).collect();
        self.listening = now;
        changes
    }
}

/// The TCP sockets that listen in the calling process's network namespace.
pub fn listening_sockets() -> io::Result<Vec<(IpAddr, u16)>> {
    let mut sockets = listeners(BufReader::new(File::open("/proc/self/net/tcp")?))?;
    match File::open("/proc/self/net/tcp6") {
        Ok(file) => sockets.extend(listeners(BufReader::new(file))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(sockets)
}

/// By which loopback address a listener on this address is reached, if by one. Whether a socket
/// on `::` takes IPv4 too is not told here; it is asked by IPv6, which it takes for certain.
fn reached_by(address: IpAddr) -> Option<Family> {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED | Ipv4Addr::LOCALHOST) => Some(Family::V4),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST) => Some(Family::V6),
        _ => None,
    }
}

fn listeners(table: impl BufRead) -> io::Result<Vec<(IpAddr, u16)>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        match local_of_listener(&line?) {
            Some(local) => found.push(local),
            None => break,
        }
    }
    Ok(found)
}

/// `sl local_address rem_address st …`; addresses are hexadecimal, each word in host order.
fn local_of_listener(line: &str) -> Option<(IpAddr, u16)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::with_capacity(16);
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let address = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";

    fn table(lines: &[&str]) -> Vec<(IpAddr, u16)> {
        listeners(
            std::iter::once(HEAD)
                .chain(lines.iter().copied())
                .collect::<Vec<_>>()
                .join("\n")
                .as_bytes(),
        )
        .unwrap()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn both_tables_are_read_and_connections_end_them() {
        let found = table(&[
            "   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000",
            "   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000",
            "   2: 0100007F:2382 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000",
        ]);
        assert_eq!(
            found,
            [
                ("127.0.0.1".parse().unwrap(), 9090),
                ("0.0.0.0".parse().unwrap(), 8080)
            ]
        );
        let found = table(&[
            "   0: 00000000000000000000000001000000:2382 00000000000000000000000000000000:0000 0A 0",
        ]);
        assert_eq!(found, [("::1".parse().unwrap(), 9090)]);
    }

    #[test]
    fn what_is_no_table_gives_nothing() {
        assert_eq!(table(&["", "   0: 0100007F 0 0A", "0: é00007F:2382 0:0 0A"]), []);
        assert_eq!(table(&["   0: 0100007:2382 00000000:0000 0A"]), []);
    }

    #[test]
    fn the_kernels_own_table_is_understood() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut watch = PortWatch::new(&[port]);
        assert_eq!(watch.look().unwrap(), [Change::Listening(port, Family::V4)]);
        assert_eq!(watch.look().unwrap(), []);
        drop(listener);
        assert_eq!(watch.look().unwrap(), [Change::Closed(port)]);
    }

    #[test]
    fn ipv4_is_preferred_and_other_ports_and_addresses_are_ignored() {
        let mut watch = PortWatch::new(&[80, 81]);
        let changes = watch.update(vec![
            ("::".parse().unwrap(), 80),
            ("0.0.0.0".parse().unwrap(), 80),
            ("198.18.0.2".parse().unwrap(), 81),
            ("0.0.0.0".parse().unwrap(), 82),
        ]);
        assert_eq!(changes, [Change::Listening(80, Family::V4)]);
        assert_eq!(watch.pause(), Some(EAGER));
        assert_eq!(
            watch.update(vec![("::1".parse().unwrap(), 81)]),
            [Change::Closed(80), Change::Listening(81, Family::V6)]
        );
    }

    #[test]
    fn with_no_declared_port_there_is_nothing_to_watch() {
        assert_eq!(PortWatch::new(&[]).pause(), None);
    }
}
