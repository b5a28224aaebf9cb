//! The agent's Unix sockets: for this user alone, and for one agent.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::net::UnixListener;

/// Whoever reaches the sockets speaks with the workload's identity, so only this user may.
pub fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("no directory can be made — {} — give another --dir", dir.display()))
}

/// A socket that a dead agent left is in nobody's way; a live one's stays.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!(
            "another agent serves this workload — {} — stop it, or give this one another --name or --dir",
            path.display()
        );
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("a stale socket stays — {} — remove it", path.display()));
        }
        _ => {}
    }
    UnixListener::bind(path)
        .with_context(|| format!("no socket can be made — {} — give another --dir", path.display()))
}
