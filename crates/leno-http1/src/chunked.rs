//! The chunked transfer coding (RFC 9112 §7.1), a byte at a time where it frames and by slices where it carries.
//!
//! A line ends with CRLF and nothing less, because recipients disagree on what a lone LF or CR ends. Extensions are
//! read over.

use bytes::BytesMut;
use leno_engine::message::Headers;

use crate::fields::{Field, Fields};
use crate::known::Known;
use crate::{Decoded, Error, HeadScanner, Limits};

#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    limits: Limits,
    /// Met after data that were given first.
    error: Option<Error>,
}

#[derive(Debug)]
enum State {
    Size {
        size: u64,
        digits: usize,
    },
    Extension {
        size: u64,
        line: usize,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// After a chunk's data, with or without their CR.
    DataEnd,
    Trailers {
        held: BytesMut,
        scanner: HeadScanner,
    },
    /// Read, and not yet given.
    Read(Headers),
    End,
}

// === impl Chunks ===

impl Chunks {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            limits: *limits,
            error: None,
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        matches!(self.state, State::End) && self.error.is_none()
    }

    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.skim(input)?;
        match &mut self.state {
            State::Data { left } if !input.is_empty() => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                let data = input.split_to(taken).freeze();
                if *left == 0 {
                    self.state = State::DataEnd;
                    // Whether this was the last is best known now: end and data then go out together.
                    self.error = self.skim(input).err();
                }
                Ok(Decoded::Data(data))
            }
            State::Read(trailers) => {
                let trailers = std::mem::take(trailers);
                self.state = State::End;
                Ok(Decoded::Trailers(trailers))
            }
            State::End => Ok(Decoded::End),
            _ => Ok(Decoded::More),
        }
    }

    /// Reads what frames, up to data or the end.
    fn skim(&mut self, input: &mut BytesMut) -> Result<(), Error> {
        let mut at = 0;
        while !matches!(self.state, State::Data { .. } | State::Read(_) | State::End) {
            if let State::Trailers { .. } = self.state {
                let _ = input.split_to(at);
                at = 0;
                if !self.trailers(input)? {
                    return Ok(());
                }
                continue;
            }
            let Some(byte) = input.get(at) else { break };
            self.state = self.step(*byte)?;
            at += 1;
        }
        let _ = input.split_to(at);
        Ok(())
    }

    /// One byte of a chunk's frame.
    fn step(&self, byte: u8) -> Result<State, Error> {
        Ok(match (&self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let size = size
                    .checked_mul(16)
                    .and_then(|size| size.checked_add(digit.into()));
                State::Size {
                    size: size.ok_or(Error::Syntax("a chunk that is too large"))?,
                    digits: self.longer(*digits)?,
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Error::Syntax("a chunk without a size")),
            (State::Size { size, .. } | State::Extension { size, .. }, b'\r') => {
                State::SizeLineFeed { size: *size }
            }
            (State::Size { size, digits }, b' ' | b'\t' | b';') => State::Extension {
                size: *size,
                line: self.longer(*digits)?,
            },
            (State::Extension { .. }, b'\n') => {
                return Err(Error::Syntax("a chunk's size that ends with a lone line feed"));
            }
            (State::Extension { size, line }, _) => State::Extension {
                size: *size,
                line: self.longer(*line)?,
            },
            (State::SizeLineFeed { size: 0 }, b'\n') => State::Trailers {
                held: BytesMut::new(),
                scanner: HeadScanner::default(),
            },
            (State::SizeLineFeed { size }, b'\n') => State::Data { left: *size },
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size { size: 0, digits: 0 },
            _ => return Err(Error::Syntax("a chunk that does not end where it should")),
        })
    }

    fn longer(&self, line: usize) -> Result<usize, Error> {
        match line + 1 {
            line if line <= self.limits.head_bytes => Ok(line),
            _ => Err(Error::TooLarge),
        }
    }

    /// Collects the trailer section, which is small or refused. False: there is more of it to come.
    fn trailers(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        let State::Trailers { held, scanner } = &mut self.state else {
            return Ok(true);
        };
        // The end of the last chunk's line stands in for a first line's, so that no trailers look like the end of some.
        if held.is_empty() {
            held.extend_from_slice(b"\n");
        }
        let before = held.len();
        let room = self.limits.head_bytes.saturating_sub(before) + 1;
        held.extend_from_slice(input.get(..room.min(input.len())).unwrap_or_default());
        let Some(end) = scanner.find(held) else {
            if held.len() > self.limits.head_bytes {
                return Err(Error::TooLarge);
            }
            input.clear();
            return Ok(false);
        };
        let _ = input.split_to(end - before);
        let section = held.get(..end).unwrap_or_default();
        let mut fields = Fields::of(section);
        fields.parse(section, 1, &self.limits)?;
        let trailers = fields.finish(may_trail);
        self.state = match trailers.is_empty() {
            true => State::End,
            false => State::Read(trailers),
        };
        Ok(true)
    }
}

/// What frames, routes or authenticates a message cannot come after it (RFC 9110 §6.5.1).
fn may_trail(field: &Field, name: &[u8]) -> bool {
    match field.known {
        Known::ContentLength | Known::Host | Known::Te | Known::Expect => false,
        Known::Other => !matches!(name, b"trailer" | b"authorization" | b"cookie" | b"set-cookie"),
        known => !known.is_of_connection(),
    }
}
