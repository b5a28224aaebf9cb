//! A worker's random numbers: for balancing, sampling and request ids, not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

const HEX: [u8; 16] = *b"0123456789abcdef";
/// Where the bytes of a UUID are in its text.
const BYTES_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

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
        for (byte, at) in bits.to_be_bytes().into_iter().zip(BYTES_AT) {
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 0xf)];
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
