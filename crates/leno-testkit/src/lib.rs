//! What tests share: conditions instead of sleeps, processes of an ordinary user, a whole mesh without root.
//!
//! A test that cannot run says so with [`skip`] and why; CI fails on any skip that is not in `.ci/allowed-skips`.

mod background;
mod browser;
pub mod case;
mod condition;
mod issuer;
mod machine;
mod mesh;
mod namespace;
mod plane;
mod port;
mod process;
mod skip;
mod user;

pub use background::Background;
pub use browser::{Browser, Scheme};
pub use condition::{eventually, eventually_within};
pub use issuer::{Answer, Issuer, KeyServer};
pub use mesh::{Mesh, MeshBuilder};
pub use plane::Plane;
pub use port::{free_address, free_port};
pub use process::Process;
pub use skip::{has_program, skip};
pub use user::{OrdinaryUser, shared_binary};
