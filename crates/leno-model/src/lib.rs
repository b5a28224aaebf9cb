//! One model for every dialect: an immutable snapshot of the mesh, and what changed.
