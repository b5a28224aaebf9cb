//! Names: search lists, addresses, and which query is ours.
