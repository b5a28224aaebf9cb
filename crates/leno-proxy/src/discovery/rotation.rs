//! Secrets that came by SDS and name files: read again when the files are moved to their places, or something is moved into
//! their `watched_directory`, as in Envoy.

use std::cell::RefCell;
use std::collections::BTreeMap;

use leno_engine::compile::Files;
use leno_engine::compile::config_source::{WatchedDirectory, WatchedFile};
use leno_engine::compile::secret;
use leno_engine::jwt::Remotes;
use leno_engine::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::watch::Watch;

/// Notices that wait; of one secret one is enough.
const WAITING: usize = 16;

/// The files of this machine, and which of them were read; and the sets of keys that configurations before have fetched.
pub(super) struct Recorded<'f> {
    files: &'f dyn Files,
    keys: Remotes,
    paths: RefCell<Vec<String>>,
}

pub(super) struct Rotation {
    secrets: BTreeMap<String, Followed>,
    moved: mpsc::Sender<String>,
    notices: mpsc::Receiver<String>,
}

struct Followed {
    /// The message: it names files, and is not secret by itself.
    body: Vec<u8>,
    version: String,
    tasks: Vec<AbortHandle>,
}

// === impl Recorded ===

impl<'f> Recorded<'f> {
    pub(super) fn new(files: &'f dyn Files, keys: &Remotes) -> Self {
        Self {
            files,
            keys: keys.clone(),
            paths: RefCell::default(),
        }
    }
}

impl Files for Recorded<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.paths.borrow_mut().push(path.to_owned());
        self.files.read(path)
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.files.environment(name)
    }

    fn runtime(&self) -> Runtime {
        self.files.runtime()
    }

    fn remote_keys(&self) -> Remotes {
        self.keys.clone()
    }

    fn hostname(&self) -> Option<String> {
        self.files.hostname()
    }

    fn time_zone(&self) -> Option<Vec<u8>> {
        self.files.time_zone()
    }
}

// === impl Rotation ===

impl Default for Rotation {
    fn default() -> Self {
        let (moved, notices) = mpsc::channel(WAITING);
        Self {
            secrets: BTreeMap::new(),
            moved,
            notices,
        }
    }
}

impl Rotation {
    /// From now on this is what the secret says, and these files were read for it.
    pub(super) fn follow(&mut self, name: &str, version: &str, body: &[u8], recorded: &Recorded<'_>) {
        let paths = recorded.paths.take();
        if paths.is_empty() {
            self.secrets.remove(name);
            return;
        }
        // What is followed already goes on: the files are the same.
        if let Some(known) = self.secrets.get_mut(name).filter(|known| known.body == body) {
            version.clone_into(&mut known.version);
            return;
        }
        let watched = |path: &String, directory: Option<WatchedDirectory>| WatchedFile {
            path: path.clone(),
            directory,
            poll: None,
        };
        let watches: Vec<WatchedFile> = match secret::watched_directory(body) {
            Some(directory) => vec![watched(&directory.path.clone(), Some(directory))],
            None => paths.iter().map(|path| watched(path, None)).collect(),
        };
        let tasks = watches.iter().map(|file| {
            let watch = Watch::new(file);
            let (name, moved) = (name.to_owned(), self.moved.clone());
            let told = async move {
                loop {
                    watch.changed().await;
                    if moved.send(name.clone()).await.is_err() {
                        return;
                    }
                }
            };
            tokio::spawn(told).abort_handle()
        });
        let tasks = tasks.collect();
        // What was moved after it was read and before anybody watched. A notice that has no room is one of others.
        let _ = self.moved.try_send(name.to_owned());
        let followed = Followed {
            body: body.to_vec(),
            version: version.to_owned(),
            tasks,
        };
        self.secrets.insert(name.to_owned(), followed);
    }

    /// Whose files have been moved. Cancel safe.
    pub(super) async fn moved(&mut self) -> String {
        match self.notices.recv().await {
            Some(name) => name,
            // Never: one sender is here.
            None => std::future::pending().await,
        }
    }

    /// The secret's message and its version.
    pub(super) fn of(&self, name: &str) -> Option<(Vec<u8>, String)> {
        let followed = self.secrets.get(name)?;
        Some((followed.body.clone(), followed.version.clone()))
    }

    pub(super) fn retain(&mut self, still: impl Fn(&str) -> bool) {
        self.secrets.retain(|name, _| still(name));
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
