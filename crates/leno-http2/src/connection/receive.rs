//! What the peer sends (RFC 9113 §5, §6).

use super::guard::Guard;
use super::input::{self, Expected};
use super::streams::{Ended, Key, Side};
use super::{Connection, DRAIN_PING, Event, LIFE_PING, Phase, Reset, Role};
use crate::error::{ConnectionError, ErrorCode, StreamFault};
use crate::frame::{self, HEADER, Head, MAX_PAYLOAD, MAX_WINDOW, flag, kind};
use crate::section::Section;

pub(super) type Happened<'i, H> = Result<Option<Event<'i, H>>, ConnectionError>;

/// How a frame's stream stands.
pub(super) enum Place {
    There(Key),
    /// It was, or was skipped.
    Past,
    /// Nobody has opened it.
    Idle,
}

impl<H: Section, T: Default> Connection<H, T> {
    /// Takes frames from `input` until something has happened; None: more input is needed, and what is left of
    /// `input` (less than a frame) is to come again with it. `now`: seconds of any clock that does not go back.
    ///
    /// An error is the connection's end: [`Connection::fail`] says it to the peer.
    pub fn receive<'i>(&mut self, input: &mut &'i [u8], now: u64) -> Happened<'i, H> {
        loop {
            if let Some(key) = self.unprocessed.pop_front() {
                let why = Reset::Unprocessed;
                return Ok(Some(Event::Reset { key, why }));
            }
            if self.phase == Phase::Failed {
                *input = &[];
                return Ok(None);
            }
            if matches!(self.expected, Expected::Preface) {
                if !input::preface(input)? {
                    return Ok(None);
                }
                self.expected = Expected::Frame;
            }
            let Some((head, payload)) = next_frame(input)? else {
                return Ok(None);
            };
            if let Some(event) = self.frame(head, payload, now)? {
                return Ok(Some(event));
            }
        }
    }

    fn frame<'i>(&mut self, head: Head, payload: &'i [u8], now: u64) -> Happened<'i, H> {
        if let Expected::Rest(block) = &self.expected {
            if head.kind != kind::CONTINUATION || head.stream != block.stream {
                return Err(ConnectionError::protocol("a head that is interrupted"));
            }
            return self.continuation(head, payload, now);
        }
        if !self.greeted && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(ConnectionError::protocol("something before SETTINGS"));
        }
        match head.kind {
            kind::DATA => self.body(head, payload, now),
            kind::HEADERS => self.headers(head, payload, now),
            kind::PRIORITY => self.priority(head, payload),
            kind::RST_STREAM => self.reset_by_peer(head, payload, now),
            kind::SETTINGS => self.settings(head, payload),
            kind::PUSH_PROMISE => Err(ConnectionError::protocol("PUSH_PROMISE, which is off")),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY => self.peer_goes(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload, now),
            kind::CONTINUATION => Err(ConnectionError::protocol("CONTINUATION of nothing")),
            // RFC 9113 §5.5.
            _ => Ok(None),
        }
    }

    /// The signal itself is not used any more (RFC 9113 §5.3.2).
    fn priority<'i>(&mut self, head: Head, payload: &[u8]) -> Happened<'i, H> {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY without a stream"));
        }
        self.guard.priority()?;
        let priority = payload.try_into();
        let priority = priority.map_err(|_| ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "PRIORITY"))?;
        not_itself(head.stream, priority)?;
        Ok(None)
    }

    fn reset_by_peer<'i>(&mut self, head: Head, payload: &[u8], now: u64) -> Happened<'i, H> {
        let code = four(payload, "RST_STREAM")?;
        if head.stream == 0 {
            return Err(ConnectionError::protocol("RST_STREAM without a stream"));
        }
        let key = match self.place(head.stream) {
            Place::There(key) => key,
            Place::Past => return Ok(None),
            Place::Idle => {
                return Err(ConnectionError::protocol(
                    "RST_STREAM of a stream that is not open",
                ));
            }
        };
        let stream = self.streams.look(key);
        let (answered, opened) = stream.map_or((true, now), |s| (s.send != Side::Head, s.opened));
        self.finish(key, Ended::Closed);
        if self.role == Role::Server {
            self.guard.reset(answered, now.saturating_sub(opened))?;
        }
        let why = Reset::ByPeer(ErrorCode(code));
        Ok(Some(Event::Reset { key, why }))
    }

    fn settings<'i>(&mut self, head: Head, payload: &[u8]) -> Happened<'i, H> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS of a stream"));
        }
        let wrong_size = ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "SETTINGS");
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(wrong_size);
            }
            self.acknowledge();
            return Ok(None);
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(wrong_size);
        }
        if !self.greeted {
            // A peer that does not say it has no limit.
            self.peer.max_concurrent_streams = u32::MAX;
            self.greeted = true;
        }
        let before = self.peer.clone();
        for [a, b, c, d, e, f] in settings {
            let (id, value) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]));
            self.peer.apply(id, value, self.role == Role::Client)?;
            if id == crate::settings::id::HEADER_TABLE_SIZE {
                // Each of several sizes counts: the least of them has emptied the peer's table (RFC 7541 §4.2).
                self.encoder.limit(value as usize);
            }
        }
        let more = i64::from(self.peer.initial_window) - i64::from(before.initial_window);
        for (_, stream) in self.streams.iter_mut() {
            stream.send_window += more;
            if stream.send_window > i64::from(MAX_WINDOW) {
                let code = ErrorCode::FLOW_CONTROL_ERROR;
                return Err(ConnectionError::new(code, "SETTINGS_INITIAL_WINDOW_SIZE"));
            }
        }
        self.control(kind::SETTINGS, flag::ACK, 0, &[])?;
        Ok(Some(Event::Writable(None)))
    }

    /// Our settings are in force.
    fn acknowledge(&mut self) {
        if std::mem::replace(&mut self.acknowledged, true) {
            return;
        }
        let ours = i64::from(self.options.stream_window.min(MAX_WINDOW));
        for (_, stream) in self.streams.iter_mut() {
            stream.receive_window += ours - i64::from(frame::DEFAULT_WINDOW);
        }
    }

    fn ping<'i>(&mut self, head: Head, payload: &[u8]) -> Happened<'i, H> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("PING of a stream"));
        }
        if payload.len() != 8 {
            return Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "PING"));
        }
        if !head.has(flag::ACK) {
            self.control(kind::PING, flag::ACK, 0, payload)?;
        } else if payload == LIFE_PING {
            self.owes_life = false;
        } else if payload == DRAIN_PING && self.phase == Phase::Announced {
            let last = self.last_peer;
            self.phase = Phase::Closing { last };
            self.go_away(last, ErrorCode::NO_ERROR, "");
        }
        Ok(None)
    }

    fn peer_goes<'i>(&mut self, head: Head, payload: &[u8]) -> Happened<'i, H> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("GOAWAY of a stream"));
        }
        let Some(([a, b, c, d, e, f, g, h], _debug)) = payload.split_first_chunk::<8>() else {
            return Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "GOAWAY"));
        };
        let last = u32::from_be_bytes([*a, *b, *c, *d]) & MAX_WINDOW;
        let code = ErrorCode(u32::from_be_bytes([*e, *f, *g, *h]));
        self.peer_leaves = true;
        if self.role == Role::Client {
            let above: Vec<Key> = self.streams.keys().filter(|key| key.id > last).collect();
            for key in above {
                if self.streams.look(key).is_some_and(|stream| stream.active) {
                    self.finish(key, Ended::Closed);
                    self.unprocessed.push_back(key);
                }
            }
        }
        Ok(Some(Event::GoAway { code }))
    }

    fn window_update<'i>(&mut self, head: Head, payload: &[u8], now: u64) -> Happened<'i, H> {
        let more = four(payload, "WINDOW_UPDATE")? & MAX_WINDOW;
        self.guard.window_update()?;
        let most = i64::from(MAX_WINDOW);
        if head.stream == 0 {
            if more == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE by nothing"));
            }
            self.send_window += i64::from(more);
            if self.send_window > most {
                let code = ErrorCode::FLOW_CONTROL_ERROR;
                return Err(ConnectionError::new(
                    code,
                    "the connection's window grew too large",
                ));
            }
            return Ok(Some(Event::Writable(None)));
        }
        let key = match self.place(head.stream) {
            Place::There(key) => key,
            Place::Past => return Ok(None),
            Place::Idle => {
                return Err(ConnectionError::protocol(
                    "WINDOW_UPDATE of a stream that is not open",
                ));
            }
        };
        if more == 0 {
            return self.fault(key, StreamFault::malformed("WINDOW_UPDATE by nothing"), now);
        }
        let Some(stream) = self.streams.get(key) else {
            return Ok(None);
        };
        stream.send_window += i64::from(more);
        if stream.send_window > most {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return self.fault(
                key,
                StreamFault::new(code, "the stream's window grew too large"),
                now,
            );
        }
        Ok(Some(Event::Writable(Some(key))))
    }

    /// Resets a stream because of what the peer did on it.
    pub(super) fn fault<'i>(&mut self, key: Key, fault: StreamFault, now: u64) -> Happened<'i, H> {
        let Some(stream) = self.streams.look(key) else {
            return Ok(None);
        };
        let (answered, opened) = (stream.send != Side::Head, stream.opened);
        self.control(kind::RST_STREAM, 0, key.id, &fault.code.0.to_be_bytes())?;
        self.finish(key, Ended::ResetByUs);
        if self.role == Role::Server {
            self.guard.reset(answered, now.saturating_sub(opened))?;
        }
        let why = Reset::Fault(fault.reason);
        Ok(Some(Event::Reset { key, why }))
    }

    /// No more frames of this stream.
    pub(super) fn finish(&mut self, key: Key, how: Ended) {
        if self.streams.look(key).is_some_and(|stream| stream.active) {
            self.streams.end(key, how);
            self.guard.closed();
        }
    }

    /// A frame that answers the peer's.
    pub(super) fn control(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        self.output.control += 1;
        let guard: &Guard = &self.guard;
        guard.queued(self.output.control)?;
        self.output.frame(kind, flags, stream, payload);
        Ok(())
    }

    pub(super) fn place(&self, id: u32) -> Place {
        if let Some(key) = self.streams.find(id)
            && self.streams.look(key).is_some_and(|stream| stream.active)
        {
            return Place::There(key);
        }
        // Odd streams are the client's (RFC 9113 §5.1.1), and there are no others: nothing is pushed.
        let is_past = id % 2 == 1
            && match self.role {
                Role::Server => id <= self.last_peer,
                Role::Client => id < self.next,
            };
        if is_past { Place::Past } else { Place::Idle }
    }
}

/// A whole frame, if it is there.
fn next_frame<'i>(input: &mut &'i [u8]) -> Result<Option<(Head, &'i [u8])>, ConnectionError> {
    let Some((head, rest)) = input.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let head = Head::parse(head);
    if head.length > MAX_PAYLOAD {
        return Err(ConnectionError::new(
            ErrorCode::FRAME_SIZE_ERROR,
            "a frame over the limit",
        ));
    }
    let Some((payload, rest)) = rest.split_at_checked(head.length) else {
        return Ok(None);
    };
    *input = rest;
    Ok(Some((head, payload)))
}

pub(super) fn not_itself(stream: u32, [a, b, c, d, _weight]: &[u8; 5]) -> Result<(), ConnectionError> {
    if u32::from_be_bytes([*a, *b, *c, *d]) & MAX_WINDOW == stream {
        return Err(ConnectionError::protocol("a stream that depends on itself"));
    }
    Ok(())
}

fn four(payload: &[u8], what: &'static str) -> Result<u32, ConnectionError> {
    match <[u8; 4]>::try_from(payload) {
        Ok(bytes) => Ok(u32::from_be_bytes(bytes)),
        Err(_) => Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, what)),
    }
}
