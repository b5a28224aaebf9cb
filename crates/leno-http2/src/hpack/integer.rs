//! Integers with a prefix (RFC 7541 §5.1).

use super::malformed::Malformed;

/// More than any length or index that can be meant.
const MOST: u64 = 1 << 28;

/// Reads an integer whose first `prefix` bits are the low ones of the first byte.
pub(super) fn read(input: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (first, mut rest) = input.split_first().ok_or(Malformed)?;
    let mask = (1u64 << prefix) - 1;
    let mut value = u64::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, more) = rest.split_first().ok_or(Malformed)?;
            rest = more;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 28 || value > MOST {
                return Err(Malformed);
            }
        }
    }
    if value > MOST {
        return Err(Malformed);
    }
    *input = rest;
    usize::try_from(value).map_err(|_| Malformed)
}

/// Writes an integer; `first` holds the bits before the prefix.
pub(super) fn write(value: usize, prefix: u32, first: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_examples() {
        for (value, prefix, bytes) in [
            (10, 5, &[0b01010][..]),
            (1337, 5, &[0b11111, 0b1001_1010, 0b0000_1010]),
            (42, 8, &[0b0010_1010]),
        ] {
            let mut out = Vec::new();
            write(value, prefix, 0, &mut out);
            assert_eq!(out, bytes);
            let mut input = bytes;
            assert_eq!(read(&mut input, prefix), Ok(value));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn what_does_not_end_or_is_too_large_is_malformed() {
        for bytes in [
            &[][..],
            &[0x1f],
            &[0x1f, 0x80],
            &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            assert_eq!(read(&mut &bytes[..], 5), Err(Malformed), "{bytes:?}");
        }
    }
}
