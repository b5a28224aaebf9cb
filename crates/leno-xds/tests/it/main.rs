//! The client against the server, and each server rule by itself.

#![allow(clippy::unwrap_used)]

mod accounts;
mod bytes;
mod converges;
mod cut;
mod delta;
mod hostile;
mod mesh;
mod rules;
mod sotw;
