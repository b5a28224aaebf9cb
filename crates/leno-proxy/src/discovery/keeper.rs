//! What is in force, in a file: a proxy that is started again while its control plane is away serves with it at once.
//!
//! It is written whole, beside, and moved to its place; so often at the most, and never while it is being written. Secrets
//! are not in it. A directory is of one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::config_source::Origin;
use leno_proto::envoy::config::core::v3::Node;
use leno_xds::kept::{Kept, KeptResource};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes; more is neither written nor read.
const MAX_FILE: usize = 256 << 20;
/// Changes that come close to each other are written once.
const BETWEEN: Duration = Duration::from_millis(200);
/// After a failure.
const LATER: Duration = Duration::from_secs(10);

const FILE: &str = "xds";
const NEXT: &str = "xds.next";
const LOCK: &str = "lock";

pub struct Keeper {
    directory: PathBuf,
    node: String,
    cluster: String,
    unsaved: bool,
    not_before: Option<Instant>,
    writing: Option<JoinHandle<io::Result<()>>>,
    /// Given back by the system when the process ends, however it does.
    _lock: File,
}

// === impl Keeper ===

impl Keeper {
    /// The directory is made if it is not there, for this user alone.
    pub fn open(directory: &Path, node: &Node) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = private(&directory.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another process uses it"),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            node: node.id.clone(),
            cluster: node.cluster.clone(),
            unsaved: false,
            not_before: None,
            writing: None,
            _lock: lock,
        })
    }

    /// What an earlier process of the same node has kept. What cannot be read is told, and is nothing.
    pub(super) fn read(&self) -> Vec<KeptResource> {
        let path = self.directory.join(FILE);
        match read(&path) {
            Ok(Some(kept)) if (&kept.node, &kept.cluster) == (&self.node, &self.cluster) => kept.resources,
            Ok(Some(kept)) => {
                tracing::warn!(path = %path.display(), node = kept.node, "it is another node's: not used");
                Vec::new()
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "what was kept cannot be used");
                Vec::new()
            }
        }
    }

    /// Something has changed.
    pub(super) fn mark(&mut self) {
        self.unsaved = true;
        self.not_before.get_or_insert_with(|| Instant::now() + BETWEEN);
    }

    /// Returns when it is to be written. Cancel safe.
    pub(super) async fn due(keeper: &mut Option<Self>) {
        let Some(keeper) = keeper else {
            return std::future::pending().await;
        };
        if let Some(writing) = &mut keeper.writing {
            let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            keeper.writing = None;
            if let Err(error) = written {
                tracing::warn!(%error, directory = %keeper.directory.display(), "the configuration is not kept");
                keeper.unsaved = true;
                keeper.not_before = Some(Instant::now() + LATER);
            }
        }
        match keeper.not_before.filter(|_| keeper.unsaved) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn write(&mut self, resources: Vec<KeptResource>) {
        (self.unsaved, self.not_before) = (false, None);
        let kept = Kept {
            node: self.node.clone(),
            cluster: self.cluster.clone(),
            resources,
        };
        let directory = self.directory.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || write(&directory, &kept)));
    }
}

/// Whose word it was, in the same words the next time. None: it is in a file already.
pub(super) fn origin(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Ads => Some("ads".to_owned()),
        Origin::Stream(control) => {
            let clusters = control.services.iter().map(|service| service.cluster.as_str());
            Some(format!("stream {}", clusters.collect::<Vec<_>>().join(",")))
        }
        Origin::Rest(polled) => Some(format!("rest {}", polled.cluster)),
        Origin::File(_) => None,
    }
}

fn read(path: &Path) -> io::Result<Option<Kept>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_FILE as u64 {
        return Err(too_large());
    }
    let bytes = Bytes::from(fs::read(path)?);
    Kept::from_bytes(bytes).map(Some).map_err(io::Error::other)
}

fn write(directory: &Path, kept: &Kept) -> io::Result<()> {
    let bytes = kept.to_bytes();
    if bytes.len() > MAX_FILE {
        return Err(too_large());
    }
    let next = directory.join(NEXT);
    let mut file = private(&next)?;
    file.set_len(0)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&next, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

/// For this user alone: listeners may have keys written into them.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

fn too_large() -> io::Error {
    io::Error::other(format!("larger than {MAX_FILE} bytes"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn node(id: &str) -> Node {
        Node {
            id: id.into(),
            ..Default::default()
        }
    }

    fn kept(node: &str) -> Kept {
        Kept {
            node: node.into(),
            resources: vec![KeptResource::default()],
            ..Default::default()
        }
    }

    #[test]
    fn it_is_of_one_node_and_one_process_and_for_one_user() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let keeper = Keeper::open(&state, &node("a")).unwrap();
        assert_eq!(keeper.read(), []);
        write(&state, &kept("a")).unwrap();
        assert_eq!(keeper.read(), [KeptResource::default()]);
        write(&state, &kept("b")).unwrap();
        assert_eq!(keeper.read(), []);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));
        let second = Keeper::open(&state, &node("a")).map(drop).unwrap_err();
        assert_eq!(second.to_string(), "another process uses it");
        drop(keeper);
        Keeper::open(&state, &node("a")).unwrap();
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(directory.path(), &node("a")).unwrap();
        fs::write(directory.path().join(FILE), b"leno xds 1").unwrap();
        assert_eq!(keeper.read(), []);
    }
}
