//! xDS messages, parsed once into a validated, immutable form.

pub mod access_log;
pub mod cluster;
pub mod endpoint;
pub mod http;
pub mod listener;
pub mod matcher;
pub mod reject;
pub mod route;
pub mod tls;

pub use reject::{FieldPath, Rejection, Warnings};
