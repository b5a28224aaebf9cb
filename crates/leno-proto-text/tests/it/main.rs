//! Texts that people wrote: real bootstraps, and mistakes in them.

#![allow(clippy::unwrap_used)]

mod bootstraps;
mod mistakes;
