//! `control.json`: how programs on the same machine find the control plane without flags.

use std::path::{Path, PathBuf};

use leno_ca::state;
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendezvous {
    /// Of the TLS port.
    pub address: String,
    /// The mesh's root certificate, PEM.
    pub ca: PathBuf,
    /// The local join token.
    pub token: PathBuf,
    pub pid: u32,
    /// Of the admin port.
    #[serde(default)]
    pub admin: String,
}

/// The file while it is ours; removed when dropped.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
    pid: u32,
}

/// `$XDG_RUNTIME_DIR/leno/control.json`, else `~/.local/state/leno/control.json`.
pub fn default_path(runtime_dir: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let directory = match (runtime_dir, home) {
        (Some(runtime), _) => runtime.join("leno"),
        (None, Some(home)) => home.join(".local/state/leno"),
        (None, None) => return None,
    };
    Some(directory.join("control.json"))
}

/// What the file says, if it is there and readable.
pub fn read(path: &Path) -> Option<Rendezvous> {
    let text = state::read(path).ok()??;
    serde_json::from_slice(&text).ok()
}

/// Whether another control plane that lives has its file here. A file that a dead one left is no obstacle.
pub(crate) fn check_free(path: &Path) -> Result<(), StartError> {
    match read(path) {
        Some(other) if other.pid != std::process::id() && is_alive(other.pid) => {
            Err(StartError::AlreadyRunning {
                path: path.to_owned(),
                pid: other.pid,
            })
        }
        _ => Ok(()),
    }
}

impl Published {
    pub(crate) fn write(path: &Path, content: &Rendezvous) -> Result<Self, StartError> {
        if let Some(directory) = path.parent() {
            state::ensure_directory(directory)?;
        }
        let text = serde_json::to_vec_pretty(content).unwrap_or_default();
        state::write(path, &text, state::SECRET)?;
        Ok(Self {
            path: path.to_owned(),
            pid: content.pid,
        })
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // Another one may have taken the place with --state and the same path.
        if read(&self.path).is_some_and(|found| found.pid == self.pid) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    // EPERM: it lives and is another user's.
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}
