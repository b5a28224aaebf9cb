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
        let [a, b, c, d] = [96, 64, 32, 0].map(|shift| hex((bits >> shift) as u32));
        let mut text = [b'-'; 36];
        text[..8].copy_from_slice(&a);
        text[9..13].copy_from_slice(&b[..4]);
        text[14..18].copy_from_slice(&b[4..]);
        text[19..23].copy_from_slice(&c[..4]);
        text[24..28].copy_from_slice(&c[4..]);
        text[28..].copy_from_slice(&d);
        text
    }
}

/// Eight digits, all at a time: one is written for every request.
fn hex(number: u32) -> [u8; 8] {
    let mut digits = u64::from(number);
    digits = (digits & 0xffff_0000) << 16 | digits & 0xffff;
    digits = (digits & 0x0000_ff00_0000_ff00) << 8 | digits & 0x0000_00ff_0000_00ff;
    digits = (digits & 0x00f0_00f0_00f0_00f0) << 4 | digits & 0x000f_000f_000f_000f;
    // 1 in each byte that is a letter.
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let to_letter = u64::from(b'a' - b'0' - 10);
    (digits + 0x3030_3030_3030_3030 + letters * to_letter).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 0x0123_4567, 0x89ab_cdef, u32::MAX, 0xa0] {
            assert_eq!(hex(number), *format!("{number:08x}").as_bytes());
        }
    }

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
