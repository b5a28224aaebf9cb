//! Names: search lists, addresses, and which query is ours.
//!
//! A workload asks its sidecar for every name. The sidecar answers for hosts of the mesh from the control plane's
//! table, and for everything below the mesh's own domain, which nobody outside may hear of: a search list turns
//! each `example.com` into `example.com.default.svc.cluster.local` and two more before it is asked for as it is.
//! All else is the resolver's, and goes there byte for byte. Nothing here does IO.

mod answer;
mod question;
mod table;

pub use answer::{Answer, Transport, server_failure};
pub use question::{Question, Reply};
pub use table::{Lookup, NameTable};
