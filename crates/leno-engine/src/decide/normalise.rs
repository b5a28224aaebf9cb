//! What a connection manager makes of authority and path before they are matched (Envoy: `normalize_path`,
//! `merge_slashes`, `strip_any_host_port`).

use super::authority::without_port;
use crate::compile::http::{EscapedSlashes, HttpConnectionManager, StripPort};
use crate::message::RequestHead;

/// What becomes of a request whose path has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Normalised {
    GoesOn,
    /// It is answered 400: `path_normalization_failed`.
    Refused,
    /// It is answered 307, to its own path as it now is.
    Redirected,
}

impl HttpConnectionManager {
    /// Routes see what this leaves, and so does whoever gets the request. Envoy's order: escaped slashes, RFC 3986,
    /// slashes beside each other.
    /// `port`: the one that the connection came to.
    pub fn normalise(&self, head: &mut RequestHead, port: u16) -> Normalised {
        self.normalise_authority(head, port);
        let mut outcome = Normalised::GoesOn;
        if self.escaped_slashes != EscapedSlashes::Kept
            && let Some(unescaped) = unescaped_slashes(head.path_only())
        {
            match self.escaped_slashes {
                EscapedSlashes::Refused => return Normalised::Refused,
                EscapedSlashes::Redirected => outcome = Normalised::Redirected,
                EscapedSlashes::Unescaped | EscapedSlashes::Kept => {}
            }
            replace_path(head, unescaped);
        }
        if self.normalize_path && needs_normalising(head.path_only()) {
            if has_nul(head.path_only()) {
                return Normalised::Refused;
            }
            let normal = normal_path(head.path_only());
            replace_path(head, normal);
        }
        if self.merge_slashes && head.path_only().windows(2).any(|pair| pair == b"//") {
            let merged = merged_slashes(head.path_only());
            replace_path(head, merged);
        }
        outcome
    }

    fn normalise_authority(&self, head: &mut RequestHead, port: u16) {
        if self.strip_trailing_dot {
            without_dot(head);
        }
        let strips = |digits: &[u8]| match self.strip_port {
            StripPort::None => false,
            StripPort::Any => digits.iter().all(u8::is_ascii_digit),
            StripPort::Matching => digits == port.to_string().as_bytes(),
        };
        if self.strip_port != StripPort::None
            && let Some(at) = head.authority.iter().rposition(|b| *b == b':')
            && head.authority.get(at + 1..).is_some_and(strips)
            && !(head.authority.first() == Some(&b'[') && head.authority.last() == Some(&b']'))
        {
            head.authority.truncate(at);
        }
    }
}

/// `host.` and `host.:80` lose one dot.
fn without_dot(head: &mut RequestHead) {
    let name = without_port(&head.authority);
    let Some(bare) = name.strip_suffix(b".").filter(|bare| !bare.is_empty()) else {
        return;
    };
    let port = head.authority.get(name.len()..).unwrap_or_default();
    head.authority = [bare, port].concat().into();
}

/// The path anew, with its query as it was.
fn replace_path(head: &mut RequestHead, mut path: Vec<u8>) {
    let end = head.path_only().len();
    path.extend_from_slice(head.path.get(end..).unwrap_or_default());
    head.path = path.into();
}

/// `%2F` as `/` and `%5C` as `\`. None: there is none.
fn unescaped_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let slash = |rest: &[u8]| match rest {
        [b'%', b'2', b'F' | b'f', ..] => Some(b'/'),
        [b'%', b'5', b'C' | b'c', ..] => Some(b'\\'),
        _ => None,
    };
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match slash(rest) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    (out.len() < path.len()).then_some(out)
}

fn merged_slashes(path: &[u8]) -> Vec<u8> {
    let mut merged: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path {
        if *byte != b'/' || merged.last() != Some(&b'/') {
            merged.push(*byte);
        }
    }
    // Envoy keeps the first and the last: of nothing but slashes two are left.
    if merged == b"/" {
        merged.push(b'/');
    }
    merged
}

/// Many a server ends the path there.
fn has_nul(path: &[u8]) -> bool {
    path.windows(3).any(|escape| escape == b"%00")
}

fn needs_normalising(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().any(|byte| {
        let found = matches!(byte, b'%' | b'\\') || (*byte == b'.' && before == b'/') || is_escaped(*byte);
        before = *byte;
        found
    })
}

/// What may not stand in a path by itself (RFC 3986 §3.3), as Envoy has it. Each byte of every path is looked at.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let own = byte as u8;
        table[byte] =
            !own.is_ascii_graphic() || matches!(own, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}');
        byte += 1;
    }
    table
};

fn is_escaped(byte: u8) -> bool {
    ESCAPED.get(usize::from(byte)).is_some_and(|escaped| *escaped)
}

/// RFC 3986 §6.2.2: dot segments, escapes of characters that need none, and of those that do.
fn normal_path(path: &[u8]) -> Vec<u8> {
    let unescaped = canonical_bytes(path);
    let mut segments: Vec<&[u8]> = Vec::new();
    let parts: Vec<&[u8]> = unescaped.split(|b| *b == b'/').skip(1).collect();
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.into_iter().enumerate() {
        // Parameters (RFC 3986 §3.3) make no other segment of a dot: who gets `/a/..;x/b` may well serve `/b`.
        match part.split(|b| *b == b';').next().unwrap_or_default() {
            b"." if at == last => segments.push(b""),
            b"." => {}
            b".." => {
                segments.pop();
                if at == last {
                    segments.push(b"");
                }
            }
            _ => segments.push(part),
        }
    }
    let mut normal = Vec::with_capacity(path.len());
    for segment in segments {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

fn canonical_bytes(path: &[u8]) -> Vec<u8> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ if *first == b'\\' => out.push(b'/'),
            _ if is_escaped(*first) => {
                let digit = |half: u8| {
                    char::from_digit(half.into(), 16).map_or(b'0', |c| c.to_ascii_uppercase() as u8)
                };
                out.extend_from_slice(&[b'%', digit(first >> 4), digit(first & 15)]);
            }
            _ => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_before_routing() {
        for (sent, routed) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61dmin", "/admin"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a\\b", "/a/b"),
            ("/.hidden", "/.hidden"),
            ("/a%2e%2e/%2E%2E/b", "/b"),
            ("/a/..;x=1/b", "/b"),
            ("/a/.;x/b", "/a/b"),
            ("/a/b/..;", "/a/"),
            ("/a;x=1/../b", "/b"),
            ("/a/...;x/b;y", "/a/...;x/b;y"),
            ("/é/../a{b}", "/a%7Bb%7D"),
            ("/é", "/%C3%A9"),
        ] {
            assert_eq!(
                String::from_utf8(normal_path(sent.as_bytes())).unwrap(),
                routed,
                "{sent}"
            );
        }
    }
}
