//! What is known of a request, and its formats: metrics, access log.

pub mod access_log;
pub mod metrics;
pub mod record;
pub mod stats;
pub mod tap;
