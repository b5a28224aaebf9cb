//! The proxy between real sockets.

#![allow(clippy::unwrap_used)]

mod config;
mod detect;
mod dns;
mod edge;
mod http1;
mod http2;
mod mtls;
mod resilience;
mod support;
mod tcp;
mod workers;
