//! What several targets share: a mesh made of text, and heads made of bytes.

pub mod head;
pub mod mesh;
pub mod mutate;
pub mod wire;
