//! Decisions on the compiled form.

mod authority;
mod forward;
mod rewrite;

pub mod balance;
pub mod bucket;
pub mod filter;
pub mod grpc;
pub mod hash;
pub mod headers;
pub mod health;
pub mod internal_redirect;
pub mod limits;
pub mod listener;
mod local_reply;
pub mod log_filter;
pub mod matcher;
pub mod network;
pub mod normalise;
pub mod notes;
pub mod orca;
pub mod outlier;
pub mod proxy_protocol;
pub mod rate_limit;
pub mod rbac;
pub mod retry;
pub mod route;
pub mod scope;
pub mod tcp_proxy;
pub mod timeout;
pub mod trace;
mod transport;
pub mod wish;
