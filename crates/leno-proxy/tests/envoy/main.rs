//! The proxy beside the real Envoy: the same bootstrap, the same bytes, the same answers.

#![allow(clippy::unwrap_used)]

mod admin;
mod bootstrap;
mod config;
mod corpus;
mod envoy;
mod events;
mod h2spec;
mod hbone;
mod health_check_filter;
mod http1;
mod key_sets;
mod message;
mod mutation;
mod orca;
mod overload;
mod sinks;
mod spellings;
mod statistics;
mod xds;
