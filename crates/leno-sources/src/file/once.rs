//! The directory as it is now, read once: for commands that look at a configuration which nobody serves.

use std::io;
use std::path::Path;
use std::sync::Arc;

use leno_api::{Parsed, read};

use super::scan::{content, scan};

/// A file of the directory.
#[derive(Clone, Debug)]
pub struct FileNow {
    pub file: Arc<str>,
    /// What it says; the error says why it cannot be read.
    pub said: Result<Said, String>,
}

#[derive(Clone, Debug)]
pub struct Said {
    pub content: Vec<u8>,
    /// There is no last good version of what is wrong: it is left out.
    pub parsed: Parsed,
}

/// Every file that [`super::watch`] would read, by path. Only the directory itself must be readable.
pub fn read_once(directory: &Path) -> io::Result<Vec<FileNow>> {
    let files = scan(directory)?.files.into_keys();
    let read = files.map(|path| {
        let file: Arc<str> = path.to_string_lossy().into();
        let said = content(&path).map(|content| Said {
            parsed: read(&file, &content),
            content,
        });
        FileNow {
            file,
            said: said.map_err(|error| error.to_string()),
        }
    });
    Ok(read.collect())
}
