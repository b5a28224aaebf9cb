//! A hash for keys that come from the configuration: cluster names, endpoints. Strangers do not choose those, so they
//! need no protection from keys chosen to collide, and a request looks several of them up.

use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type QuickHash = BuildHasherDefault<Quick>;

/// Multiply and rotate, eight bytes at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quick(u64);

impl Quick {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Quick {
    /// The table takes its high bits from the top and its index from the bottom; a product is weak at the bottom.
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(byte.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn names_that_differ_little_hash_differently() {
        let quick = QuickHash::default();
        let names = (0..10_000).map(|n| format!("outbound|{n}||reviews.default.svc.cluster.local"));
        let hashes: Vec<u64> = names.map(|name| quick.hash_one(name)).collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xffff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        // Of 10,000 balls in 65,536 bins about 9,300 bins are hit.
        assert!(low.len() > 9_000, "{}", low.len());
        assert_eq!(high.len(), 128);
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 10_000);
    }
}
