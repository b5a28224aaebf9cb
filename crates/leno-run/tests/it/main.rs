//! Real processes in real namespaces, as an ordinary user and, where the tests run as root, as
//! root too. Nothing is skipped: a machine that cannot do this fails here, with the remedy.
#![allow(clippy::unwrap_used)]

mod endings;
mod failures;
mod terminal;
mod traffic;
mod workload;
