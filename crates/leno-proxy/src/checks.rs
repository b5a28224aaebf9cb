//! Who asks endpoints how they are, and how much they have to do.
//!
//! Active checks, the intervals of outlier detection and streams of load reports run on one thread of their own, which is
//! started by the first cluster that has any of them. It follows what is in force, and asks through the clusters' own transport.

mod check;
mod ejections;
mod events;
mod files;
mod grpc;
mod http;
mod one;
mod orca;
mod own;
mod probe;
mod tcp;
mod thread;

pub(crate) use own::Parts;
pub(crate) use thread::Checkers;
