//! Which bytes may stand where (RFC 9110 §5.5, §5.6.2; RFC 3986 §3.2), as tables: a look a byte.

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const AUTHORITY: u8 = 8;

const TABLE: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let at = byte as u8;
        let alphanumeric = at.is_ascii_alphanumeric();
        if alphanumeric || one_of(at, b"!#$%&'*+-.^_`|~") {
            table[byte] |= TOKEN;
        }
        // Tab, space, visible characters and obs-text.
        if at == b'\t' || at >= b' ' && at != 0x7f {
            table[byte] |= VALUE;
        }
        if at > b' ' && at < 0x7f {
            table[byte] |= TARGET;
        }
        if alphanumeric || one_of(at, b"-._~%!$&'()*+,;=:@[]") {
            table[byte] |= AUTHORITY;
        }
        byte += 1;
    }
    table
}

const fn one_of(byte: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

/// What a token's characters are in lower case; 0 for all others.
const LOWER: [u8; 256] = lower();

const fn lower() -> [u8; 256] {
    let mut lower = [0; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        if TABLE[byte] & TOKEN != 0 {
            lower[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    lower
}

/// Makes the token that `bytes` begin with lower case. The result: its length.
pub(crate) fn lower_token(bytes: &mut [u8]) -> usize {
    let length = bytes.len();
    for (at, byte) in bytes.iter_mut().enumerate() {
        match LOWER[usize::from(*byte)] {
            0 => return at,
            lower => *byte = lower,
        }
    }
    length
}

/// Eight bytes at a time: a byte of ones in each place, and each one's high bit.
const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES << 7;

/// The high bits of the bytes that are `byte`. Of those only the lowest is sure.
fn equal(word: u64, byte: u8) -> u64 {
    let zero = word ^ (ONES * byte as u64);
    zero.wrapping_sub(ONES) & !zero & HIGH
}

/// The high bits of the bytes below a space, and of DEL. Of those only the lowest is sure.
fn control(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x20) & !word & HIGH) | equal(word, 0x7f)
}

/// Where the first byte is that `marks` marks in a word, and that `is` is true of.
fn find(bytes: &[u8], marks: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        match marks(u64::from_le_bytes(*word)) {
            0 => {}
            marked => return Some(at * 8 + marked.trailing_zeros() as usize / 8),
        }
    }
    let rest = rest.iter().position(|byte| is(*byte));
    rest.map(|at| words.len() * 8 + at)
}

pub(crate) fn line_feed(bytes: &[u8]) -> Option<usize> {
    find(bytes, |word| equal(word, b'\n'), |byte| byte == b'\n')
}

/// How many bytes at the beginning may stand in a value.
pub(crate) fn value_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match find(rest, control, |byte| byte < b' ' || byte == 0x7f) {
            None => return bytes.len(),
            Some(found) if rest.get(found) == Some(&b'\t') => at += found + 1,
            Some(found) => return at + found,
        }
    }
}

/// Nothing in it ends a line early.
pub(crate) fn is_line_safe(bytes: &[u8]) -> bool {
    // Few have any control character at all.
    value_length(bytes) == bytes.len() || memchr::memchr3(b'\r', b'\n', 0, bytes).is_none()
}

pub(crate) fn has_colon(name: &[u8]) -> bool {
    find(name, |word| equal(word, b':'), |byte| byte == b':').is_some()
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|byte| TABLE[usize::from(*byte)] & class != 0)
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Carriage return and line feed are none of it.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
}

/// The characters of paths and queries; more than RFC 3986 allows, less than would break a line.
pub(crate) fn is_path(bytes: &[u8]) -> bool {
    all(bytes, TARGET)
}

pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    all(bytes, AUTHORITY)
}

/// Space, or a control character that passes as one between the parts of a first line.
pub(crate) fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// A list's elements, trimmed, without the empty ones (RFC 9110 §5.6.1).
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_as_far_as_its_characters() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut bytes = [b'x'; 20];
                bytes[place] = byte;
                let expected = if is_value(&[byte]) { 20 } else { place };
                assert_eq!(value_length(&bytes), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn a_line_feed_is_found_wherever_it_is() {
        for place in 0..20 {
            let mut bytes = [0x0b; 20];
            assert_eq!(line_feed(&bytes), None);
            bytes[place] = b'\n';
            assert_eq!(line_feed(&bytes), Some(place));
        }
    }

    #[test]
    fn what_would_end_a_line_early_is_not_safe() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut bytes = [b'x'; 20];
                bytes[place] = byte;
                let ends = matches!(byte, b'\r' | b'\n' | 0);
                assert_eq!(is_line_safe(&bytes), !ends, "{byte} at {place}");
                assert_eq!(has_colon(&bytes), byte == b':', "{byte} at {place}");
            }
        }
    }

    #[test]
    fn a_token_is_made_lower_case_as_far_as_it_goes() {
        for byte in 0..=u8::MAX {
            let mut bytes = [b'A', byte, b'B'];
            let length = lower_token(&mut bytes);
            assert_eq!(length, if is_token(&[byte]) { 3 } else { 1 }, "{byte}");
            assert_eq!(bytes[0], b'a');
            assert_eq!(
                bytes[1],
                if length == 3 {
                    byte.to_ascii_lowercase()
                } else {
                    byte
                }
            );
        }
    }
}
