//! A workload's own loopback address in the host.
//!
//! Linux answers for all of 127.0.0.0/8 on `lo`. Workloads take theirs from 127.64.0.0/10, away
//! from what distributions use (127.0.0.1, 127.0.1.1, 127.0.0.53).

use std::net::Ipv4Addr;

const BASE: u32 = u32::from_be_bytes([127, 64, 0, 0]);
const HOST_BITS: u32 = 22;

/// The addresses to try, in order, for a workload of this name started by this process. They are
/// spread widely, so that the first is nearly always free.
pub(crate) fn candidates(name: &str, pid: i32) -> impl Iterator<Item = Ipv4Addr> {
    let start = hash(name.bytes().chain(pid.to_be_bytes()));
    (0_u64..).map(move |attempt| {
        let spread = hash(start.wrapping_add(attempt).to_be_bytes());
        let host = (spread >> 32) as u32 & ((1 << HOST_BITS) - 1);
        Ipv4Addr::from(BASE | host)
    })
}

/// FNV-1a, 64 bits.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_in_the_range_and_differ() {
        let mut addresses: Vec<_> = candidates("reviews", 1).take(100).collect();
        assert!(
            addresses
                .iter()
                .all(|address| u32::from(*address) >> HOST_BITS == BASE >> HOST_BITS)
        );
        addresses.sort_unstable();
        addresses.dedup();
        assert!(addresses.len() > 95);
    }

    #[test]
    fn two_processes_of_one_name_start_at_different_addresses() {
        assert_ne!(candidates("reviews", 1).next(), candidates("reviews", 2).next());
    }
}
