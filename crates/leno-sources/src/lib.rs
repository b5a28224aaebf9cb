//! Where the user's words come from: a directory of files.
