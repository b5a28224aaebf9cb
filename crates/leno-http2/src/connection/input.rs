//! What may come next: the preface, any frame, or the rest of a head.

use crate::error::ConnectionError;
use crate::frame::PREFACE;

#[derive(Debug)]
pub(super) enum Expected {
    /// The client's preface.
    Preface,
    Frame,
    /// CONTINUATION frames of this head, and nothing else (RFC 9113 §6.10).
    Rest(Block),
}

/// A head of which not all frames have come.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
}

impl Expected {
    pub(super) fn new(server: bool) -> Self {
        if server { Self::Preface } else { Self::Frame }
    }
}

/// True: the preface is there, and is taken. False: it may still come.
pub(super) fn preface(input: &mut &[u8]) -> Result<bool, ConnectionError> {
    let there = input.len().min(PREFACE.len());
    let (read, rest) = input.split_at(there);
    if read != &PREFACE[..there] {
        return Err(ConnectionError::protocol("not the preface of HTTP/2"));
    }
    if there < PREFACE.len() {
        return Ok(false);
    }
    *input = rest;
    Ok(true)
}
