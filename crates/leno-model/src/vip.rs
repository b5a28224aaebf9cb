//! Virtual addresses: one pair for every service, assigned once.
//!
//! Applications cache what DNS told them, some for ever. So a host keeps its addresses as long as it exists and
//! for a day after, and another host never gets an address that somebody may still remember. The table is plain
//! data: whoever owns the state directory writes it down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::Host;

/// How long the address of a host that is gone stays unused.
pub const REST: Duration = Duration::from_secs(24 * 3600);

/// 240.240.0.1 to 240.240.255.254.
const LOWEST: u16 = 1;
const HIGHEST: u16 = 0xfffe;

/// Which host has which address, also of hosts that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct VipTable {
    hosts: BTreeMap<String, Slot>,
    used: BTreeSet<u16>,
    next: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    low: u16,
    /// Seconds since 1970 at which the host was gone; None: it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released: Option<u64>,
}

/// The form in which the table is kept.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    hosts: BTreeMap<String, Slot>,
    #[serde(default)]
    next: u16,
}

/// The v4 and v6 address of the low 16 bits.
pub fn addresses(low: u16) -> [IpAddr; 2] {
    let [high, low_byte] = low.to_be_bytes();
    [
        IpAddr::V4(Ipv4Addr::new(240, 240, high, low_byte)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x6c65, 0x6e6f, 0, 0, 0, 0, low)),
    ]
}

impl VipTable {
    /// The host's addresses; the same as before if it ever had any. `now` counts from 1970.
    /// None: every address is in use or rests.
    pub fn assign(&mut self, host: &Host, now: Duration) -> Option<[IpAddr; 2]> {
        if let Some(slot) = self.hosts.get_mut(host.as_str()) {
            slot.released = None;
            return Some(addresses(slot.low));
        }
        let low = self.free().or_else(|| self.reclaim(now))?;
        self.next = if low >= HIGHEST { LOWEST } else { low + 1 };
        self.used.insert(low);
        self.hosts
            .insert(host.as_str().to_owned(), Slot { low, released: None });
        Some(addresses(low))
    }

    /// The host is gone; its addresses rest from `now` on.
    pub fn release(&mut self, host: &Host, now: Duration) {
        if let Some(slot) = self.hosts.get_mut(host.as_str())
            && slot.released.is_none()
        {
            slot.released = Some(now.as_secs());
        }
    }

    /// Hosts that the table takes to exist.
    pub fn live(&self) -> impl Iterator<Item = Host> + '_ {
        self.hosts
            .iter()
            .filter(|(_, slot)| slot.released.is_none())
            .map(|(host, _)| Host::new(host))
    }

    /// The next address never given, from where the last was.
    fn free(&self) -> Option<u16> {
        if self.used.len() > usize::from(HIGHEST - LOWEST) {
            return None;
        }
        let from = self.next.clamp(LOWEST, HIGHEST);
        (from..=HIGHEST)
            .chain(LOWEST..from)
            .find(|low| !self.used.contains(low))
    }

    /// The address that has rested longest, if that is long enough.
    fn reclaim(&mut self, now: Duration) -> Option<u16> {
        let rested = now.as_secs().checked_sub(REST.as_secs())?;
        let (host, low) = self
            .hosts
            .iter()
            .filter_map(|(host, slot)| Some((slot.released?, host, slot.low)))
            .filter(|(released, ..)| *released <= rested)
            .min()
            .map(|(_, host, low)| (host.clone(), low))?;
        self.hosts.remove(&host);
        self.used.remove(&low);
        Some(low)
    }
}

impl From<Saved> for VipTable {
    /// A table that was edited or damaged: of two hosts with one address the first keeps it.
    fn from(saved: Saved) -> Self {
        let mut table = Self {
            next: saved.next,
            ..Self::default()
        };
        for (host, slot) in saved.hosts {
            if (LOWEST..=HIGHEST).contains(&slot.low) && table.used.insert(slot.low) {
                table.hosts.insert(host, slot);
            }
        }
        table
    }
}

impl From<VipTable> for Saved {
    fn from(table: VipTable) -> Self {
        Self {
            hosts: table.hosts,
            next: table.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_secs(1_000_000);

    #[test]
    fn a_host_keeps_its_addresses_through_release_and_return() {
        let mut table = VipTable::default();
        let web = Host::new("web");
        let first = table.assign(&web, NOON).unwrap();
        table.release(&web, NOON);
        assert_ne!(table.assign(&Host::new("api"), NOON).unwrap(), first);
        assert_eq!(table.assign(&web, NOON + REST * 3).unwrap(), first);
        assert_eq!(first[0].to_string(), "240.240.0.1");
        assert_eq!(first[1].to_string(), "fd00:6c65:6e6f::1");
    }

    #[test]
    fn a_released_address_rests_a_day_even_when_all_others_are_taken() {
        let mut table = VipTable::default();
        for i in LOWEST..=HIGHEST {
            assert!(table.assign(&Host::new(&format!("h{i}")), NOON).is_some());
        }
        let new = Host::new("new");
        assert_eq!(table.assign(&new, NOON), None);
        table.release(&Host::new("h7"), NOON);
        assert_eq!(table.assign(&new, NOON + REST - Duration::from_secs(1)), None);
        assert_eq!(table.assign(&new, NOON + REST), Some(addresses(7)));
    }

    #[test]
    fn a_saved_table_with_one_address_twice_gives_it_once() {
        let slot = Slot {
            low: 5,
            released: None,
        };
        let hosts = [("a".to_owned(), slot), ("b".to_owned(), slot)].into();
        let mut table = VipTable::from(Saved { hosts, next: 0 });
        assert_eq!(table.assign(&Host::new("a"), NOON), Some(addresses(5)));
        assert_ne!(table.assign(&Host::new("b"), NOON), Some(addresses(5)));
    }
}
