//! The workload's certificate as files, for libraries that read files: Istio's names, in `certs/`.
//!
//! The three belong together, so they change together: `certs` is a symbolic link to a directory that is never
//! changed, and is replaced as a whole by rename(2), as Kubernetes does with mounted secrets.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use leno_proxy::identity::Issued;
use tokio::sync::watch;

use super::taken::Taken;
use crate::random;

/// Puts the certificate in force at `link`.
pub fn write(link: &Path, issued: &Issued) -> anyhow::Result<()> {
    write_all(link, issued).with_context(|| {
        format!(
            "the certificate cannot be written — {} — free the disk, or give another --dir",
            link.display()
        )
    })
}

/// Each renewed certificate, for as long as there is somebody who renews.
pub async fn keep_fresh(
    link: PathBuf,
    mut certificate: watch::Receiver<Option<Arc<Issued>>>,
    taken: Arc<Taken>,
) {
    let first = certificate.borrow_and_update().clone();
    first.iter().for_each(|issued| taken.written(issued));
    while certificate.changed().await.is_ok() {
        let issued = certificate.borrow_and_update().clone();
        let Some(issued) = issued else { continue };
        match write(&link, &issued) {
            Ok(()) => taken.written(&issued),
            Err(error) => tracing::error!("{error:#}"),
        }
    }
}

fn write_all(link: &Path, issued: &Issued) -> io::Result<()> {
    let parent = link.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let before = fs::read_link(link).ok();
    let name = format!(".certs-{}", random::suffix());
    let dir = parent.join(&name);
    DirBuilder::new().mode(0o700).create(&dir)?;
    let files = [
        ("cert-chain.pem", &issued.chain, 0o644),
        ("key.pem", &issued.key, 0o600),
        ("root-cert.pem", &issued.roots, 0o644),
    ];
    for (file, text, mode) in files {
        create(&dir.join(file), text.as_bytes(), mode)?;
    }
    let draft = parent.join(format!("{name}.link"));
    symlink(&name, &draft)?;
    fs::rename(&draft, link)?;
    forget(parent, before.as_deref(), &name);
    Ok(())
}

/// Who has just opened a file of the old directory reads it to its end; older ones, and what a killed agent left,
/// have no reader.
fn forget(parent: &Path, before: Option<&Path>, now: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_string_lossy().starts_with(".certs-");
        if ours && name != now && before != Some(Path::new(&name)) {
            // Tried again at the next renewal.
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

/// Writes a file beside and renames it into its place: readers see the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", random::suffix()));
    create(Path::new(&draft), bytes, mode)?;
    fs::rename(&draft, path)
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn issued(text: &str) -> Issued {
        Issued {
            chain: format!("{text} chain"),
            key: format!("{text} key"),
            roots: format!("{text} roots"),
            revocations: None,
        }
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn all_three_change_by_one_rename_and_the_key_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("certs");
        for text in ["first", "second", "third"] {
            write(&link, &issued(text)).unwrap();
            for part in ["chain", "key", "roots"] {
                let file = match part {
                    "chain" => "cert-chain.pem",
                    "key" => "key.pem",
                    _ => "root-cert.pem",
                };
                let read = fs::read_to_string(link.join(file)).unwrap();
                assert_eq!(read, format!("{text} {part}"));
            }
        }
        let mode = fs::metadata(link.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The link, the newest directory and the one before it.
        assert_eq!(names(dir.path()), 3);
    }
}
