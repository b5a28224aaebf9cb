//! What is known of a request, and its formats: metrics, access log.

pub mod record;
