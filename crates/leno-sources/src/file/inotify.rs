//! Being told of changes (inotify(7)). Only hints: what counts is what the next scan finds.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// What has been announced.
#[derive(Default)]
pub(super) struct Hints {
    /// What was written, renamed or removed.
    pub(super) files: HashSet<PathBuf>,
    /// And more than that: a directory came or went, or announcements were lost.
    pub(super) everywhere: bool,
}

pub(super) struct Inotify {
    fd: OwnedFd,
    directories: HashMap<i32, PathBuf>,
    watched: HashSet<PathBuf>,
}

impl Inotify {
    pub(super) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self {
            fd,
            directories: HashMap::new(),
            watched: HashSet::new(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Watches the directories of the last scan. True if one was not watched before: what happened in it between
    /// scan and watch is unknown, so it must be scanned again.
    pub(super) fn watch(&mut self, directories: &[PathBuf]) -> io::Result<bool> {
        let mut new = false;
        for directory in directories
            .iter()
            .filter(|directory| !self.watched.contains(*directory))
            .collect::<Vec<_>>()
        {
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            match inotify::add_watch(&self.fd, directory, flags) {
                Ok(id) => {
                    self.directories.insert(id, directory.clone());
                    self.watched.insert(directory.clone());
                    new = true;
                }
                // Gone again since the scan.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(new)
    }

    /// Reads what there is without waiting.
    pub(super) fn drain(&mut self) -> Hints {
        let mut hints = Hints::default();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        while let Ok(event) = reader.next() {
            let id = event.wd();
            let about = event.events();
            if about.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
                if let Some(directory) = self.directories.remove(&id) {
                    self.watched.remove(&directory);
                }
                hints.everywhere = true;
            } else if let (Some(directory), Some(name)) = (self.directories.get(&id), event.file_name()) {
                let name = name.to_bytes();
                // Kubernetes swaps what a mounted ConfigMap says by renaming `..data`.
                hints.everywhere |= about.contains(ReadFlags::ISDIR) || name.starts_with(b"..");
                let name = Path::new(std::ffi::OsStr::from_bytes(name));
                hints.files.insert(directory.join(name));
            } else {
                hints.everywhere = true;
            }
        }
        hints
    }
}
