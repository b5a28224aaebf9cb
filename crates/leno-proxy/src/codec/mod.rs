//! HTTP on the wire, behind types of ours: no module names a type of somebody else's codec.
//!
//! A codec turns a connection into [`Request`]s and [`Response`]s in the engine's form with streaming bodies, and
//! back. HTTP/1 is `leno-http1`'s, HTTP/2 is `leno-http2`'s; either can be replaced without touching a filter, the router
//! or the pools. Which version a plaintext client speaks is our decision (the HTTP/2 preface, RFC 9113 §3.4),
//! because a codec that detects by itself keeps both state machines for every connection.

mod body;
mod counter;
mod date;
pub(crate) mod h1;
pub(crate) mod h2;

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use leno_engine::compile::http::{Http1Options, Keepalive};
use leno_engine::message::{RequestHead, ResponseHead};

use crate::ending::Ending;
use crate::io::Rewound;
use crate::outcome::StreamError;
use crate::tcp::{Ended, Scratch};

pub(crate) use body::{Body, Frame, Source};
pub(crate) use counter::Counter;

/// The bytes every HTTP/2 client sends first.
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) body: Body,
    pub(crate) counter: Counter,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
    /// With 101: the upstream's side of the upgraded connection, and what is to be told at its end.
    pub(crate) tunnel: Option<Box<Tunnel>>,
}

/// What a client connection received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
    /// With 101: the connection, which has left HTTP.
    pub(crate) upgraded: Option<Box<Upgraded>>,
}

pub(crate) type Upgraded = Rewound;

/// A connection that has left HTTP.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) upstream: Box<Upgraded>,
    pub(crate) scratch: Scratch,
    pub(crate) ending: Rc<Ending>,
    pub(crate) finish: Box<dyn TunnelEnd>,
}

/// Told how a tunnel has ended.
pub(crate) trait TunnelEnd: std::fmt::Debug {
    fn ended(self: Box<Self>, ended: &Ended);
}

/// What serves the requests of one connection.
pub(crate) trait Service: 'static {
    fn call(&self, request: Request) -> impl Future<Output = Response> + 'static;
    /// The answer to what is no request.
    fn refuse(&self, refusal: &Refusal, counter: Counter) -> Response;
    /// Whether responses should end their connection.
    fn draining(&self) -> bool;
    /// The client has not let its connection end in the time that it had.
    fn ended_late(&self);
    /// The connection has ended in an error.
    fn failed(&self, error: &StreamError);
}

/// Why a codec does not take what it has read for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub(crate) details: &'static str,
    /// What is said of it.
    pub(crate) body: &'static str,
    /// It breaks the protocol, and is not only without what a proxy needs.
    pub(crate) malformed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerLimits {
    pub(crate) max_headers: usize,
    pub(crate) max_header_bytes: usize,
    pub(crate) header_timeout: Option<Duration>,
    /// How long a connection that is closed waits for its client. None: it does not.
    pub(crate) delayed_close: Option<Duration>,
    /// Streams' bytes are counted.
    pub(crate) counts_wire: bool,
    /// Methods that nobody knows are passed on.
    pub(crate) any_method: bool,
    /// What has both a length and chunks has chunks.
    pub(crate) chunked_length: bool,
    pub(crate) http1: Http1Options,
    /// Of HTTP/2.
    pub(crate) keepalive: Option<Keepalive>,
    /// Extended CONNECT (RFC 8441).
    pub(crate) extended_connect: bool,
    pub(crate) max_streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) buffer_limit: Option<u32>,
}
