//! What is in the directory: every `*.yaml`, `*.yml` and `*.json` below it.
//!
//! Hidden entries are left out: editors' swap files, `.git`, and the `..data` directories through which Kubernetes
//! swaps a mounted ConfigMap (its files are symbolic links into them, and are followed).

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use leno_api::MAX_FILE_BYTES;

/// Deeper is a loop of symbolic links, or a mistake (a whole file system as configuration).
const MAX_DEPTH: usize = 16;
pub(super) const MAX_FILES: usize = 50_000;

/// When it differs, the file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    pub(super) directories: Vec<PathBuf>,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago the file was last written, by its own word.
    pub(super) fn age(&self, now: SystemTime) -> std::time::Duration {
        let written = u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or(0);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Whole seconds, and one less: a coarse clock must not make a new file old.
        std::time::Duration::from_secs(now.as_secs().saturating_sub(written).saturating_sub(1))
    }
}

/// Walks the directory. Only the top one must be readable.
pub(super) fn scan(top: &Path) -> io::Result<Scan> {
    let mut found = Scan::default();
    let mut seen = HashSet::new();
    let mut waiting = vec![(top.to_owned(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(_) => continue,
        };
        if let Ok(metadata) = fs::metadata(&directory)
            && !seen.insert((metadata.dev(), metadata.ino()))
        {
            continue;
        }
        found.directories.push(directory);
        for entry in entries.flatten() {
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            // Symbolic links are followed.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            if hidden || found.files.len() >= MAX_FILES {
                continue;
            }
            if metadata.is_dir() && depth < MAX_DEPTH {
                waiting.push((entry.path(), depth + 1));
            } else if metadata.is_file() && is_configuration(&entry.path()) {
                found.files.insert(entry.path(), Stamp::of(&metadata));
            }
        }
    }
    Ok(found)
}

/// What is at a path of which a hint was given.
pub(super) enum There {
    File(Stamp),
    /// Nothing, or nothing that is read.
    Nothing,
    /// It leads somewhere else: only a scan can tell.
    Elsewhere,
}

/// A file that stands in a directory of the last scan.
pub(super) fn look(path: &Path) -> There {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() || metadata.is_dir() => There::Elsewhere,
        Ok(metadata) if metadata.is_file() && !hidden && is_configuration(path) => {
            There::File(Stamp::of(&metadata))
        }
        _ => There::Nothing,
    }
}

fn is_configuration(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

/// A file's content; of one that is too large, enough to tell.
pub(super) fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
