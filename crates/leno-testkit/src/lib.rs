//! What tests share: backends, certificates, processes, a mesh without root.
