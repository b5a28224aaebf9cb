//! How it is told that a file may have changed.
//!
//! Moves are atomic and writes are not: as in Envoy only a move counts, to the path itself or into the watched
//! directory, unless the directory's writes are to count as well.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use leno_engine::compile::config_source::WatchedFile;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

pub(crate) enum Watch {
    Moves {
        fd: AsyncFd<OwnedFd>,
        /// Only moves to this name; None: to any.
        name: Option<Vec<u8>>,
    },
    Every(Duration),
    /// Nothing tells.
    Never,
}

impl Watch {
    pub(crate) fn new(file: &WatchedFile) -> Self {
        if let Some(poll) = file.poll {
            return Self::Every(poll);
        }
        match Self::moves(file) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::error!(%error, path = file.path, "changes of it are not seen");
                Self::Never
            }
        }
    }

    fn moves(file: &WatchedFile) -> io::Result<Self> {
        let path = Path::new(&file.path);
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let (directory, name, flags) = match &file.directory {
            Some(directory) if directory.writes => (
                Path::new(&directory.path),
                None,
                WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::MODIFY,
            ),
            Some(directory) => (Path::new(&directory.path), None, WatchFlags::MOVED_TO),
            None => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let name = path.file_name().map(|name| name.as_bytes().to_vec());
                (parent.unwrap_or(Path::new(".")), name, WatchFlags::MOVED_TO)
            }
        };
        inotify::add_watch(&fd, directory, flags | WatchFlags::ONLYDIR)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an `OwnedFd` is one descriptor for as long as it lives"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self::Moves { fd, name })
    }

    /// Cancel safe: what was not looked at is there the next time.
    pub(crate) async fn changed(&self) {
        match self {
            Self::Moves { fd, name } => loop {
                let Ok(mut ready) = fd.readable().await else {
                    return std::future::pending().await;
                };
                if drain(fd.get_ref(), name.as_deref()) {
                    return;
                }
                ready.clear_ready();
            },
            Self::Every(poll) => tokio::time::sleep(*poll).await,
            Self::Never => std::future::pending().await,
        }
    }
}

/// Takes all that has been told; whether any of it is about `name`.
fn drain(fd: &OwnedFd, name: Option<&[u8]>) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut changed = false;
    while let Ok(event) = reader.next() {
        changed |= name.is_none_or(|name| event.file_name().is_some_and(|file| file.to_bytes() == name));
    }
    changed
}
