//! The nine bytes before every frame (RFC 9113 §4.1), and the frames that are written in one go.

/// What a client sends before its first frame (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const HEADER: usize = 9;
/// Bytes of a frame's payload that every endpoint takes (RFC 9113 §4.2), and that we ask for no more of.
pub(crate) const MAX_PAYLOAD: usize = 16_384;
/// A window's size before anybody changes it, and the most it can be (RFC 9113 §6.9).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;
pub(crate) const MAX_WINDOW: u32 = (1 << 31) - 1;

pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
}

pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The reserved bit is ignored.
            stream: u32::from_be_bytes(stream) & MAX_WINDOW,
        }
    }

    pub(crate) fn bytes(&self) -> [u8; HEADER] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The payload without its padding (RFC 9113 §6.1). None: the padding is longer than the payload.
pub(crate) fn without_padding(payload: &[u8], padded: bool) -> Option<&[u8]> {
    if !padded {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    let end = rest.len().checked_sub(usize::from(*padding))?;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_head_reads_as_it_was_written() {
        let head = Head {
            length: 0x01_02_03,
            kind: kind::PING,
            flags: flag::ACK,
            stream: 0x7fff_fffe,
        };
        assert_eq!(Head::parse(&head.bytes()), head);
        let mut reserved = head.bytes();
        reserved[5] |= 0x80;
        assert_eq!(Head::parse(&reserved), head);
    }

    #[test]
    fn padding_fits_or_is_refused() {
        assert_eq!(without_padding(&[2, b'a', 0, 0], true), Some(&b"a"[..]));
        assert_eq!(without_padding(&[3, 0, 0, 0], true), Some(&b""[..]));
        assert_eq!(without_padding(&[4, 0, 0, 0], true), None);
        assert_eq!(without_padding(&[], true), None);
        assert_eq!(without_padding(b"a", false), Some(&b"a"[..]));
    }
}
