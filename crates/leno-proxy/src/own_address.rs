//! The address by which a machine speaks of itself where a client of its own has only a loopback address (Envoy: "local
//! address", the first of its interfaces that is not loopback).

use std::net::Ipv4Addr;

/// What it is now; 127.0.0.1 on a machine that has no other.
pub(crate) fn find() -> Ipv4Addr {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let addresses = local(&read("/proc/net/fib_trie"));
    let mut interfaces = connected(&read("/proc/net/route"));
    // In the order in which the kernel counts them, as `getifaddrs` does.
    interfaces.sort_by_key(|interface| {
        let index = read(&format!("/sys/class/net/{}/ifindex", interface.name));
        index.trim().parse().unwrap_or(u32::MAX)
    });
    first(&addresses, &interfaces)
}

/// A network that is reached without a gateway.
#[derive(Debug, PartialEq, Eq)]
struct Interface {
    name: String,
    network: u32,
    mask: u32,
}

fn first(addresses: &[Ipv4Addr], interfaces: &[Interface]) -> Ipv4Addr {
    let of = |interface: &Interface| {
        let mut addresses = addresses.iter();
        addresses
            .find(|address| address.to_bits() & interface.mask == interface.network)
            .copied()
    };
    let found = interfaces.iter().find_map(of);
    found
        .or(addresses.first().copied())
        .unwrap_or(Ipv4Addr::LOCALHOST)
}

/// The addresses in the kernel's own table, without those of loopback.
fn local(trie: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last.filter(|address: &Ipv4Addr| !address.is_loopback())
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn connected(routes: &str) -> Vec<Interface> {
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok().map(u32::swap_bytes);
        let (network, gateway, mask) = (number(1)?, number(2)?, number(7)?);
        (gateway == 0 && mask != 0).then(|| Interface {
            name: (*fields.first().unwrap_or(&"")).to_owned(),
            network,
            mask,
        })
    };
    routes.lines().skip(1).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interface_s_address_is_found() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        \
                    /32 host LOCAL\n     |-- 10.1.0.9\n        /32 host LOCAL\n     |-- 192.0.2.2\n        /32 host LOCAL\n     \
                    |-- 192.0.2.255\n        /32 link BROADCAST\n";
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                      eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
                      eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
                      docker0\t0000010A\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        let addresses = local(trie);
        assert_eq!(
            addresses,
            [Ipv4Addr::new(10, 1, 0, 9), Ipv4Addr::new(192, 0, 2, 2)]
        );
        let interfaces = connected(routes);
        assert_eq!(first(&addresses, &interfaces), Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!(first(&addresses, &[]), Ipv4Addr::new(10, 1, 0, 9));
        assert_eq!(first(&[], &interfaces), Ipv4Addr::LOCALHOST);
    }
}
