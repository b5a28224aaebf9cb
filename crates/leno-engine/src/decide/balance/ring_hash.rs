//! RING_HASH: Ketama's ring as Envoy builds it (the hash of `address_N`).

use super::{HashKey, Host, PickContext, Policy, WeightedHost};

#[derive(Debug)]
pub(super) struct RingHash {
    /// Sorted by hash.
    ring: Vec<(u64, u32)>,
}

impl RingHash {
    pub(super) fn new(
        hosts: &[WeightedHost<'_>],
        (minimum, maximum): (u64, u64),
        hash: fn(&[u8]) -> u64,
        key: HashKey,
    ) -> Self {
        let smallest = hosts.iter().map(|h| h.share).fold(1.0, f64::min);
        // So many that the lightest host has a whole number of places, within the bounds.
        let scale = ((smallest * minimum as f64).ceil() / smallest).min(maximum as f64);
        let mut ring = Vec::with_capacity(scale.ceil() as usize);
        let mut target = 0.0;
        for (index, host) in hosts.iter().enumerate() {
            target += scale * host.share;
            let key = host.host.hash_key(key);
            let mut n = 0;
            while (ring.len() as f64) < target {
                ring.push((hash(format!("{key}_{n}").as_bytes()), index as u32));
                n += 1;
            }
        }
        ring.sort_unstable();
        Self { ring }
    }
}

impl Policy for RingHash {
    fn pick(&mut self, _hosts: &[Host], cx: &PickContext<'_>, attempt: u32) -> Option<usize> {
        let hash = cx.hash.unwrap_or(cx.random);
        let at = self.ring.partition_point(|(place, _)| *place < hash);
        let at = (at + attempt as usize).checked_rem(self.ring.len())?;
        self.ring.get(at).map(|(_, index)| *index as usize)
    }
}
