//! What a connection manager makes of authority and path before they are matched (Envoy: `normalize_path`,
//! `merge_slashes`, `strip_any_host_port`).

use crate::compile::http::HttpConnectionManager;
use crate::message::RequestHead;

impl HttpConnectionManager {
    /// Routes see what this leaves, and so does whoever gets the request.
    pub fn normalise(&self, head: &mut RequestHead) {
        if self.strip_port
            && let Some(at) = head.authority.iter().rposition(|b| *b == b':')
            && head
                .authority
                .get(at + 1..)
                .is_some_and(|port| port.iter().all(u8::is_ascii_digit))
            && !(head.authority.first() == Some(&b'[') && head.authority.last() == Some(&b']'))
        {
            head.authority.truncate(at);
        }
        if self.normalize_path && needs_normalising(head.path_only()) {
            let end = head.path_only().len();
            let mut path = normal_path(head.path_only());
            path.extend_from_slice(head.path.get(end..).unwrap_or_default());
            head.path = path.into();
        }
        if self.merge_slashes && head.path_only().windows(2).any(|pair| pair == b"//") {
            let end = head.path_only().len();
            let mut path: Vec<u8> = Vec::with_capacity(head.path.len());
            for byte in head.path_only() {
                if *byte != b'/' || path.last() != Some(&b'/') {
                    path.push(*byte);
                }
            }
            path.extend_from_slice(head.path.get(end..).unwrap_or_default());
            head.path = path.into();
        }
    }
}

fn needs_normalising(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().any(|byte| {
        let found = matches!(byte, b'%' | b'\\') || (*byte == b'.' && before == b'/');
        before = *byte;
        found
    })
}

/// RFC 3986 §6.2.2: dot segments, and escapes of characters that need none.
fn normal_path(path: &[u8]) -> Vec<u8> {
    let unescaped = unescape_unreserved(path);
    let mut segments: Vec<&[u8]> = Vec::new();
    let parts: Vec<&[u8]> = unescaped.split(|b| *b == b'/').skip(1).collect();
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.into_iter().enumerate() {
        match part {
            b"." if at == last => segments.push(b""),
            b"." => {}
            b".." => {
                segments.pop();
                if at == last {
                    segments.push(b"");
                }
            }
            part => segments.push(part),
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

fn unescape_unreserved(path: &[u8]) -> Vec<u8> {
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
        ] {
            assert_eq!(
                String::from_utf8(normal_path(sent.as_bytes())).unwrap(),
                routed,
                "{sent}"
            );
        }
    }
}
