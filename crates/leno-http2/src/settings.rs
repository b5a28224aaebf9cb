//! What each side says of itself (RFC 9113 §6.5), and what a peer may make this side do.

use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{DEFAULT_WINDOW, MAX_PAYLOAD, MAX_WINDOW};

/// How this side wants to be spoken to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Streams that the peer may have open at a time.
    pub max_concurrent_streams: u32,
    /// Bytes that the peer may send ahead on a stream, and on all of them together.
    pub stream_window: u32,
    pub connection_window: u32,
    /// Bytes of names and values in one head, and fields.
    pub max_header_bytes: usize,
    pub max_headers: usize,
    /// Requests with `:protocol` are taken (RFC 8441).
    pub extended_connect: bool,
    pub limits: Limits,
}

/// What is more than a peer with good intentions does. The defaults are Envoy's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Frames that answer frames (SETTINGS and PING acknowledged, RST_STREAM) and are not yet written.
    pub queued_control_frames: usize,
    /// HEADERS, CONTINUATION and DATA frames without payload that come one after the other.
    pub empty_frames: u32,
    /// PRIORITY frames for each stream, and one.
    pub priority_frames: u32,
    /// WINDOW_UPDATE frames for each DATA frame sent.
    pub window_updates: u32,
    /// Streams after which at most half may have been reset before their answer (CVE-2023-44487).
    pub premature_resets: u32,
    /// CONTINUATION frames of one head (VU#421644).
    pub continuations: u32,
    /// Interim responses (1xx) of one stream.
    pub interim_responses: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_control_frames: 1000,
            empty_frames: 1,
            priority_frames: 100,
            window_updates: 10,
            premature_resets: 500,
            continuations: 64,
            interim_responses: 100,
        }
    }
}

pub(crate) mod id {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(crate) const ENABLE_PUSH: u16 = 0x2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
}

/// What the peer has said.
#[derive(Clone, Debug)]
pub(crate) struct PeerSettings {
    pub(crate) max_concurrent_streams: u32,
    pub(crate) initial_window: u32,
    pub(crate) max_frame_size: usize,
    pub(crate) header_table_size: u32,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            // "It is recommended that this value be no smaller than 100": what may be counted on before it is said.
            max_concurrent_streams: 100,
            initial_window: DEFAULT_WINDOW,
            max_frame_size: MAX_PAYLOAD,
            header_table_size: 4096,
        }
    }
}

impl PeerSettings {
    /// Settings that are not known are ignored (RFC 9113 §6.5.2).
    pub(crate) fn apply(&mut self, id: u16, value: u32, from_server: bool) -> Result<(), ConnectionError> {
        match id {
            id::HEADER_TABLE_SIZE => self.header_table_size = value,
            id::ENABLE_PUSH if value > 1 || (from_server && value == 1) => {
                return Err(ConnectionError::protocol("SETTINGS_ENABLE_PUSH"));
            }
            id::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = value,
            id::INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                let code = ErrorCode::FLOW_CONTROL_ERROR;
                return Err(ConnectionError::new(code, "SETTINGS_INITIAL_WINDOW_SIZE"));
            }
            id::INITIAL_WINDOW_SIZE => self.initial_window = value,
            id::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                return Err(ConnectionError::protocol("SETTINGS_MAX_FRAME_SIZE"));
            }
            // More than the least gains nothing: the peer would wait for the whole of a frame.
            _ => {}
        }
        Ok(())
    }
}

impl Options {
    /// The payload of our first SETTINGS frame.
    pub(crate) fn write(&self, client: bool, out: &mut Vec<u8>) {
        let mut setting = |id: u16, value: u32| {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        };
        if client {
            setting(id::ENABLE_PUSH, 0);
        } else {
            setting(id::MAX_CONCURRENT_STREAMS, self.max_concurrent_streams);
        }
        if self.stream_window != DEFAULT_WINDOW {
            setting(id::INITIAL_WINDOW_SIZE, self.stream_window.min(MAX_WINDOW));
        }
        if self.extended_connect && !client {
            setting(id::ENABLE_CONNECT_PROTOCOL, 1);
        }
        let list = u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX);
        setting(id::MAX_HEADER_LIST_SIZE, list);
    }
}
