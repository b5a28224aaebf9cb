//! Heads and trailers: HEADERS and CONTINUATION frames (RFC 9113 §6.2, §6.10, §8.1).

use super::carried::Carried;
use super::input::{Block, Expected};
use super::receive::{Happened, Place, not_itself};
use super::streams::{Ended, Key, Side, Stream};
use super::{Connection, Event, Phase, Role};
use crate::error::{ConnectionError, ErrorCode, StreamFault};
use crate::frame::{self, HEADER, Head, MAX_PAYLOAD, MAX_WINDOW, flag, kind, without_padding};
use crate::section::{Read, Reader, Section};

impl<H: Section, T: Default> Connection<H, T> {
    pub(super) fn headers<'i>(&mut self, head: Head, payload: &'i [u8], now: u64) -> Happened<'i, H> {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("HEADERS without a stream"));
        }
        let Some(mut block) = without_padding(payload, head.has(flag::PADDED)) else {
            return Err(ConnectionError::protocol("more padding than payload"));
        };
        if head.has(flag::PRIORITY) {
            let Some((priority, rest)) = block.split_first_chunk::<5>() else {
                let code = ErrorCode::FRAME_SIZE_ERROR;
                return Err(ConnectionError::new(code, "HEADERS too short for its priority"));
            };
            not_itself(head.stream, priority)?;
            block = rest;
        }
        let end_stream = head.has(flag::END_STREAM);
        self.guard.frame(block.is_empty(), end_stream)?;
        if head.has(flag::END_HEADERS) {
            let wire = HEADER + payload.len();
            return self.section(head.stream, end_stream, (block, wire), now);
        }
        self.expected = Expected::Rest(Block {
            stream: head.stream,
            end_stream,
            bytes: block.to_vec(),
            frames: 0,
        });
        self.bound_block()?;
        Ok(None)
    }

    pub(super) fn continuation<'i>(&mut self, head: Head, payload: &'i [u8], now: u64) -> Happened<'i, H> {
        self.guard.frame(payload.is_empty(), false)?;
        if let Expected::Rest(block) = &mut self.expected {
            block.bytes.extend_from_slice(payload);
            block.frames += 1;
        }
        self.bound_block()?;
        if !head.has(flag::END_HEADERS) {
            return Ok(None);
        }
        match std::mem::replace(&mut self.expected, Expected::Frame) {
            Expected::Rest(block) => {
                let wire = block.bytes.len() + HEADER * (block.frames as usize + 1);
                self.section(block.stream, block.end_stream, (&block.bytes, wire), now)
            }
            Expected::Frame | Expected::Preface => Ok(None),
        }
    }

    /// What is collected of a head is no more than a head may have, give or take what compression can add.
    fn bound_block(&self) -> Result<(), ConnectionError> {
        let Expected::Rest(block) = &self.expected else {
            return Ok(());
        };
        let most = self.options.max_header_bytes + self.options.max_headers * 8 + MAX_PAYLOAD;
        if block.bytes.len() > most || block.frames > self.guard.limits().continuations {
            return Err(ConnectionError::calm("a head without end"));
        }
        Ok(())
    }

    fn reader(&self) -> Reader<H> {
        Reader::new(self.options.max_header_bytes, self.options.max_headers)
    }

    fn read(&mut self, block: &[u8]) -> Result<Reader<H>, ConnectionError> {
        let mut reader = self.reader();
        let read = self
            .decoder
            .read(block, |kind, name, value| reader.field(kind, name, value));
        read.map_err(|_| {
            ConnectionError::new(ErrorCode::COMPRESSION_ERROR, "a head that cannot be decompressed")
        })?;
        Ok(reader)
    }

    /// `wire`: bytes of its frames.
    fn section<'i>(
        &mut self,
        id: u32,
        end: bool,
        (block, wire): (&[u8], usize),
        now: u64,
    ) -> Happened<'i, H> {
        let reader = self.read(block)?;
        let plain = self.options.max_header_bytes - reader.left();
        match self.place(id) {
            Place::There(key) => {
                if let Some(stream) = self.streams.get(key) {
                    stream.carried.received.head(wire, plain);
                }
                self.section_of(key, end, reader, now)
            }
            Place::Idle => match self.role {
                // RFC 9113 §5.1.1.
                Role::Server if id.is_multiple_of(2) => Err(ConnectionError::protocol("an even stream id")),
                Role::Server => self.request(id, end, (reader, wire, plain), now),
                Role::Client => Err(ConnectionError::protocol("a response to nothing")),
            },
            Place::Past => match (self.streams.ended(id), self.role) {
                (Some(Ended::ResetByUs), _) => Ok(None),
                (None, Role::Server) if !self.is_ignored(id) => {
                    Err(ConnectionError::protocol("a stream id that is not the next"))
                }
                (None, _) => Ok(None),
                (Some(Ended::Closed), _) => {
                    let code = ErrorCode::STREAM_CLOSED;
                    Err(ConnectionError::new(code, "HEADERS of a stream that is over"))
                }
            },
        }
    }

    /// A stream that came after our GOAWAY.
    fn is_ignored(&self, id: u32) -> bool {
        matches!(self.phase, Phase::Closing { last } if id > last)
    }

    fn request<'i>(
        &mut self,
        id: u32,
        end: bool,
        (reader, wire, plain): (Reader<H>, usize, usize),
        now: u64,
    ) -> Happened<'i, H> {
        self.last_peer = id;
        if self.is_ignored(id) {
            return Ok(None);
        }
        self.guard.opened();
        let read = match reader.request(self.options.extended_connect) {
            Ok(read) => read,
            Err(fault) => return self.refuse(id, fault),
        };
        if self.streams.active() >= self.options.max_concurrent_streams as usize {
            let fault = StreamFault::new(ErrorCode::REFUSED_STREAM, "too many streams");
            return self.refuse(id, fault);
        }
        let expected = read.length;
        if end && expected.is_some_and(|length| length > 0) {
            return self.refuse(
                id,
                StreamFault::malformed("a body shorter than its Content-Length"),
            );
        }
        let key = self.insert(id, now);
        if let Some(stream) = self.streams.get(key) {
            stream.expected = expected;
            stream.receive = if end { Side::Over } else { Side::Body };
            stream.carried.received.head(wire, plain);
        }
        let Read { head, too_large, .. } = read;
        if too_large {
            return Ok(Some(Event::TooLarge { key }));
        }
        Ok(Some(Event::Head { key, head, end }))
    }

    pub(super) fn insert(&mut self, id: u32, now: u64) -> Key {
        let stream = Stream {
            receive: Side::Head,
            send: Side::Head,
            own: T::default(),
            send_window: self.peer.initial_window.into(),
            receive_window: self.announced_window(),
            unannounced: 0,
            expected: None,
            is_head: false,
            interim: 0,
            opened: now,
            active: true,
            carried: Carried::default(),
        };
        self.streams.insert(id, stream)
    }

    /// Until the peer has acknowledged our settings it may not know them.
    fn announced_window(&self) -> i64 {
        match self.acknowledged {
            true => self.options.stream_window.min(MAX_WINDOW).into(),
            false => frame::DEFAULT_WINDOW.into(),
        }
    }

    /// A stream that is refused with its first frame: the driver never hears of it.
    fn refuse<'i>(&mut self, id: u32, fault: StreamFault) -> Happened<'i, H> {
        self.streams.note(id, Ended::ResetByUs);
        self.guard.closed();
        self.guard.reset(false, 0)?;
        self.control(kind::RST_STREAM, 0, id, &fault.code.0.to_be_bytes())?;
        Ok(None)
    }

    /// A response, or trailers.
    fn section_of<'i>(&mut self, key: Key, end: bool, reader: Reader<H>, now: u64) -> Happened<'i, H> {
        let side = self.streams.get(key).map_or(Side::Over, |stream| stream.receive);
        let read = match side {
            Side::Over => {
                let fault = StreamFault::new(ErrorCode::STREAM_CLOSED, "HEADERS after the end");
                return self.fault(key, fault, now);
            }
            Side::Head => return self.response(key, end, reader, now),
            Side::Body if !end => Err(StreamFault::malformed("trailers that do not end the stream")),
            Side::Body => reader.trailers(),
        };
        let missing = self
            .streams
            .get(key)
            .and_then(|s| s.expected)
            .is_some_and(|left| left > 0);
        match read {
            Ok(_) if missing => {
                let fault = StreamFault::malformed("a body shorter than its Content-Length");
                self.fault(key, fault, now)
            }
            Ok(read) if read.too_large => {
                let fault = StreamFault::new(ErrorCode::ENHANCE_YOUR_CALM, "trailers over the limit");
                self.fault(key, fault, now)
            }
            Ok(read) => {
                self.end_receiving(key);
                let head = read.head;
                Ok(Some(Event::Trailers { key, head }))
            }
            Err(fault) => self.fault(key, fault, now),
        }
    }

    fn response<'i>(&mut self, key: Key, end: bool, reader: Reader<H>, now: u64) -> Happened<'i, H> {
        let read = match reader.response() {
            Ok(read) if read.too_large => {
                let fault = StreamFault::new(ErrorCode::ENHANCE_YOUR_CALM, "a head over the limit");
                return self.fault(key, fault, now);
            }
            Ok(read) => read,
            Err(fault) => return self.fault(key, fault, now),
        };
        let most = self.guard.limits().interim_responses;
        let Some(stream) = self.streams.get(key) else {
            return Ok(None);
        };
        if read.status < 200 {
            stream.interim += 1;
            let fault = if end {
                StreamFault::malformed("an interim response that ends the stream")
            } else if stream.interim > most {
                StreamFault::new(ErrorCode::ENHANCE_YOUR_CALM, "too many interim responses")
            } else {
                return Ok(None);
            };
            return self.fault(key, fault, now);
        }
        stream.receive = Side::Body;
        let has_body = !stream.is_head && read.status != 204 && read.status != 304;
        stream.expected = read.length.filter(|_| has_body);
        if end && stream.expected.is_some_and(|length| length > 0) {
            let fault = StreamFault::malformed("a body shorter than its Content-Length");
            return self.fault(key, fault, now);
        }
        if end {
            self.end_receiving(key);
        }
        let head = read.head;
        Ok(Some(Event::Head { key, head, end }))
    }
}
