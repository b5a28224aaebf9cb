//! The client against the server, and each server rule by itself.

mod converges;
mod delta;
mod mesh;
mod sotw;
