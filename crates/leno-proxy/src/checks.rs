//! Who asks endpoints how they are.
//!
//! Active checks and the intervals of outlier detection run on one thread of their own, which is started by the first
//! cluster that has either. It follows what is in force, and asks through the clusters' own transport.

mod check;
mod ejections;
mod events;
mod files;
mod grpc;
mod http;
mod one;
mod own;
mod probe;
mod tcp;
mod thread;

pub(crate) use own::Parts;
pub(crate) use thread::Checkers;
