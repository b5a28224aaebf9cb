//! Which version of each file is in force. No IO, no clock: what was seen and when is passed in.
//!
//! An editor does not write a file at once, and a script may remove it and write it anew. So a version counts only
//! when it has stood unchanged for [`SETTLE`]; and what cannot be read, or became empty, leaves in force what was.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_api::{Code, Diagnostic, Object, Parsed, Place, Severity, read};

/// How long a file must stand unchanged before it is applied.
pub const SETTLE: Duration = Duration::from_millis(50);

/// How long a file that has settled waits for others that are still being written.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the reader found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    Content(Vec<u8>),
    /// It is there, but reading failed.
    Unreadable(String),
    Gone,
}

/// What became of one file: all its objects that are in force. Without any it is gone, or says nothing.
#[derive(Clone, Debug)]
pub struct FileObjects {
    pub file: Arc<str>,
    pub objects: Vec<Object>,
    /// Everything wrong with the file as of now.
    pub diagnostics: Vec<Diagnostic>,
}

/// Changes that became effective together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub files: Vec<FileObjects>,
    /// What is wrong with the directory as a whole as of now; the files in force stay.
    pub directory: Option<Diagnostic>,
    /// The directory has been read in full for the first time.
    pub initial: bool,
}

/// The files of a directory by path.
#[derive(Debug, Default)]
pub struct DirectoryState {
    files: BTreeMap<Arc<str>, FileState>,
    /// What was seen since it was applied, and since when it stands.
    pending: BTreeMap<Arc<str>, (Observation, Instant)>,
}

#[derive(Debug)]
struct FileState {
    applied: Applied,
    good: Vec<Object>,
}

/// What is in force, or led to it: of a content enough to know it again.
#[derive(Debug, PartialEq, Eq)]
enum Applied {
    Content { length: usize, hash: u64 },
    Unreadable(String),
    Gone,
}

// === impl DirectoryState ===

impl DirectoryState {
    /// Takes note of what is at a path. `stood` says how long it is known to have been so.
    pub fn observe(&mut self, file: &str, seen: Observation, stood: Duration, now: Instant) {
        let known = match self.pending.get(file) {
            Some((pending, _)) => *pending == seen,
            None => {
                let applied = self
                    .files
                    .get(file)
                    .map_or(&Applied::Gone, |state| &state.applied);
                *applied == Applied::of(&seen)
            }
        };
        if !known {
            let since = now.checked_sub(stood.min(SETTLE)).unwrap_or(now);
            self.pending.insert(file.into(), (seen, since));
        }
    }

    /// Files that wait to be applied; they are to be read once more before they are.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        self.pending.keys().map(AsRef::as_ref)
    }

    /// Every file that is known.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        let new = self.pending.keys().filter(|file| !self.files.contains_key(*file));
        self.files.keys().chain(new).map(AsRef::as_ref)
    }

    /// When [`Self::apply`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        let (first, last) = (self.waiting().min()?, self.waiting().max()?);
        Some((last + SETTLE).min(first + PATIENCE))
    }

    /// Applies what has stood long enough. Files that change together become effective together: what has settled
    /// waits for what has not, but not longer than [`PATIENCE`].
    pub fn apply(&mut self, now: Instant) -> Vec<FileObjects> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let settled = self.pending.extract_if(.., |_, (_, since)| {
            now.saturating_duration_since(*since) >= SETTLE
        });
        let mut changed = Vec::new();
        for (file, (seen, _)) in settled {
            let state = self.files.entry(file.clone()).or_default();
            let applied = Applied::of(&seen);
            if state.applied != applied {
                changed.push(state.apply(&file, seen));
                state.applied = applied;
            }
            if state.applied == Applied::Gone {
                self.files.remove(&file);
            }
        }
        changed
    }

    /// Since when each file that is to be applied stands as it is.
    fn waiting(&self) -> impl Iterator<Item = Instant> {
        self.pending.values().map(|(_, since)| *since)
    }
}

// === impl Applied ===

impl Applied {
    fn of(seen: &Observation) -> Self {
        match seen {
            Observation::Content(bytes) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(bytes);
                Self::Content {
                    length: bytes.len(),
                    hash: hasher.finish(),
                }
            }
            Observation::Unreadable(reason) => Self::Unreadable(reason.clone()),
            Observation::Gone => Self::Gone,
        }
    }
}

// === impl FileState ===

impl Default for FileState {
    fn default() -> Self {
        Self {
            applied: Applied::Gone,
            good: Vec::new(),
        }
    }
}

impl FileState {
    fn apply(&mut self, file: &Arc<str>, seen: Observation) -> FileObjects {
        let diagnostics = match seen {
            Observation::Gone => {
                self.good.clear();
                Vec::new()
            }
            Observation::Unreadable(reason) => {
                let message = format!("the file cannot be read: {reason}");
                let found = whole(Code::FileUnreadable, Severity::Error, file, message);
                vec![found.hint("its last good objects stay in force; check its permissions")]
            }
            Observation::Content(bytes) => self.take_over(file, read(file, &bytes)),
        };
        FileObjects {
            file: file.clone(),
            objects: self.good.clone(),
            diagnostics,
        }
    }

    /// The new objects, and of the old ones those whose new version is broken.
    fn take_over(&mut self, file: &Arc<str>, parsed: Parsed) -> Vec<Diagnostic> {
        let mut diagnostics = parsed.diagnostics;
        if parsed.empty && !self.good.is_empty() {
            let found = whole(
                Code::FileEmpty,
                Severity::Warning,
                file,
                "the file became empty".into(),
            );
            diagnostics
                .push(found.hint("its last good objects stay in force; remove the file to remove them"));
            return diagnostics;
        }
        let before = std::mem::replace(&mut self.good, parsed.objects);
        for object in before {
            let replaced = self.good.iter().any(|new| new.key == object.key);
            let rejected = parsed.rejected.contains(&object.key);
            if !replaced && (rejected || parsed.broken) {
                let message = format!("the last good version of {} stays in force", object.key);
                let found = whole(Code::LastGoodKept, Severity::Warning, file, message);
                diagnostics.push(
                    found
                        .object(object.key.clone())
                        .hint("mend the errors of the file"),
                );
                self.good.push(object);
            }
        }
        diagnostics
    }
}

fn whole(code: Code, severity: Severity, file: &Arc<str>, message: String) -> Diagnostic {
    Diagnostic::new(code, severity, Place::whole_file(file), message)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
