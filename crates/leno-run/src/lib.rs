//! Running a process in the mesh: namespaces, descriptors, child.
