//! The data plane: moving bytes as the engine decides.
