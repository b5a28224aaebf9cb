//! What the dashboard makes of a mesh.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod content;
mod mesh;
