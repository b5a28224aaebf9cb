//! How the names of a message's header fields were written, which HTTP/1 alone can tell and everybody else ignores.
//!
//! Names are lower case everywhere in the proxy (RFC 9110 §5.1 makes no difference). For peers that do make one, a codec
//! notes the names as it found them and hangs the note on the fields; whichever codec writes the fields again looks
//! there.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// The names of one head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    text: Bytes,
    names: SmallVec<[Range<u32>; 16]>,
    reason: Range<u32>,
    proper: bool,
}

impl Spelling {
    /// Of a whole HTTP/1 head with its first line. `proper`: names that are not in it are written as [`proper_case`]
    /// has them; `reason`: its reason phrase is kept too.
    pub fn of(head: Bytes, proper: bool, reason: bool) -> Self {
        let mut names = SmallVec::new();
        let mut at = 0;
        for (number, line) in head.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                // What goes on with the line before has no name of its own.
                let folded = matches!(line.first(), Some(b' ' | b'\t'));
                if let Some(colon) = line.iter().position(|byte| *byte == b':').filter(|_| !folded) {
                    names.push(at as u32..(at + colon) as u32);
                }
            }
            at += line.len() + 1;
        }
        let reason = if reason { reason_of(&head) } else { 0..0 };
        Self {
            names,
            reason: reason.start as u32..reason.end as u32,
            proper,
            text: head,
        }
    }

    /// Writes a name, which is in lower case, as it was written; of several the first counts, as in Envoy.
    pub fn spell(&self, name: &mut [u8]) {
        let known = self.names.iter().find_map(|range| {
            let known = self.slice(range);
            (known.len() == name.len() && known.eq_ignore_ascii_case(name)).then_some(known)
        });
        match known {
            Some(known) => name.copy_from_slice(known),
            None if self.proper => proper_case(name),
            None => {}
        }
    }

    /// The reason phrase of a response that is to be passed on.
    pub fn reason(&self) -> Option<&[u8]> {
        Some(self.slice(&self.reason)).filter(|reason| !reason.is_empty())
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        let range = range.start as usize..range.end as usize;
        self.text.get(range).unwrap_or_default()
    }
}

/// `content-type` → `Content-Type`: a letter at the beginning, or behind what is neither letter nor digit.
pub fn proper_case(name: &mut [u8]) {
    let mut begins = true;
    for byte in name {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = !byte.is_ascii_alphanumeric();
    }
}

/// Behind version and status, without the line's end. It may have no control characters.
fn reason_of(head: &[u8]) -> Range<usize> {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut blanks = line.iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let Some((second, _)) = blanks.nth(1) else {
        return 0..0;
    };
    let text = line.get(second + 1..).unwrap_or_default();
    let end = second + 1 + text.trim_ascii_end().len();
    match text.trim_ascii_end().iter().any(u8::is_ascii_control) {
        true => 0..0,
        false => second + 1..end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(spelling: &Spelling, name: &str) -> String {
        let mut name = name.as_bytes().to_vec();
        spelling.spell(&mut name);
        String::from_utf8(name).expect("text")
    }

    #[test]
    fn names_are_as_they_were() {
        let head =
            &b"HTTP/1.1 200 Very Well\r\nX-MIXED: a:B\r\n folded: x\r\nplain: 1\r\nX-Mixed: 2\r\n\r\n"[..];
        let spelling = Spelling::of(Bytes::from_static(head), false, true);
        assert_eq!(spelled(&spelling, "x-mixed"), "X-MIXED");
        assert_eq!(spelled(&spelling, "plain"), "plain");
        assert_eq!(spelled(&spelling, "x-new"), "x-new");
        assert_eq!(spelling.reason(), Some(&b"Very Well"[..]));
        let spelling = Spelling::of(Bytes::from_static(head), true, false);
        assert_eq!(spelled(&spelling, "plain"), "plain");
        assert_eq!(spelled(&spelling, "foo$b#$are-2d"), "Foo$B#$Are-2d");
        assert_eq!(spelling.reason(), None);
    }

    #[test]
    fn what_is_no_head_has_no_names() {
        for text in [
            &b""[..],
            b"\n",
            b"HTTP/1.1",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 \r\n\r\n",
            b"a\n:",
        ] {
            let spelling = Spelling::of(Bytes::from_static(text), false, true);
            assert_eq!(spelling.reason(), None, "{text:?}");
        }
    }
}
