//! The loop around the state: scan, apply, wait. For a thread of its own; it blocks.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use leno_api::{Code, Diagnostic, Place, Severity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::inotify::Inotify;
use super::scan::{MAX_FILES, Stamp, There, content, look, scan};
use super::state::{Batch, DirectoryState, Observation};

/// Scans without being told: for file systems that do not announce what others change (NFS).
const RESCAN: Duration = Duration::from_secs(1);
/// Of a large directory less often: scanning takes no more than one part in this many of the time.
const RESCAN_SHARE: u32 = 200;
/// The same where nothing is announced at all; with the time to settle it stays within 200 ms.
const RESCAN_UNTOLD: Duration = Duration::from_millis(100);
/// The first batch waits this long for files that are just being written.
const INITIAL_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("error[LN0401]: the configuration directory cannot be read: {source} — {} — create it, or name another with --config", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("waiting for changes failed: {0}")]
    Wait(#[source] std::io::Error),
}

/// Reads a directory and goes on reading it as it changes, until `stop` becomes readable (or its other end is
/// closed), or `deliver` breaks. The first batch is `initial` and comes even when the directory is empty.
/// Fails only when the directory cannot be read at the start; later it is reported and waited for.
pub fn watch(
    directory: &Path,
    stop: impl AsFd,
    mut deliver: impl FnMut(Batch) -> ControlFlow<()>,
) -> Result<(), WatchError> {
    let fail = |source| WatchError::Directory {
        path: directory.to_owned(),
        source,
    };
    scan(directory).map_err(fail)?;
    let mut watcher = Watcher::new(directory);
    let begun = Instant::now();
    let mut initial = true;
    let mut gathered = Batch::default();
    loop {
        let again = watcher.look();
        let files = watcher.state.apply(Instant::now());
        gathered.files.extend(files);
        let waits = watcher.state.deadline().is_some() && begun.elapsed() < INITIAL_WAIT;
        if initial && !waits && !again {
            gathered.initial = true;
            initial = false;
        }
        let news = gathered.initial || (!initial && !gathered.files.is_empty());
        if news || watcher.problem_changed {
            gathered.directory = watcher.problem.clone();
            watcher.problem_changed = false;
            if deliver(std::mem::take(&mut gathered)).is_break() {
                return Ok(());
            }
        }
        if !again && watcher.wait(&stop)? {
            return Ok(());
        }
    }
}

struct Watcher<'a> {
    directory: &'a Path,
    state: DirectoryState,
    inotify: Option<Inotify>,
    stamps: BTreeMap<PathBuf, Stamp>,
    /// Files to read whatever their stamp says.
    touched: HashSet<PathBuf>,
    /// When to look everywhere next.
    rescan: Instant,
    problem: Option<Diagnostic>,
    problem_changed: bool,
    first: bool,
}

impl<'a> Watcher<'a> {
    fn new(directory: &'a Path) -> Self {
        Self {
            directory,
            state: DirectoryState::default(),
            inotify: Inotify::new().ok(),
            stamps: BTreeMap::new(),
            touched: HashSet::new(),
            rescan: Instant::now(),
            problem: None,
            problem_changed: false,
            first: true,
        }
    }

    /// Looks at what is told to have changed, or, when it is time, everywhere. True: look again at once, since a
    /// directory is watched only from now on.
    fn look(&mut self) -> bool {
        // What is about to be applied is read once more: it may have been written since without a new stamp.
        self.touched.extend(self.state.pending().map(PathBuf::from));
        let now = Instant::now();
        if now < self.rescan && self.inotify.is_some() && self.look_at_touched(now) {
            return false;
        }
        let again = self.look_everywhere(now);
        if !again {
            let took = now.elapsed();
            self.rescan = now + took + RESCAN.max(took * RESCAN_SHARE);
        }
        again
    }

    /// False: that is not enough.
    fn look_at_touched(&mut self, now: Instant) -> bool {
        for path in &self.touched {
            match look(path) {
                There::Elsewhere => return false,
                There::File(stamp) if self.stamps.len() < MAX_FILES || self.stamps.contains_key(path) => {
                    self.stamps.insert(path.clone(), stamp);
                    self.state
                        .observe(&path.to_string_lossy(), read(path), Duration::ZERO, now);
                }
                There::File(_) => {}
                There::Nothing => {
                    self.stamps.remove(path);
                    let file = path.to_string_lossy();
                    self.state.observe(&file, Observation::Gone, Duration::ZERO, now);
                }
            }
        }
        self.touched.clear();
        true
    }

    fn look_everywhere(&mut self, now: Instant) -> bool {
        let found = match scan(self.directory) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("the configuration directory cannot be read: {error}");
                self.report(
                    Code::DirectoryUnreadable,
                    Severity::Error,
                    message,
                    "what was read stays in force",
                );
                return false;
            }
        };
        for (path, stamp) in &found.files {
            if self.stamps.get(path) == Some(stamp) && !self.touched.contains(path) {
                continue;
            }
            let stood = if self.first {
                stamp.age(SystemTime::now())
            } else {
                Duration::ZERO
            };
            self.state
                .observe(&path.to_string_lossy(), read(path), stood, now);
        }
        let there: HashSet<Cow<'_, str>> = found.files.keys().map(|path| path.to_string_lossy()).collect();
        let gone: Vec<String> = self
            .state
            .known()
            .filter(|file| !there.contains(*file))
            .map(str::to_owned)
            .collect();
        for file in gone {
            self.state.observe(&file, Observation::Gone, Duration::ZERO, now);
        }
        self.touched.clear();
        self.stamps = found.files;
        self.first = false;
        self.subscribe(&found.directories)
    }

    fn subscribe(&mut self, directories: &[PathBuf]) -> bool {
        let result = self.inotify.as_mut().map(|inotify| inotify.watch(directories));
        match result {
            Some(Ok(new)) => {
                self.clear();
                new
            }
            other => {
                self.inotify = None;
                let reason = other
                    .and_then(Result::err)
                    .map(|error| format!(": {error}"))
                    .unwrap_or_default();
                let message = format!("changes of files are not announced{reason}");
                let hint = "raise fs.inotify.max_user_watches; the directory is read every 100 ms meanwhile";
                self.report(Code::WatchLost, Severity::Warning, message, hint);
                false
            }
        }
    }

    fn report(&mut self, code: Code, severity: Severity, message: String, hint: &str) {
        if self.problem.as_ref().is_none_or(|problem| problem.code != code) {
            let directory: Arc<str> = self.directory.to_string_lossy().into();
            let found = Diagnostic::new(code, severity, Place::whole_file(&directory), message).hint(hint);
            self.problem = Some(found);
            self.problem_changed = true;
        }
    }

    fn clear(&mut self) {
        self.problem_changed |= self.problem.take().is_some();
    }

    /// Waits for a change, a version that has settled, or the next scan. True: to be stopped.
    fn wait(&mut self, stop: &impl AsFd) -> Result<bool, WatchError> {
        let rescan = match self.inotify {
            Some(_) => self.rescan.saturating_duration_since(Instant::now()),
            None => RESCAN_UNTOLD,
        };
        let settles = self
            .state
            .deadline()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = settles.map_or(rescan, |settles| settles.min(rescan));
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(
            self.inotify
                .as_ref()
                .map(|inotify| PollFd::from_borrowed_fd(inotify.fd(), PollFlags::IN)),
        );
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WatchError::Wait(error.into())),
        }
        let stopped = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        if let Some(inotify) = &mut self.inotify {
            let hints = inotify.drain();
            self.touched.extend(hints.files);
            if hints.everywhere {
                self.rescan = Instant::now();
            }
        }
        Ok(stopped)
    }
}

fn read(path: &Path) -> Observation {
    match content(path) {
        Ok(bytes) => Observation::Content(bytes),
        Err(error) => Observation::Unreadable(error.to_string()),
    }
}
