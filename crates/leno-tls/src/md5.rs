//! MD5 (RFC 1321), for fingerprints that are made with it and for nothing that is to be safe.

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

pub(crate) fn md5(text: &[u8]) -> [u8; 16] {
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(text.len() as u64).wrapping_mul(8).to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        mix(&mut state, block);
    }
    let mut sum = [0; 16];
    for (bytes, word) in sum.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    sum
}

fn mix(state: &mut [u32; 4], block: &[u8]) {
    let word = |at: usize| {
        let bytes = block.get(at * 4..).and_then(|rest| rest.first_chunk::<4>());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    let [mut a, mut b, mut c, mut d] = *state;
    for i in 0..64_usize {
        let round = i / 16;
        let (mixed, at) = match round {
            0 => ((b & c) | (!b & d), i),
            1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
            2 => (b ^ c ^ d, (3 * i + 5) % 16),
            _ => (c ^ (b | !d), (7 * i) % 16),
        };
        // The table of the RFC, §3.4.
        let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let shift = SHIFTS.get(round).and_then(|shifts| shifts.get(i % 4)).copied();
        let sum = a
            .wrapping_add(mixed)
            .wrapping_add(constant)
            .wrapping_add(word(at));
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(shift.unwrap_or_default()));
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_own_examples() {
        let hexadecimal = |text: &str| -> String {
            let sum = md5(text.as_bytes());
            sum.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hexadecimal(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hexadecimal("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        let digits = "1234567890".repeat(8);
        assert_eq!(hexadecimal(&digits), "57edf4a22be3c955ac49da2e2107b67a");
    }
}
