//! What the dashboard shows: the mesh as data, laid out, and the page that draws it.
//!
//! ```text
//! Facts ─▶ history.rs (rates) ─▶ cards.rs (who calls whom) ─▶ graph.rs ─▶ layout/ (where it stands)
//!                            └─▶ workload.rs (with requests.rs), objects.rs, overview.rs
//! page.rs: HTML, CSS and JavaScript modules as they are written
//! ```
//!
//! Pure: the control plane hands in what it knows ([`Facts`]) and serves what comes out as JSON. Nothing here reads a
//! clock or a socket, and nothing here is secret: what must not be shown is not in the facts.

pub mod cards;
mod facts;
pub mod graph;
mod history;
pub mod layout;
pub mod objects;
pub mod overview;
pub mod page;
mod requests;
mod rules;
mod status;
pub mod workload;

pub use facts::Facts;
pub use graph::{Graph, Pictures, View};
pub use history::{History, WINDOW};
pub use requests::Request;
pub use status::Status;
