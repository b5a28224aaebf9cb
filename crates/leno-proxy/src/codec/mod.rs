//! HTTP on the wire, behind types of ours: the only modules that name hyper or http types.
//!
//! A codec turns a connection into [`Request`]s and [`Response`]s in the engine's form with streaming bodies, and
//! back. HTTP/1 is hyper's, HTTP/2 is `leno-http2`'s; either can be replaced without touching a filter, the router
//! or the pools. Which version a plaintext client speaks is our decision (the HTTP/2 preface, RFC 9113 §3.4),
//! because a codec that detects by itself keeps both state machines for every connection.

mod body;
mod convert;
mod date;
pub(crate) mod h1;
pub(crate) mod h2;

use std::future::Future;
use std::time::Duration;

use leno_engine::message::{RequestHead, ResponseHead};

use crate::drain::ConnectionDrain;
use crate::tcp::Scratch;

pub(crate) use body::{Body, Frame, Source};

/// The bytes every HTTP/2 client sends first.
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
    /// With 101: the upstream's side of the upgraded connection, and what is to be told at its end.
    pub(crate) tunnel: Option<Tunnel>,
}

/// What a client connection received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
    /// With 101: the connection, which has left HTTP.
    pub(crate) upgraded: Option<Upgraded>,
}

pub(crate) type Upgraded = hyper::upgrade::Upgraded;

/// A connection that has left HTTP.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) upstream: Upgraded,
    pub(crate) scratch: Scratch,
    pub(crate) drain: ConnectionDrain,
    pub(crate) finish: Box<dyn TunnelEnd>,
}

/// Told how many bytes went through a tunnel when it ends.
pub(crate) trait TunnelEnd: std::fmt::Debug {
    fn ended(self: Box<Self>, received: u64, sent: u64);
}

/// What serves the requests of one connection.
pub(crate) trait Service: 'static {
    fn call(&self, request: Request) -> impl Future<Output = Response> + 'static;
    /// The codec has answered what it could not read as a request.
    fn rejected(&self, status: u16);
    /// Whether responses should end their connection.
    fn draining(&self) -> bool;
}

#[derive(Clone, Debug)]
pub(crate) struct ServerLimits {
    pub(crate) max_headers: usize,
    pub(crate) max_header_bytes: usize,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) max_streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) buffer_limit: Option<u32>,
}

/// What a connection may buffer of one head or body read; hyper grows towards it only for large transfers.
const H1_BUFFER: usize = 256 * 1024;
/// Less hyper does not take.
const H1_LEAST: usize = 8192;

fn h1_buffer(limit: Option<u32>) -> usize {
    limit
        .map_or(H1_BUFFER, |limit| H1_BUFFER.min(limit as usize))
        .max(H1_LEAST)
}
