//! Bodies: DATA frames and the windows that they count against (RFC 9113 §6.1, §6.9).

use super::receive::{Happened, Place};
use super::streams::{Ended, Key, Side};
use super::{Connection, Event};
use crate::error::{ConnectionError, ErrorCode, StreamFault};
use crate::frame::{Head, flag, without_padding};
use crate::section::Section;

impl<H: Section, T: Default> Connection<H, T> {
    pub(super) fn body<'i>(&mut self, head: Head, payload: &'i [u8], now: u64) -> Happened<'i, H> {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("DATA without a stream"));
        }
        let counted = payload.len() as u32;
        // Padding counts too (RFC 9113 §6.9.1).
        self.receive_window -= i64::from(counted);
        if self.receive_window < 0 {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return Err(ConnectionError::new(
                code,
                "more DATA than the connection's window",
            ));
        }
        let Some(data) = without_padding(payload, head.has(flag::PADDED)) else {
            return Err(ConnectionError::protocol("more padding than payload"));
        };
        let end = head.has(flag::END_STREAM);
        self.guard.frame(data.is_empty(), end)?;
        let key = match self.place(head.stream) {
            Place::There(key) => key,
            Place::Idle => return Err(ConnectionError::protocol("DATA of a stream that is not open")),
            Place::Past => {
                self.give_back(counted);
                if self.streams.ended(head.stream) != Some(Ended::Closed) {
                    return Ok(None);
                }
                let code = ErrorCode::STREAM_CLOSED;
                return Err(ConnectionError::new(code, "DATA of a stream that is over"));
            }
        };
        if let Err(fault) = self.take(key, data.len(), counted, end) {
            self.give_back(counted);
            return self.fault(key, fault, now);
        }
        let padding = counted - data.len() as u32;
        if padding > 0 {
            self.release(key, padding as usize);
        }
        if end {
            self.end_receiving(key);
        }
        if data.is_empty() && !end {
            return Ok(None);
        }
        Ok(Some(Event::Data { key, data, end }))
    }

    /// Counts a DATA frame against its stream.
    fn take(&mut self, key: Key, data: usize, counted: u32, end: bool) -> Result<(), StreamFault> {
        let Some(stream) = self.streams.get(key) else {
            return Ok(());
        };
        match stream.receive {
            Side::Body => {}
            Side::Head => return Err(StreamFault::malformed("DATA before HEADERS")),
            Side::Over => {
                return Err(StreamFault::new(ErrorCode::STREAM_CLOSED, "DATA after the end"));
            }
        }
        stream.carried.received.data(counted as usize);
        stream.receive_window -= i64::from(counted);
        if stream.receive_window < 0 {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return Err(StreamFault::new(code, "more DATA than the stream's window"));
        }
        if stream.is_head && data > 0 {
            return Err(StreamFault::malformed("a body in answer to HEAD"));
        }
        if let Some(expected) = stream.expected {
            let left = expected.checked_sub(data as u64);
            let left = left.ok_or(StreamFault::malformed("a body longer than its Content-Length"))?;
            if end && left > 0 {
                return Err(StreamFault::malformed("a body shorter than its Content-Length"));
            }
            stream.expected = Some(left);
        }
        Ok(())
    }

    pub(super) fn end_receiving(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        stream.receive = Side::Over;
        if stream.send == Side::Over {
            self.finish(key, Ended::Closed);
        }
    }
}
