//! What proxies are told, by its meaning: messages are decoded and asked where a call would go.

// In a test a panic is the message; clippy allows it in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

mod answers;
mod audit;
mod authentication;
mod authorization;
mod cases;
mod cluster;
mod destinations;
mod endpoint;
mod engine;
mod envoy;
mod envoy_filter;
mod full;
mod grpc;
mod listener;
mod mesh;
mod name_table;
mod operators;
mod route;
mod telemetry;
