//! A worker's random numbers: for balancing, sampling and request ids, not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// SplitMix64, seeded by the process's random state.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Default for Random {
    fn default() -> Self {
        Self(Cell::new(RandomState::new().hash_one(0x6c65_6e6f_u64)))
    }
}

impl Random {
    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A version 4 UUID (RFC 9562 §5.4) in its text form.
    pub(crate) fn uuid(&self) -> [u8; 36] {
        let mut bits = u128::from(self.next()) << 64 | u128::from(self.next());
        // Version and variant.
        bits = bits & !(0xf << 76) | 0x4 << 76;
        bits = bits & !(0b11 << 62) | 0b10 << 62;
        let mut text = [b'-'; 36];
        let digits = text.iter_mut().enumerate();
        let digits = digits.filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23));
        for (place, (_, digit)) in (0..32).rev().zip(digits) {
            let nibble = (bits >> (place * 4)) as u8 & 0xf;
            *digit = match nibble {
                0..10 => b'0' + nibble,
                _ => b'a' - 10 + nibble,
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_version_4_uuid() {
        let random = Random::default();
        for _ in 0..100 {
            let id = random.uuid();
            assert_eq!(id[14], b'4');
            assert!(matches!(id[19], b'8' | b'9' | b'a' | b'b'), "{id:?}");
            for (at, byte) in id.iter().enumerate() {
                let dash = matches!(at, 8 | 13 | 18 | 23);
                assert!(
                    if dash {
                        *byte == b'-'
                    } else {
                        byte.is_ascii_hexdigit()
                    },
                    "{id:?}"
                );
            }
        }
    }
}
