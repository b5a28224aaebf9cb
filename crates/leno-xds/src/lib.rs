//! The xDS protocol as state machines without IO: both sides.
//!
//! Messages go in, messages come out; whoever owns the stream moves them. So the client and the server run
//! against each other in tests, over streams that are cut anywhere, with plain values.
//!
//! The rules are those of Envoy's "xDS REST and gRPC protocol" and, where that page leaves a choice, what
//! Envoy's and Istio's implementations do; each choice is explained where it is made.

pub mod backoff;
pub mod client;
pub mod kept;
mod order;
pub mod server;

pub use client::state::StateClient;
pub use client::{Client, Lookup, Received, Ticket};
pub use order::push_order;

/// Stands for every resource of a type, in subscriptions.
pub const WILDCARD: &str = "*";
