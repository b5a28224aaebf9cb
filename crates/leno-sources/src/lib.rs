//! Where the user's words come from: a directory of files.
//!
//! A source delivers, for every file, the objects that are in force. What is broken, half-written or invalid keeps
//! its last good version, with a warning; everything else proceeds. The rules are a state machine without IO
//! ([`file::DirectoryState`]); around it a loop for a plain thread ([`file::watch`]) that reads and waits.

pub mod file;
