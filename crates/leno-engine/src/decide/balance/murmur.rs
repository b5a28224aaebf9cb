//! MurmurHash2, 64 bits, with the seed of libstdc++'s `std::hash`: Envoy's `MURMUR_HASH_2`.

const SEED: u64 = 0xc70f_6907;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

pub(super) fn murmur2(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let mixed = shift_mix(word.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ mixed).wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let rest = rest.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    shift_mix(shift_mix(hash).wrapping_mul(MULTIPLIER))
}

fn shift_mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    /// What libstdc++'s `std::hash<std::string>` says.
    #[test]
    fn it_is_the_hash_of_libstdcpp() {
        for (text, hash) in [
            ("", 6_142_509_188_972_423_790),
            ("foo", 9_631_199_822_919_835_226),
            ("12345678", 10_113_836_418_918_046_885),
            ("foo\nbar", 16_306_510_975_912_980_159),
            ("127.0.0.1:8080_17", 3_591_327_324_750_848_891),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text:?}");
        }
    }
}
