//! A directory of YAML and JSON files, read again when something changes.

mod inotify;
mod scan;
mod state;
mod watch;

pub use state::{Batch, DirectoryState, FileObjects, Observation, SETTLE};
pub use watch::{WatchError, watch};
