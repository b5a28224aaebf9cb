//! A directory of YAML and JSON files, read again when something changes.

mod inotify;
mod once;
mod scan;
mod state;
mod watch;

pub use once::{FileNow, Said, read_once};
pub use state::{Batch, DirectoryState, FileObjects, Observation, SETTLE};
pub use watch::{WatchError, watch};
