//! Texts that people wrote: real bootstraps, and mistakes in them.

mod bootstraps;
mod mistakes;
