//! What a stream comes to on the wire, with the heads of its frames.

use crate::frame::HEADER;

/// Bytes of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub sent: OneWay,
    pub received: OneWay,
}

/// Bytes of one stream in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OneWay {
    /// HEADERS, CONTINUATION and DATA frames.
    pub all: u64,
    /// HEADERS and CONTINUATION frames.
    pub heads: u64,
    /// Names and values, as they were before they were compressed.
    pub plain_heads: u64,
}

// === impl OneWay ===

impl OneWay {
    /// A head, with all of its frames.
    pub(super) fn head(&mut self, bytes: usize, plain: usize) {
        self.all += bytes as u64;
        self.heads += bytes as u64;
        self.plain_heads += plain as u64;
    }

    /// A frame of a body with such a payload.
    pub(super) fn data(&mut self, payload: usize) {
        self.all += (HEADER + payload) as u64;
    }
}
