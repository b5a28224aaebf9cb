//! What proxies are told, by its meaning: messages are decoded and asked where a call would go.

// In a test a panic is the message; clippy allows it in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

mod answers;
mod cluster;
mod endpoint;
mod envoy;
mod listener;
mod mesh;
mod name_table;
mod route;
