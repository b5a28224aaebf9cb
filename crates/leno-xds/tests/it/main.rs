//! The client against the server, and each server rule by itself.

#![allow(clippy::unwrap_used)]

mod converges;
mod delta;
mod mesh;
mod sotw;
