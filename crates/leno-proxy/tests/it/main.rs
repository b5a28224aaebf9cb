//! The proxy between real sockets.

#![allow(clippy::unwrap_used)]

mod allocations;
mod backpressure;
mod balance;
mod config;
mod detect;
mod dns;
mod edge;
mod endless;
mod http1;
mod http1_wire;
mod http2;
mod http2_wire;
mod leaving;
mod mtls;
mod resilience;
mod support;
mod tcp;
mod workers;
