//! RFC 4648, section 4: what a Secret's `data` is written in. Line breaks, as block scalars leave them, are skipped.

/// None: not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text
        .as_bytes()
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace());
    let mut decoded = Vec::new();
    let (mut bits, mut held, mut digits, mut padding) = (0_u32, 0, 0_usize, 0_usize);
    for byte in text {
        digits += 1;
        if byte == b'=' {
            padding += 1;
            continue;
        }
        if padding > 0 {
            return None;
        }
        bits = (bits << 6) | u32::from(digit(byte)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            decoded.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    // Whole groups of four, and the bits that are left over are zero.
    let whole = digits % 4 == 0 && padding <= 2 && bits & ((1 << held) - 1) == 0 && held < 6;
    whole.then_some(decoded)
}

/// RFC 4648, section 5, without padding or with it: what JSON Web Keys are written in.
pub(crate) fn decode_url(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    let mut whole: String = bare
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            // Not of this alphabet, and so not of the other.
            '+' | '/' => '-',
            c => c,
        })
        .collect();
    while !whole.len().is_multiple_of(4) {
        whole.push('=');
    }
    decode(&whole)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn the_vectors_of_rfc_4648_are_read() {
        for (text, want) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9v\n  YmE=\n", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(want.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_alphabet_of_urls_needs_no_padding() {
        for (text, want) in [
            ("-_-_", &[0xfb, 0xff, 0xbf][..]),
            ("Zg", b"f"),
            ("Zm8=", b"fo"),
            ("", b""),
        ] {
            assert_eq!(super::decode_url(text).as_deref(), Some(want), "{text}");
        }
        for text in ["+/+/", "Z", "Zh"] {
            assert_eq!(super::decode_url(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_base64_is_none() {
        for text in ["Zg", "Zg=", "Zh==", "Z===", "=", "Zg==Zg==", "Zm9v-mE=", "ä"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
