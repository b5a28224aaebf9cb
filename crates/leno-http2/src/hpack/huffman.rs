//! The Huffman code of RFC 7541 Appendix B. It is canonical, so that the lengths of its codes are all there is to
//! know of it; everything else is worked out by the compiler.

/// Bits of each octet's code; the last is the end of string, which may not occur.
#[rustfmt::skip]
static LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

const SYMBOLS: usize = 257;
const END: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;
/// Codes of at most this many bits are found by one look.
const DIRECT: usize = 8;

struct Codes {
    code: [u32; SYMBOLS],
    /// Symbols in the order of their codes.
    sorted: [u16; SYMBOLS],
    /// For each length: the first code's place among them, the first code, and the first left-aligned 32 bits that
    /// belong to no code of this length or a shorter one.
    place: [u16; LONGEST + 1],
    first: [u32; LONGEST + 1],
    limit: [u64; LONGEST + 1],
    /// By the next eight bits: symbol and length; length 0 means a longer code.
    direct: [(u8, u8); 1 << DIRECT],
}

static CODES: Codes = build();

const fn build() -> Codes {
    let mut codes = Codes {
        code: [0; SYMBOLS],
        sorted: [0; SYMBOLS],
        place: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
        direct: [(0, 0); 1 << DIRECT],
    };
    let mut next: u32 = 0;
    let mut placed: u16 = 0;
    let mut length = 1;
    while length <= LONGEST {
        next <<= 1;
        codes.place[length] = placed;
        codes.first[length] = next;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                codes.code[symbol] = next;
                codes.sorted[placed as usize] = symbol as u16;
                placed += 1;
                if length <= DIRECT {
                    let low = (next as usize) << (DIRECT - length);
                    let mut at = low;
                    while at < low + (1 << (DIRECT - length)) {
                        codes.direct[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        codes.limit[length] = (next as u64) << (32 - length);
        length += 1;
    }
    codes
}

/// Appends the decoded octets. Err: an end of string, or padding that is not its beginning (RFC 7541 §5.2).
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), ()> {
    // The shortest code has five bits.
    out.reserve(input.len() * 8 / SHORTEST);
    let mut rest = input.iter();
    let mut bits: u64 = 0;
    let mut held: usize = 0;
    loop {
        while held <= 56 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let (symbol, length) = symbol((bits >> 32) as u32);
        if length > held {
            let padding = (1u64 << held) - 1;
            let is_padding = held < 8 && (held == 0 || bits >> (64 - held) == padding);
            return if is_padding { Ok(()) } else { Err(()) };
        }
        if symbol == END {
            return Err(());
        }
        out.push(symbol as u8);
        bits <<= length;
        held -= length;
    }
}

/// The symbol that these bits begin with, and its length.
fn symbol(window: u32) -> (u16, usize) {
    let (symbol, length) = CODES.direct[(window >> (32 - DIRECT)) as usize];
    if length > 0 {
        return (symbol.into(), length.into());
    }
    let mut length = DIRECT + 1;
    while u64::from(window) >= CODES.limit[length] {
        length += 1;
    }
    let offset = (window >> (32 - length)) - CODES.first[length];
    (
        CODES.sorted[usize::from(CODES.place[length]) + offset as usize],
        length,
    )
}

/// Bytes of the encoded form.
pub(super) fn encoded_length(input: &[u8]) -> usize {
    let bits: usize = input.iter().map(|b| usize::from(LENGTHS[usize::from(*b)])).sum();
    bits.div_ceil(8)
}

pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let mut bits: u64 = 0;
    let mut held: u32 = 0;
    for byte in input {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODES.code[usize::from(*byte)]);
        held += length;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        let padding = (1u64 << (8 - held)) - 1;
        out.push((bits << (8 - held) | padding) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_complete() {
        // Kraft's equality: every sequence of bits is a sequence of codes.
        assert_eq!(CODES.limit[LONGEST], 1 << 32);
        assert_eq!(CODES.code[usize::from(END)], 0x3fff_ffff);
        assert_eq!(CODES.code[usize::from(b'0')], 0);
        assert_eq!(CODES.code[usize::from(b'~')], 0x1ffd);
    }

    #[test]
    fn every_octet_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for text in [&all[..], b"", b"www.example.com", b"\x00\xff"] {
            let mut encoded = Vec::new();
            encode(text, &mut encoded);
            assert_eq!(encoded.len(), encoded_length(text));
            let mut decoded = Vec::new();
            decode(&encoded, &mut decoded).unwrap();
            assert_eq!(decoded, text);
        }
    }

    #[test]
    fn the_rfc_s_example() {
        let encoded = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        let mut decoded = Vec::new();
        decode(&encoded, &mut decoded).unwrap();
        assert_eq!(decoded, b"www.example.com");
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_are_refused() {
        // "a" is 00011: three bits of padding.
        assert!(decode(&[0b0001_1111], &mut Vec::new()).is_ok());
        assert!(decode(&[0b0001_1110], &mut Vec::new()).is_err());
        assert!(decode(&[0b0001_1111, 0xff], &mut Vec::new()).is_err());
        assert!(decode(&[0xff, 0xff, 0xff, 0xff], &mut Vec::new()).is_err());
    }
}
