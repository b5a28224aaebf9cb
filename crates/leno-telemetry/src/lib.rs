//! What is known of a request, and its formats: metrics, access log, trace.

pub mod access_log;
mod attributes;
pub mod batch;
pub mod metrics;
pub mod record;
pub mod stats;
pub mod tap;
pub mod trace;
