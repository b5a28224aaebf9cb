//! One connection: its streams, its windows, and what is going on with it.

mod bodies;
mod carried;
mod guard;
mod heads;
mod input;
mod output;
mod receive;
mod send;
mod streams;

use std::collections::VecDeque;
use std::marker::PhantomData;

use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{self, DEFAULT_WINDOW, PREFACE, kind};
use crate::hpack::{Decoder, Encoder};
use crate::section::Section;
use crate::settings::{Options, PeerSettings};
use guard::Guard;
use input::Expected;
use streams::Streams;

pub use carried::{Carried, OneWay};
pub use output::Output;
pub use send::{Fields, Refused, SendError};
pub use streams::Key;

/// What has happened. Payloads are slices of what was fed in.
#[derive(Debug)]
pub enum Event<'i, H> {
    /// A request (server), or the final response (client).
    Head { key: Key, head: H, end: bool },
    /// A head that is over the limits: the stream is there to be answered, and otherwise of no use.
    TooLarge { key: Key },
    /// Bytes of a body. They count against the windows until [`Connection::release`].
    Data { key: Key, data: &'i [u8], end: bool },
    /// The end of a body, with these fields.
    Trailers { key: Key, head: H },
    /// The stream is over before its end.
    Reset { key: Key, why: Reset },
    /// More may be sent: on this stream, or (None) on any.
    Writable(Option<Key>),
    /// The peer takes no more streams.
    GoAway { code: ErrorCode },
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The peer said so.
    ByPeer(ErrorCode),
    /// The peer broke a rule.
    Fault(&'static str),
    /// The peer goes away and has not looked at it.
    Unprocessed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer has been told, and until it answers the PING that followed, its streams may be on their way
    /// (RFC 9113 §6.8).
    Announced,
    /// Streams above this one are not looked at.
    Closing {
        last: u32,
    },
    /// Nothing is read or sent any more.
    Failed,
}

/// One side of a connection. `H` is what heads become, `T` what the driver keeps with each stream.
#[derive(Debug)]
pub struct Connection<H, T> {
    role: Role,
    phase: Phase,
    options: Options,
    peer: PeerSettings,
    /// Whether the peer has said what it wants, and has heard what we want.
    greeted: bool,
    acknowledged: bool,
    expected: Expected,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams<T>,
    guard: Guard,
    /// Bytes that may be sent and received on all streams together.
    send_window: i64,
    receive_window: i64,
    /// Received and taken by the driver, but not given back to the peer yet.
    unannounced: u32,
    /// The highest stream that the peer has opened, and the next one that we do.
    last_peer: u32,
    next: u32,
    /// The peer has not answered our last question for a sign of life.
    owes_life: bool,
    /// The peer has said GOAWAY.
    peer_leaves: bool,
    /// Streams of which the end is to be told.
    unprocessed: VecDeque<Key>,
    output: Output,
    sections: PhantomData<fn() -> H>,
}

/// Sent with the first GOAWAY of a drain: when it comes back, everything that was on its way has arrived.
const DRAIN_PING: [u8; 8] = *b"leno:end";

/// Sent to hear whether the peer is there.
const LIFE_PING: [u8; 8] = *b"leno:hi?";

impl<H: Section, T: Default> Connection<H, T> {
    /// The side that accepted the connection.
    pub fn server(options: Options) -> Self {
        Self::new(Role::Server, options)
    }

    /// The side that made it.
    pub fn client(options: Options) -> Self {
        Self::new(Role::Client, options)
    }

    fn new(role: Role, options: Options) -> Self {
        let mut output = Output::default();
        if role == Role::Client {
            output.raw(PREFACE);
        }
        let mut settings = Vec::with_capacity(24);
        options.write(role == Role::Client, &mut settings);
        output.frame(kind::SETTINGS, 0, 0, &settings);
        let more = options.connection_window.saturating_sub(DEFAULT_WINDOW);
        if more > 0 {
            let more = more.min(frame::MAX_WINDOW - DEFAULT_WINDOW);
            output.frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        Self {
            role,
            phase: Phase::Open,
            peer: PeerSettings::default(),
            greeted: false,
            acknowledged: false,
            expected: Expected::new(role == Role::Server),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: Streams::default(),
            guard: Guard::new(options.limits.clone()),
            send_window: DEFAULT_WINDOW.into(),
            receive_window: options
                .connection_window
                .clamp(DEFAULT_WINDOW, frame::MAX_WINDOW)
                .into(),
            unannounced: 0,
            last_peer: 0,
            next: 1,
            owes_life: false,
            peer_leaves: false,
            unprocessed: VecDeque::new(),
            output,
            options,
            sections: PhantomData,
        }
    }

    /// What the driver keeps with a stream. None: it was closed.
    pub fn stream(&mut self, key: Key) -> Option<&mut T> {
        self.streams.get(key).map(|stream| &mut stream.own)
    }

    /// What a stream has come to on the wire. None: it was closed.
    pub fn carried(&self, key: Key) -> Option<Carried> {
        self.streams.look(key).map(|stream| stream.carried)
    }

    /// Every stream that the driver has not closed.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.streams.keys()
    }

    /// Streams in progress.
    pub fn active(&self) -> usize {
        self.streams.active()
    }

    /// Streams in progress, or over but not yet closed by the driver.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// What is to be written.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Bytes to be written.
    pub fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Whether another stream may be opened (client).
    pub fn has_room(&self) -> bool {
        self.takes_streams() && self.streams.active() < self.peer.max_concurrent_streams as usize
    }

    /// Whether streams can be opened at all, now or later (client).
    pub fn takes_streams(&self) -> bool {
        self.phase == Phase::Open && !self.peer_leaves && self.next <= frame::MAX_WINDOW
    }

    /// Everything has been said: the connection can be closed.
    pub fn is_over(&self) -> bool {
        match self.phase {
            Phase::Failed => true,
            Phase::Open => self.peer_leaves && self.role == Role::Client && self.streams.is_empty(),
            Phase::Announced => false,
            Phase::Closing { .. } => self.streams.is_empty(),
        }
    }

    /// Takes no more streams, finishes those that are there (RFC 9113 §6.8).
    pub fn shut_down(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        match self.role {
            Role::Server => {
                self.phase = Phase::Announced;
                self.go_away(frame::MAX_WINDOW, ErrorCode::NO_ERROR, "");
                self.output.frame(kind::PING, 0, 0, &DRAIN_PING);
            }
            Role::Client => {
                self.phase = Phase::Closing { last: 0 };
                self.go_away(0, ErrorCode::NO_ERROR, "");
            }
        }
    }

    /// Asks the peer for a sign of life (RFC 9113 §6.7).
    pub fn ask_for_life(&mut self) {
        if self.phase != Phase::Failed {
            self.output.frame(kind::PING, 0, 0, &LIFE_PING);
            self.owes_life = true;
        }
    }

    /// The peer has not given it yet.
    pub fn owes_life(&self) -> bool {
        self.owes_life
    }

    /// Says GOAWAY and nothing after it.
    pub fn fail(&mut self, error: ConnectionError) {
        if self.phase != Phase::Failed {
            self.go_away(self.last_peer, error.code, error.reason);
            self.phase = Phase::Failed;
        }
    }

    fn go_away(&mut self, last: u32, code: ErrorCode, reason: &str) {
        let mut payload = Vec::with_capacity(8 + reason.len());
        payload.extend_from_slice(&last.to_be_bytes());
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
        self.output.frame(kind::GOAWAY, 0, 0, &payload);
    }
}

impl<H> Event<'_, H> {
    /// The stream that it is about.
    pub fn key(&self) -> Option<Key> {
        match self {
            Self::Head { key, .. }
            | Self::TooLarge { key }
            | Self::Data { key, .. }
            | Self::Trailers { key, .. }
            | Self::Reset { key, .. } => Some(*key),
            Self::Writable(key) => *key,
            Self::GoAway { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
