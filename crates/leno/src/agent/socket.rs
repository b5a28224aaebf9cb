//! The agent's sockets: for this user alone, and for one agent.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::net::{TcpListener, UnixListener};

use super::certificates::replace;

/// Whoever reaches the sockets speaks with the workload's identity, so only this user may.
pub fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| {
        format!(
            "no directory can be made — {} — give another --dir",
            dir.display()
        )
    })
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
            return Err(error)
                .with_context(|| format!("a stale socket stays — {} — remove it", path.display()));
        }
        _ => {}
    }
    UnixListener::bind(path)
        .with_context(|| format!("no socket can be made — {} — give another --dir", path.display()))
}

/// A port on loopback: the same as an agent before us had, if it is free, for its peers may still run.
pub async fn bind_port(file: &Path) -> anyhow::Result<TcpListener> {
    let before = std::fs::read_to_string(file).ok();
    let before: Option<u16> = before.and_then(|text| text.trim().parse().ok());
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, before.unwrap_or(0))).await;
    if before.is_some() && listener.is_err() {
        listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    }
    let listener = listener.context("no port on loopback is free — 127.0.0.1 — end some programs")?;
    let port = listener.local_addr()?.port();
    replace(file, format!("{port}\n").as_bytes(), 0o600)
        .with_context(|| format!("cannot be written — {} — give another --dir", file.display()))?;
    Ok(listener)
}
