//! What waits to be written, in the order in which it has to be.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::Key;
use crate::frame::{HEADER, Head, MAX_PAYLOAD, flag, kind};

/// Payloads up to this size are copied behind their frame's head: one slice less to write.
const COPIED: usize = 2048;
/// Kept of an empty buffer: by a busy connection, so that it need not ask for one at every turn, and by an idle one.
const KEPT: usize = 64 * 1024;
const KEPT_IDLE: usize = 1024;

/// Frames to be written.
#[derive(Debug, Default)]
pub struct Output {
    /// What stands before `tail`.
    pieces: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the first piece, or of the tail, that have been written.
    written: usize,
    length: usize,
    /// A DATA frame at the very end, which more bytes of the same stream may still join.
    open: Option<OpenData>,
    /// Frames that answer frames.
    pub(super) control: usize,
}

#[derive(Clone, Copy, Debug)]
struct OpenData {
    key: Key,
    /// Where its head stands in the tail.
    at: usize,
    /// Where the tail ended then.
    end: usize,
}

impl Output {
    /// Bytes that are not written yet.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// As many slices as fit; how many there are.
    pub fn slices<'o>(&'o self, out: &mut [IoSlice<'o>]) -> usize {
        let parts = self
            .pieces
            .iter()
            .map(Bytes::as_ref)
            .chain([self.tail.as_slice()]);
        let mut skip = self.written;
        let mut filled = 0;
        for (part, slot) in parts.zip(out) {
            let rest = part.get(skip..).unwrap_or_default();
            skip = 0;
            *slot = IoSlice::new(rest);
            filled += 1;
        }
        filled
    }

    /// These many bytes have been written.
    pub fn advance(&mut self, written: usize) {
        self.length = self.length.saturating_sub(written);
        self.written += written;
        while let Some(first) = self.pieces.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.pieces.pop_front();
        }
        if self.length == 0 {
            self.tail.clear();
            if self.tail.capacity() > KEPT {
                self.tail = Vec::new();
            }
            self.written = 0;
            self.control = 0;
            self.open = None;
        }
    }

    /// Gives memory back that an idle connection need not hold.
    pub fn shrink(&mut self) {
        if self.length == 0 {
            self.pieces = VecDeque::new();
            if self.tail.capacity() > KEPT_IDLE {
                self.tail = Vec::new();
            }
        }
    }

    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let head = Head {
            length: payload.len(),
            kind,
            flags,
            stream,
        };
        self.raw(&head.bytes());
        self.raw(payload);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(super) fn data(&mut self, key: Key, payload: Bytes, end: bool) {
        let flags = if end { flag::END_STREAM } else { 0 };
        if payload.len() <= COPIED {
            if self.join(key, &payload, flags) {
                return;
            }
            let at = self.tail.len();
            self.frame(kind::DATA, flags, key.id, &payload);
            let end = self.tail.len();
            self.open = Some(OpenData { key, at, end });
            return;
        }
        self.frame_head(payload.len(), flags, key.id);
        self.length += payload.len();
        let before = std::mem::take(&mut self.tail);
        self.pieces.push_back(Bytes::from(before));
        self.pieces.push_back(payload);
        self.open = None;
    }

    fn frame_head(&mut self, length: usize, flags: u8, stream: u32) {
        let kind = kind::DATA;
        let head = Head {
            length,
            kind,
            flags,
            stream,
        };
        self.raw(&head.bytes());
    }

    /// Many small pieces of a body become one frame: some peers count frames (GHSA-q83h-524g-xf6h).
    fn join(&mut self, key: Key, payload: &[u8], flags: u8) -> bool {
        let Some(open) = self.open else { return false };
        let unwritten = !self.pieces.is_empty() || self.written <= open.at;
        if open.key != key || open.end != self.tail.len() || !unwritten {
            return false;
        }
        let length = open.end - open.at - HEADER + payload.len();
        if length > MAX_PAYLOAD {
            return false;
        }
        self.raw(payload);
        let head = Head {
            length,
            kind: kind::DATA,
            flags,
            stream: key.id,
        };
        if let Some(place) = self.tail.get_mut(open.at..open.at + HEADER) {
            place.copy_from_slice(&head.bytes());
        }
        let end = self.tail.len();
        self.open = Some(OpenData { end, ..open });
        true
    }

    /// Begins a HEADERS frame of which the length is not known; returns its place.
    pub(super) fn begin_headers(&mut self) -> usize {
        let at = self.tail.len();
        self.tail.extend_from_slice(&[0; HEADER]);
        at
    }

    /// The block of the frame that was begun last, to be appended to.
    pub(super) fn block(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    pub(super) fn abandon_headers(&mut self, at: usize) {
        self.tail.truncate(at);
    }

    /// Cuts the block into frames that the peer takes.
    pub(super) fn end_headers(&mut self, at: usize, stream: u32, end_stream: bool, most: usize) {
        let length = self.tail.len() - at - HEADER;
        let flags = if end_stream { flag::END_STREAM } else { 0 };
        let mut head = Head {
            length,
            kind: kind::HEADERS,
            flags: flags | flag::END_HEADERS,
            stream,
        };
        if length <= most {
            if let Some(place) = self.tail.get_mut(at..at + HEADER) {
                place.copy_from_slice(&head.bytes());
            }
            self.length += HEADER + length;
            return;
        }
        let block = self.tail.split_off(at).split_off(HEADER);
        let chunks = block.chunks(most);
        let last = chunks.len() - 1;
        for (number, chunk) in chunks.enumerate() {
            head.length = chunk.len();
            head.kind = if number == 0 {
                kind::HEADERS
            } else {
                kind::CONTINUATION
            };
            head.flags = if number == 0 { flags } else { 0 };
            if number == last {
                head.flags |= flag::END_HEADERS;
            }
            self.raw(&head.bytes());
            self.raw(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = output.slices(&mut slices);
        slices[..count].iter().flat_map(|s| s.to_vec()).collect()
    }

    fn key(id: u32) -> Key {
        Key { slot: 0, id }
    }

    #[test]
    fn small_pieces_of_one_stream_become_one_frame() {
        let mut output = Output::default();
        for piece in ["a", "b", "c"] {
            output.data(key(1), Bytes::from(piece), false);
        }
        output.data(key(3), Bytes::from("d"), false);
        output.data(key(1), Bytes::new(), true);
        assert_eq!(
            all(&output),
            b"\0\0\x03\0\0\0\0\0\x01abc\0\0\x01\0\0\0\0\0\x03d\0\0\0\0\x01\0\0\0\x01"
        );
    }

    #[test]
    fn a_frame_that_is_partly_written_takes_nothing_more() {
        let mut output = Output::default();
        output.data(key(1), Bytes::from("ab"), false);
        output.advance(1);
        output.data(key(1), Bytes::from("c"), false);
        assert_eq!(output.len(), 10 + 10);
    }

    #[test]
    fn large_payloads_are_not_copied_and_come_in_order() {
        let mut output = Output::default();
        let large = Bytes::from(vec![7; COPIED + 1]);
        output.frame(kind::PING, 0, 0, &[1; 8]);
        output.data(key(1), large.clone(), false);
        output.frame(kind::PING, 0, 0, &[2; 8]);
        let bytes = all(&output);
        assert_eq!(bytes.len(), output.len());
        assert_eq!(output.pieces[1].as_ptr(), large.as_ptr());
        for _ in 0..bytes.len() {
            output.advance(1);
        }
        assert!(output.is_empty() && output.pieces.is_empty());
    }

    #[test]
    fn a_long_block_goes_on_in_continuations() {
        let mut output = Output::default();
        let at = output.begin_headers();
        output.block().extend_from_slice(&[9; 25]);
        output.end_headers(at, 1, true, 10);
        assert_eq!(output.len(), 3 * HEADER + 25);
        let bytes = all(&output);
        assert_eq!(bytes[..9], [0, 0, 10, 1, 1, 0, 0, 0, 1]);
        assert_eq!(bytes[19..28], [0, 0, 10, 9, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[38..47], [0, 0, 5, 9, 4, 0, 0, 0, 1]);
    }
}
