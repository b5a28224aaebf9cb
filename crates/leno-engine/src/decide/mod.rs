//! Decisions on the compiled form.

pub mod balance;
pub mod filter;
pub mod listener;
pub mod outlier;
pub mod retry;
pub mod route;
