//! What the driver says.

use bytes::{Buf, Bytes};

use super::streams::{Ended, Key, Side};
use super::{Connection, Role};
use crate::error::ErrorCode;
use crate::frame::{self, kind};
use crate::hpack::Encoder;
use crate::section::{Section, may_be_sent};

/// No stream can be opened on this connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more streams")]
pub struct Refused;

/// Why something is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A name or value that HTTP/2 does not carry.
    #[error("a field that cannot be sent")]
    Field,
    #[error("the stream is over")]
    Closed,
}

/// A head that has been written.
struct Sent {
    /// The request's method is HEAD.
    is_head: bool,
    /// Of its frames.
    bytes: usize,
    /// Of its names and values.
    plain: usize,
}

/// Where a head's fields are written, pseudo-headers first.
#[derive(Debug)]
pub struct Fields<'c> {
    encoder: &'c mut Encoder,
    block: &'c mut Vec<u8>,
    is_valid: bool,
    is_head: bool,
    /// Bytes of names and values.
    plain: usize,
}

impl Fields<'_> {
    /// `name` with its colon.
    pub fn pseudo(&mut self, name: &'static str, value: &[u8]) {
        self.plain += name.len() + value.len();
        self.is_head |= name == ":method" && value == b"HEAD";
        let may_be_sent = || value.iter().all(|b| *b >= b' ' && *b != 0x7f);
        self.is_valid &= self
            .encoder
            .checked(name.as_bytes(), value, self.block, may_be_sent);
    }

    /// `name` in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.plain += name.len() + value.len();
        let may_be_sent = || may_be_sent(name, value);
        self.is_valid &= self.encoder.checked(name, value, self.block, may_be_sent);
    }
}

impl<H: Section, T: Default> Connection<H, T> {
    /// Opens a stream with a request (client).
    pub fn open(
        &mut self,
        end: bool,
        now: u64,
        write: impl FnOnce(&mut Fields<'_>),
    ) -> Result<Key, SendError> {
        if self.role != Role::Client || !self.has_room() {
            return Err(Refused.into());
        }
        let id = self.next;
        let block = self.block(id, end, write)?;
        self.next += 2;
        self.guard.opened();
        let key = self.insert(id, now);
        if let Some(stream) = self.streams.get(key) {
            stream.is_head = block.is_head;
            stream.carried.sent.head(block.bytes, block.plain);
            stream.send = if end { Side::Over } else { Side::Body };
        }
        Ok(key)
    }

    /// Sends an interim response (server).
    pub fn interim(&mut self, key: Key, write: impl FnOnce(&mut Fields<'_>)) -> Result<(), SendError> {
        match self.streams.look(key).map(|stream| stream.send) {
            Some(Side::Head) => {
                let block = self.block(key.id, false, write)?;
                self.count(key, &block);
                Ok(())
            }
            _ => Err(SendError::Closed),
        }
    }

    /// Sends the response's head (server).
    pub fn respond(
        &mut self,
        key: Key,
        end: bool,
        write: impl FnOnce(&mut Fields<'_>),
    ) -> Result<(), SendError> {
        match self.streams.look(key).map(|stream| stream.send) {
            Some(Side::Head) => self.head(key, end, write),
            _ => Err(SendError::Closed),
        }
    }

    /// Ends the stream with these fields.
    pub fn trailers(&mut self, key: Key, write: impl FnOnce(&mut Fields<'_>)) -> Result<(), SendError> {
        match self.streams.look(key).map(|stream| stream.send) {
            Some(Side::Body) => self.head(key, true, write),
            _ => Err(SendError::Closed),
        }
    }

    fn head(&mut self, key: Key, end: bool, write: impl FnOnce(&mut Fields<'_>)) -> Result<(), SendError> {
        let block = self.block(key.id, end, write)?;
        if let Some(stream) = self.streams.get(key) {
            stream.carried.sent.head(block.bytes, block.plain);
            stream.send = Side::Body;
        }
        if end {
            self.end_sending(key);
        }
        Ok(())
    }

    fn count(&mut self, key: Key, block: &Sent) {
        if let Some(stream) = self.streams.get(key) {
            stream.carried.sent.head(block.bytes, block.plain);
        }
    }

    fn block(&mut self, id: u32, end: bool, write: impl FnOnce(&mut Fields<'_>)) -> Result<Sent, SendError> {
        let before = self.output.len();
        let at = self.output.begin_headers();
        let block = self.output.block();
        self.encoder.begin(block);
        let mut fields = Fields {
            encoder: &mut self.encoder,
            block,
            is_valid: true,
            is_head: false,
            plain: 0,
        };
        write(&mut fields);
        let Fields {
            is_valid,
            is_head,
            plain,
            ..
        } = fields;
        if !is_valid {
            self.encoder.give_up();
            self.output.abandon_headers(at);
            return Err(SendError::Field);
        }
        self.output.end_headers(at, id, end, self.peer.max_frame_size);
        Ok(Sent {
            is_head,
            bytes: self.output.len() - before,
            plain,
        })
    }

    /// Bytes of DATA that may be sent on this stream now.
    pub fn capacity(&self, key: Key) -> usize {
        match self.streams.look(key) {
            Some(stream) if stream.send == Side::Body => {
                usize::try_from(stream.send_window.min(self.send_window)).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Sends what the windows allow of `data`, and takes it from there; `end`: with its last byte the stream ends.
    /// True: all of it has been sent.
    pub fn data(&mut self, key: Key, data: &mut Bytes, end: bool, most: usize) -> Result<bool, SendError> {
        if self
            .streams
            .look(key)
            .is_none_or(|stream| stream.send != Side::Body)
        {
            return Err(SendError::Closed);
        }
        let mut left = self.capacity(key).min(most);
        while data.has_remaining() && left > 0 {
            let length = data.len().min(left).min(self.peer.max_frame_size);
            let chunk = data.split_to(length);
            let last = end && data.is_empty();
            let before = self.output.len();
            self.output.data(key, chunk, last);
            let wire = self.output.len() - before;
            self.guard.sent_data();
            left -= length;
            self.send_window -= length as i64;
            if let Some(stream) = self.streams.get(key) {
                stream.send_window -= length as i64;
                // One that joins the frame before it has no head of its own.
                stream.carried.sent.all += wire as u64;
            }
            if last {
                self.end_sending(key);
                return Ok(true);
            }
        }
        if data.is_empty() && end {
            let before = self.output.len();
            self.output.data(key, Bytes::new(), true);
            let wire = self.output.len() - before;
            if let Some(stream) = self.streams.get(key) {
                stream.carried.sent.all += wire as u64;
            }
            self.end_sending(key);
        }
        Ok(data.is_empty())
    }

    fn end_sending(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        stream.send = Side::Over;
        if stream.receive == Side::Over {
            self.finish(key, Ended::Closed);
        }
    }

    /// Ends a stream at once. Nothing happens where it has ended already.
    pub fn reset(&mut self, key: Key, code: ErrorCode) {
        if self.streams.look(key).is_some_and(|stream| stream.active) {
            self.finish(key, Ended::ResetByUs);
            self.output
                .frame(kind::RST_STREAM, 0, key.id, &code.0.to_be_bytes());
        }
    }

    /// The driver is done with the stream; if it is not over, it is reset. What was received of it and not released
    /// is the driver's to give back ([`Connection::give_back`]).
    pub fn close(&mut self, key: Key) -> Option<T> {
        let stream = self.streams.look(key)?;
        if stream.active {
            // RFC 9113 §8.1: a request of which no more is wanted, though it is answered, was no error.
            let answered = self.role == Role::Server && stream.send == Side::Over;
            let code = if answered {
                ErrorCode::NO_ERROR
            } else {
                ErrorCode::CANCEL
            };
            self.reset(key, code);
        }
        self.streams.remove(key).map(|stream| stream.own)
    }

    /// The driver has taken these many bytes of the stream's body: the peer may send as many again.
    pub fn release(&mut self, key: Key, taken: usize) {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.give_back(taken);
        let window = self.options.stream_window;
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if stream.receive != Side::Body {
            return;
        }
        stream.unannounced = stream.unannounced.saturating_add(taken);
        // Half a window at a time: fewer frames, and the peer never has to wait.
        if stream.unannounced >= (window / 2).max(1) {
            let more = std::mem::take(&mut stream.unannounced);
            stream.receive_window += i64::from(more);
            self.output
                .frame(kind::WINDOW_UPDATE, 0, key.id, &more.to_be_bytes());
        }
    }

    /// Bytes that count against the connection's window only, because their stream is gone.
    pub fn give_back(&mut self, taken: u32) {
        self.unannounced = self.unannounced.saturating_add(taken);
        let window = self.options.connection_window.max(frame::DEFAULT_WINDOW);
        if self.unannounced >= window / 2 {
            let more = std::mem::take(&mut self.unannounced);
            self.receive_window += i64::from(more);
            self.output.frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }
}
