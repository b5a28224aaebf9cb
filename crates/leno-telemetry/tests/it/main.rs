//! Records in, metrics and log lines out.

#![allow(clippy::unwrap_used)]

mod allocations;
mod metrics;
mod sample;
