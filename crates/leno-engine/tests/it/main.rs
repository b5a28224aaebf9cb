//! The engine by what it decides: configuration in as xDS messages, decisions out.

// Deprecated fields are read as well.
#![allow(deprecated)]

mod balance;
mod bootstraps;
mod compile;
mod explain;
mod filter;
mod health;
mod istiod;
mod listener;
mod made;
mod mirror;
mod operators;
mod outlier;
mod retry;
mod route;
mod tls;
