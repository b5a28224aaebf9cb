//! Records in, metrics and log lines out.

#![allow(clippy::unwrap_used)]

mod access_log;
mod allocations;
mod metrics;
mod sample;
mod tap;
