//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) as a state machine: bytes in, events out; calls in, bytes out.
//!
//! [`Connection`] is one connection, of either side. It does no IO, has no clock and wakes nobody: whoever drives it
//! feeds it what was read, writes what is in its [`Output`], and takes its [`Event`]s. Heads go straight into the
//! driver's own type ([`Section`]), payloads are slices of what was read, so nothing is kept here that grows with
//! what a peer sends. What a peer may make this side do is bounded by [`Limits`], which are Envoy's.

mod connection;
mod error;
mod frame;
mod hpack;
mod section;
mod settings;

pub use connection::{Carried, Connection, Event, Fields, Key, OneWay, Output, Refused, Reset, SendError};
pub use error::{ConnectionError, ErrorCode};
pub use frame::PREFACE;
pub use section::{Pseudo, Section};
pub use settings::{Limits, Options};

/// HPACK by itself, for tests against other implementations.
pub mod header_compression {
    pub use crate::hpack::{Decoder, Encoder, Malformed};
}
