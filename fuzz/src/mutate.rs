//! Mutations that leave YAML mostly YAML: words are exchanged, lines moved, copied and dropped.
//!
//! Bytes changed at random nearly always break the syntax, and what lies behind the parser is never reached.

/// Values that are right somewhere and odd elsewhere.
const ODD: &[&str] = &[
    "0",
    "1",
    "-1",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "100.1",
    "1e300",
    ".nan",
    "0s",
    "1ns",
    "1ms",
    "8784h",
    "true",
    "~",
    "\"\"",
    "[]",
    "{}",
    "\"*\"",
    "\"*.com\"",
    "\"%\"",
    "\"%%\"",
    "\"%REQ(:PATH)%\"",
    "\"\\\\1\"",
    "\"\\\\9\"",
    "\"(a\"",
    "\".*\"",
    "\"(?i)a|b\"",
    "\"^$\"",
    "\" \"",
    "\"a b\"",
    "\"a,b\"",
    "\"é\"",
    "\"\\x01\"",
    "\"/%2F\"",
    "\"/a?b#c\"",
    "host",
    "\":authority\"",
    "\":path\"",
    "x-envoy-retry-on",
    "connection",
    "te",
    "cookie",
    "reviews.default.svc.cluster.local",
    "other.ns",
    "localhost",
    "\"1.2.3.4\"",
    "\"[::1]\"",
    "\"a:80\"",
    "retriable-status-codes",
    "5xx",
    "UPGRADE",
    "PASSTHROUGH",
    "SIMPLE",
    "DISABLE",
    "http2",
    "tcp",
    "udp",
];

/// A deterministic generator is all that libFuzzer asks for (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (limit.max(1) as u64)).unwrap_or(0)
    }
}

/// The text with one to four mutations. `None`: not text.
pub fn yaml(data: &[u8], seed: u32) -> Option<String> {
    let mut text = std::str::from_utf8(data).ok()?.to_owned();
    let mut random = Random(u64::from(seed) << 1 | 1);
    for _ in 0..=random.below(4) {
        text = match random.below(6) {
            0..=2 => exchange(&text, &mut random),
            3 => lines(&text, |lines, at| drop(lines.remove(at)), &mut random),
            4 => lines(
                &text,
                |lines, at| lines.insert(at, lines[at].clone()),
                &mut random,
            ),
            _ => {
                let to = random.below(text.lines().count());
                lines(&text, |lines, at| lines.swap(at, to), &mut random)
            }
        };
    }
    Some(text)
}

/// One word for another of the text, or for an odd one.
fn exchange(text: &str, random: &mut Random) -> String {
    let boundary = |c: char| c.is_whitespace() || "[]{},".contains(c);
    let words: Vec<(usize, &str)> = text
        .split(boundary)
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
        .collect();
    let Some((at, word)) = words.get(random.below(words.len())).copied() else {
        return text.to_owned();
    };
    let new = match random.below(2) {
        0 => ODD[random.below(ODD.len())],
        _ => words[random.below(words.len())].1,
    };
    format!("{}{new}{}", &text[..at], &text[at + word.len()..])
}

fn lines(text: &str, change: impl FnOnce(&mut Vec<String>, usize), random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !lines.is_empty() {
        let at = random.below(lines.len());
        change(&mut lines, at);
    }
    lines.join("\n")
}
