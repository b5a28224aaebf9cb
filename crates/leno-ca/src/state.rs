//! Files of the state directory.
//!
//! A file is replaced whole or not at all: written beside its place, flushed to
//! the disk, renamed over it, and the rename flushed as well. Whoever reads after
//! a crash finds the old or the new content, never half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of files that hold secrets.
pub const SECRET: u32 = 0o600;
/// Mode of files that anyone on the machine may read.
pub const PUBLIC: u32 = 0o644;

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} ({reason}) — {} — {}", .path.display(), .reason.remedy())]
pub struct StateError {
    pub action: Action,
    pub path: PathBuf,
    pub reason: Reason,
    #[source]
    pub source: io::Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Read,
    Write,
    CreateDirectory,
}

/// The reasons whose remedies differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    DiskFull,
    PermissionDenied,
    ReadOnly,
    Missing,
    Other(String),
}

/// Makes a directory that only its owner may enter, with its parents.
pub fn ensure_directory(path: &Path) -> Result<(), StateError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StateError::new(Action::CreateDirectory, path, source))
}

/// The content, or nothing when there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::new(Action::Read, path, source)),
    }
}

/// Replaces the file's content and mode. The directory must be there. One writer
/// at a time: the control plane owns its state directory.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), StateError> {
    let beside = beside(path);
    let result = write_beside(&beside, content, mode)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| flush_directory(path));
    result.map_err(|source| {
        // What is left of the attempt takes up space that is already short.
        let _ = fs::remove_file(&beside);
        StateError::new(Action::Write, path, source)
    })
}

/// Takes a file away; that there is none is fine.
pub fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed
            .and_then(|()| flush_directory(path))
            .map_err(|source| StateError::new(Action::Write, path, source)),
    }
}

/// A fixed name, so that what a crash left is overwritten by the next attempt.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    path.with_file_name(hidden)
}

fn write_beside(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` follows no link that someone else put there.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn flush_directory(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

// === impl StateError ===

impl StateError {
    fn new(action: Action, path: &Path, source: io::Error) -> StateError {
        let reason = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Reason::DiskFull,
            ErrorKind::PermissionDenied => Reason::PermissionDenied,
            ErrorKind::ReadOnlyFilesystem => Reason::ReadOnly,
            ErrorKind::NotFound => Reason::Missing,
            _ => Reason::Other(source.to_string()),
        };
        StateError {
            action,
            path: path.to_owned(),
            reason,
            source,
        }
    }
}

impl Reason {
    fn remedy(&self) -> &'static str {
        match self {
            Reason::DiskFull => "free space there, or move the state with --state DIR",
            Reason::PermissionDenied => "give its owner to the user who runs leno, or use --state DIR",
            Reason::ReadOnly => "mount it writable, or move the state with --state DIR",
            Reason::Missing => "create its directory, or use --state DIR",
            Reason::Other(_) => "mend it, or move the state with --state DIR",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::DiskFull => "the disk is full",
            Reason::PermissionDenied => "permission denied",
            Reason::ReadOnly => "the file system is read-only",
            Reason::Missing => "no such file or directory",
            Reason::Other(detail) => detail,
        })
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Action::Read => "read the file",
            Action::Write => "write the file",
            Action::CreateDirectory => "create the directory",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(dir.path().join(".token.new"), "left by a crash").unwrap();
        write(&path, b"one", PUBLIC).unwrap();
        write(&path, b"two", SECRET).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(".token.new")).unwrap();
        write(&dir.path().join("token"), b"new", SECRET).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn errors_name_file_and_remedy() {
        const ENOSPC: i32 = 28;
        let full = StateError::new(
            Action::Write,
            Path::new("/s/tokens.json"),
            io::Error::from_raw_os_error(ENOSPC),
        );
        assert_eq!(full.reason, Reason::DiskFull);
        let text = full.to_string();
        assert!(text.contains("disk is full") && text.contains("/s/tokens.json") && text.contains("--state"));
        let missing = write(Path::new("/nonexistent/leno/file"), b"", SECRET).unwrap_err();
        assert_eq!(missing.reason, Reason::Missing);
    }
}
