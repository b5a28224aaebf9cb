//! Real handshakes in memory between configurations of this crate.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]
mod handshake;
mod pki;
mod rotation;
mod sniff;
