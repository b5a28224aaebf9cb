//! HTTP/2 over a socket: one task for each connection, which reads much and writes much at a time.
//!
//! The protocol is `leno-http2`'s. A connection's [`Link`] is what its streams and its task have in common: streams
//! say what they have to say into the connection's output, and the task writes what all of them have said. What a
//! stream receives is held for it until it is taken, within its window, and only what is taken is given back to the
//! peer: a slow reader on one side stops the sender on the other.

mod body;
pub(crate) mod client;
mod head;
mod keepalive;
mod link;
pub(crate) mod server;
mod stream;
mod tasks;

use leno_http2::{ErrorCode, Limits, Options, Reset, SendError};

use crate::outcome::StreamError;

/// Fields of a response's head, and of trailers in either direction.
const MAX_RESPONSE_HEADERS: usize = 1000;
/// Bytes of names and values in a response's head.
const MAX_RESPONSE_HEADER_BYTES: usize = 256 * 1024;
/// Bytes of bodies that wait to be written to a connection, before their senders wait.
const UNWRITTEN: usize = 256 * 1024;

fn unwritten(buffer_limit: Option<u32>) -> usize {
    buffer_limit.map_or(UNWRITTEN, |limit| UNWRITTEN.min(limit as usize).max(1))
}

fn reset(why: Reset) -> StreamError {
    match why {
        Reset::ByPeer(ErrorCode::REFUSED_STREAM) | Reset::Unprocessed => StreamError::Refused,
        Reset::ByPeer(code) => StreamError::Reset(code.0),
        Reset::Fault(reason) => StreamError::Protocol(reason.into()),
    }
}

fn unsent(error: SendError) -> StreamError {
    match error {
        SendError::Refused(_) => StreamError::Refused,
        SendError::Field => StreamError::Invalid("a header"),
        SendError::Closed => StreamError::Closed,
    }
}

/// What the peer is told of a stream that we end.
fn code(error: &StreamError) -> ErrorCode {
    match error {
        StreamError::Refused => ErrorCode::REFUSED_STREAM,
        StreamError::Reset(code) => ErrorCode(*code),
        StreamError::Aborted => ErrorCode::CANCEL,
        StreamError::Protocol(_) | StreamError::Invalid(_) => ErrorCode::PROTOCOL_ERROR,
        _ => ErrorCode::INTERNAL_ERROR,
    }
}

fn options(streams: u32, windows: (u32, u32), header_bytes: usize, headers: usize) -> Options {
    Options {
        max_concurrent_streams: streams,
        stream_window: windows.0,
        connection_window: windows.1,
        max_header_bytes: header_bytes,
        max_headers: headers,
        extended_connect: false,
        limits: Limits::default(),
    }
}
