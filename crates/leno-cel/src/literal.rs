//! Numbers and quoted texts, as they are written.

use crate::token::Token;

type Read = (Token, usize);

/// A text or bytes in quotes, at the very beginning, and how long it is written; None: there is none.
pub(crate) fn quoted(rest: &str) -> Result<Option<Read>, &'static str> {
    let quote = rest.bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''));
    let Some(prefix) = quote.and_then(|at| rest.get(..at)) else {
        return Ok(None);
    };
    let (raw, bytes) = match prefix.to_ascii_lowercase().as_str() {
        "" => (false, false),
        "r" => (true, false),
        "b" => (false, true),
        "br" | "rb" => (true, true),
        _ => return Ok(None),
    };
    let opened = rest.get(prefix.len()..).unwrap_or_default();
    let single = opened.get(..1).unwrap_or_default();
    let tripled = opened.get(..3).filter(|three| *three == single.repeat(3));
    let mark = tripled.unwrap_or(single);
    let mut out = Out {
        bytes,
        written: Vec::new(),
    };
    let inner = opened.get(mark.len()..).unwrap_or_default();
    let mut left = inner;
    loop {
        if let Some(after) = left.strip_prefix(mark) {
            let token = match bytes {
                true => Token::Bytes(out.written),
                false => Token::Text(String::from_utf8(out.written).map_err(|_| "not UTF-8")?),
            };
            return Ok(Some((token, rest.len() - after.len())));
        }
        let mut chars = left.chars();
        match chars.next() {
            None => return Err("a quoted text without its end"),
            Some('\n' | '\r') if mark.len() == 1 => {
                return Err("a quoted text goes over the end of its line");
            }
            Some('\\') if !raw => left = out.escape(chars.as_str())?,
            Some(other) => {
                out.push(other);
                left = chars.as_str();
            }
        }
    }
}

struct Out {
    bytes: bool,
    written: Vec<u8>,
}

impl Out {
    fn push(&mut self, c: char) {
        self.written
            .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// What stands behind a backslash; the rest after it.
    fn escape<'t>(&mut self, text: &'t str) -> Result<&'t str, &'static str> {
        const BAD: &str = "no such escape in a quoted text";
        let mut chars = text.chars();
        let first = chars.next().ok_or(BAD)?;
        let plain = match first {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '?' | '"' | '\'' | '`' => first,
            'x' | 'X' => return self.numeric(chars.as_str(), 2, 16),
            'u' if !self.bytes => return self.numeric(chars.as_str(), 4, 16),
            'U' if !self.bytes => return self.numeric(chars.as_str(), 8, 16),
            '0'..='3' => return self.numeric(text, 3, 8),
            _ => return Err(BAD),
        };
        self.push(plain);
        Ok(chars.as_str())
    }

    fn numeric<'t>(&mut self, text: &'t str, digits: usize, radix: u32) -> Result<&'t str, &'static str> {
        const BAD: &str = "not the number of a character in a quoted text";
        let number = text.get(..digits).ok_or(BAD)?;
        if !number.bytes().all(|byte| char::from(byte).is_digit(radix)) {
            return Err(BAD);
        }
        let code = u32::from_str_radix(number, radix).map_err(|_| BAD)?;
        match self.bytes {
            true => self.written.push(u8::try_from(code).map_err(|_| BAD)?),
            false => self.push(char::from_u32(code).ok_or(BAD)?),
        }
        text.get(digits..).ok_or(BAD)
    }
}

/// A number at the very beginning, and how long it is written.
pub(crate) fn number(rest: &str) -> Result<Read, &'static str> {
    const BAD: &str = "not a number, or out of range";
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let unsigned = |end: usize| matches!(bytes.get(end), Some(b'u' | b'U'));
    let radix = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
    let (end, read) = match radix {
        Some(hex) => {
            let length = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
            let number = hex.get(..length).unwrap_or_default();
            (2 + length, u64::from_str_radix(number, 16))
        }
        None => {
            let end = digits(0);
            let mut real = end;
            if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
                real = digits(end + 1);
            }
            if matches!(bytes.get(real), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(real + 1), Some(b'+' | b'-')));
                let exponent = digits(real + 1 + sign);
                if exponent == real + 1 + sign {
                    return Err(BAD);
                }
                real = exponent;
            }
            if real > end {
                let value: f64 = rest.get(..real).and_then(|text| text.parse().ok()).ok_or(BAD)?;
                return Ok((Token::Double(value), real));
            }
            (end, rest.get(..end).unwrap_or_default().parse())
        }
    };
    let value = read.map_err(|_| BAD)?;
    if unsigned(end) {
        return Ok((Token::Uint(value), end + 1));
    }
    match i64::try_from(value) {
        Ok(value) => Ok((Token::Int(value), end)),
        Err(_) if value == i64::MIN.unsigned_abs() => Ok((Token::Smallest, end)),
        Err(_) => Err(BAD),
    }
}
