//! The whole thing: real processes, namespaces, certificates and xDS, as an ordinary user.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod control_death;
mod demo;
mod identity;
mod input;
mod kill;
mod probing;
mod readme;
mod routes;
mod support;
mod transparency;
mod weights;
