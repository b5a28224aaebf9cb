//! HTTP/1.0 and 1.1 on connections: the server's and the client's side. What the bytes mean is `leno-http1`'s to say.
//!
//! A connection has bytes of its own only while a message is incomplete or its receiver is slow. What is read comes
//! through one block of memory a worker, and goes on from there to the other side without a copy.

mod client;
mod patience;
mod sending;
mod server;
mod spelling;
mod wire;
mod workspace;

use leno_http1::{Error, Limits};

pub(crate) use client::Client;
pub(crate) use server::serve;
pub(crate) use workspace::Workspace;

use crate::outcome::StreamError;

/// What an upstream's head may cost: as in Envoy, more than a client's.
const RESPONSE_LIMITS: Limits = Limits {
    head_bytes: 80 * 1024,
    fields: 100,
};

fn protocol(error: Error) -> StreamError {
    StreamError::Protocol(error.to_string().into())
}
