//! Bodies as they come: how long they are, and their bytes without what frames them.

use bytes::{Bytes, BytesMut};
use leno_engine::message::Headers;

use crate::chunked::Chunks;
use crate::{Error, Limits};

/// How a body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    /// After this many bytes, at least one.
    Length(u64),
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What a decoder has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Data(Bytes),
    Trailers(Headers),
    End,
    /// It needs more bytes.
    More,
}

/// Takes a body out of the bytes of a connection.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    Done,
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
}

// === impl Decoder ===

impl Decoder {
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        Self(match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Box::new(Chunks::new(limits))),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Takes the next part off `input`. Data are slices of it, not copies.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Error> {
        match &mut self.0 {
            State::Done => Ok(Decoded::End),
            State::UntilClose | State::Length(_) if input.is_empty() => Ok(Decoded::More),
            State::UntilClose => Ok(Decoded::Data(input.split().freeze())),
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                let all = *left == 0;
                if all {
                    self.0 = State::Done;
                }
                Ok(Decoded::Data(input.split_to(taken).freeze()))
            }
            State::Chunked(chunks) => {
                let decoded = chunks.decode(input)?;
                if chunks.is_end() {
                    self.0 = State::Done;
                }
                Ok(decoded)
            }
        }
    }

    /// Nothing more will come: known without asking.
    #[inline]
    pub fn is_end(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// The bytes still to come, when known.
    #[inline]
    pub fn length(&self) -> Option<u64> {
        match self.0 {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// The connection has ended.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.0 {
            State::Done | State::UntilClose => {
                self.0 = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(Error::Truncated),
        }
    }
}
