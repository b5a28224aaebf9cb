//! The configuration directory on a thread of its own, turned into changes of the mesh.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use leno_model::Change;
use leno_sources::file::{Batch, watch};
use tokio::sync::{mpsc, oneshot};

use crate::error::StartError;
use crate::keys::KeyKeeper;
use crate::writer::Diagnostics;

/// A directory that takes longer is served as far as it has been read.
const FIRST_READ: Duration = Duration::from_secs(60);

/// The thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Source {
    _stop: OwnedFd,
}

/// Starts reading, and returns when the directory has been read in full for the first time: before that nobody may
/// be told that something does not exist.
pub(crate) async fn start(
    directory: &Path,
    changes: mpsc::UnboundedSender<Change>,
    diagnostics: Arc<Diagnostics>,
    keys: Arc<KeyKeeper>,
) -> Result<Source, StartError> {
    let fail = |source: std::io::Error| StartError::Config {
        path: directory.to_owned(),
        source,
    };
    std::fs::read_dir(directory).map_err(fail)?;
    let (stopped, stop) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| fail(errno.into()))?;
    let (read, was_read) = oneshot::channel();
    let path = PathBuf::from(directory);
    thread::Builder::new()
        .name("config".to_owned())
        .spawn(move || {
            let place: Arc<str> = path.to_string_lossy().into();
            let mut first = Some(read);
            let deliver = |batch: Batch| {
                let initial = batch.initial;
                let flow = pass_on(batch, &place, &changes, &diagnostics, &keys);
                if let Some(first) = first.take_if(|_| initial) {
                    let _ = first.send(());
                }
                flow
            };
            if let Err(error) = watch(&path, &stopped, deliver) {
                tracing::error!("{error}");
            }
        })
        .map_err(fail)?;
    if tokio::time::timeout(FIRST_READ, was_read).await.is_err() {
        tracing::warn!(
            "{} takes long to read; what has been read is served",
            directory.display()
        );
    }
    Ok(Source { _stop: stop })
}

fn pass_on(
    batch: Batch,
    place: &Arc<str>,
    changes: &mpsc::UnboundedSender<Change>,
    diagnostics: &Diagnostics,
    keys: &Arc<KeyKeeper>,
) -> ControlFlow<()> {
    diagnostics.set_file(place, batch.directory.into_iter().collect());
    let objects = batch.files.iter().flat_map(|file| &file.objects);
    keys.want(&leno_model::key_sources(objects));
    for file in batch.files {
        diagnostics.set_file(&file.file, file.diagnostics);
        let change = Change::File {
            file: file.file,
            objects: file.objects,
        };
        if changes.send(change).is_err() {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}
