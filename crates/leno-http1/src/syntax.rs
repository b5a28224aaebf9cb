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
