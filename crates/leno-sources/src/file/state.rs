//! Which version of each file is in force. No IO, no clock: what was seen and when is passed in.
//!
//! An editor does not write a file at once, and a script may remove it and write it anew. So a version counts only
//! when it has stood unchanged for [`SETTLE`]; and what cannot be read, or became empty, leaves in force what was.

use std::collections::BTreeMap;
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
}

#[derive(Debug)]
struct FileState {
    /// What is in force, or led to it.
    applied: Observation,
    /// What was seen since then, and since when it stands.
    pending: Option<(Observation, Instant)>,
    good: Vec<Object>,
}

impl DirectoryState {
    /// Takes note of what is at a path. `stood` says how long it is known to have been so.
    pub fn observe(&mut self, file: &str, seen: Observation, stood: Duration, now: Instant) {
        if !self.files.contains_key(file) {
            if seen == Observation::Gone {
                return;
            }
            let new = FileState {
                applied: Observation::Gone,
                pending: None,
                good: Vec::new(),
            };
            self.files.insert(file.into(), new);
        }
        let Some(state) = self.files.get_mut(file) else {
            return;
        };
        let latest = state
            .pending
            .as_ref()
            .map_or(&state.applied, |(pending, _)| pending);
        if *latest != seen {
            let since = now.checked_sub(stood.min(SETTLE)).unwrap_or(now);
            state.pending = Some((seen, since));
        }
    }

    /// Files that wait to be applied; they are to be read once more before they are.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter(|(_, state)| state.pending.is_some())
            .map(|(file, _)| file.as_ref())
    }

    /// Every file that is known.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(AsRef::as_ref)
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
        let mut changed = Vec::new();
        for (file, state) in &mut self.files {
            match state.pending.take() {
                Some((seen, since)) if now.saturating_duration_since(since) >= SETTLE => {
                    if seen != state.applied {
                        changed.push(state.apply(file, seen));
                    }
                }
                waiting => state.pending = waiting,
            }
        }
        self.files
            .retain(|_, state| state.applied != Observation::Gone || state.pending.is_some());
        changed
    }

    /// Since when each file that is to be applied stands as it is.
    fn waiting(&self) -> impl Iterator<Item = Instant> {
        self.files
            .values()
            .filter_map(|state| state.pending.as_ref())
            .map(|(_, since)| *since)
    }
}

impl FileState {
    fn apply(&mut self, file: &Arc<str>, seen: Observation) -> FileObjects {
        let diagnostics = match &seen {
            Observation::Gone => {
                self.good.clear();
                Vec::new()
            }
            Observation::Unreadable(reason) => {
                let message = format!("the file cannot be read: {reason}");
                let found = whole(Code::FileUnreadable, Severity::Error, file, message);
                vec![found.hint("its last good objects stay in force; check its permissions")]
            }
            Observation::Content(bytes) => self.take_over(file, read(file, bytes)),
        };
        self.applied = seen;
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
