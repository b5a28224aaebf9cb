//! RFC 4648.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With padding.
pub(crate) fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let index = (group >> (18 - 6 * place)) as usize & 63;
            let symbol = ALPHABET.get(index).copied().unwrap_or(b'=');
            out.push(if place > chunk.len() { b'=' } else { symbol });
        }
    }
    out
}

/// Padding may be missing.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    decode_by(text, b'+', b'/')
}

/// The alphabet for URLs and names of files (§5). Padding may be missing; a last symbol that makes no byte may not be
/// there.
pub(crate) fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    let symbols = text.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
    let is_padded = text.len() > symbols;
    if symbols % 4 == 1 || is_padded && (!text.len().is_multiple_of(4) || text.len() - symbols > 2) {
        return None;
    }
    decode_by(text, b'-', b'_')
}

/// `of_62` and `of_63`: the two symbols in which the alphabets differ.
fn decode_by(text: &[u8], of_62: u8, of_63: u8) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
    let mut out = Vec::with_capacity(end * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for symbol in text.get(..end)? {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            symbol if *symbol == of_62 => 62,
            symbol if *symbol == of_63 => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text.as_bytes());
            assert_eq!(decode(text.as_bytes()), Some(bytes.into()));
        }
        assert_eq!(decode(b"Z!=="), None);
    }

    #[test]
    fn in_urls_two_symbols_are_others() {
        assert_eq!(decode_url(b"-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode_url(b"Zg=="), Some(b"f".to_vec()));
        for text in [
            "+/8", "Z", "Zm9vY", "Zg=", "Zg===", "Zm9v====", "Z g", "Zg.", "=Zg",
        ] {
            assert_eq!(decode_url(text.as_bytes()), None, "{text}");
        }
    }
}
