//! The state directory: what a control plane must know again after a restart.
//!
//! Losing any of it but the CA key is survivable: addresses are given anew, workloads register again. A disk that
//! is full never stops the mesh: what could not be written stays in memory and is tried again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use leno_ca::state::{self, StateError};
use leno_model::VipTable;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::error::{STATE_NOT_WRITTEN, StartError};

const VIPS: &str = "vips.json";
const REGISTRATIONS: &str = "registrations.json";
const KEYS: &str = "keys.json";
const RETRY: Duration = Duration::from_secs(2);

/// Writes what it is given, the newest of each file, in the background.
#[derive(Debug)]
pub(crate) struct State {
    directory: PathBuf,
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    vips: Option<Vec<u8>>,
    registrations: Option<Vec<u8>>,
    keys: Option<Vec<u8>>,
    /// What could not be written, for `leno status`.
    failed: Option<String>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) vips: VipTable,
    /// None: there is no list, so it is not known who was there.
    pub(crate) registrations: Option<Vec<Known>>,
    pub(crate) keys: Vec<RememberedKeys>,
}

/// A registration as it is remembered: the node as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) id: String,
    /// The encoded `envoy.config.core.v3.Node`, in hexadecimal.
    pub(crate) node: String,
    pub(crate) healthy: bool,
    /// It proved its identity by a certificate.
    #[serde(default)]
    pub(crate) secure: bool,
}

/// An issuer's keys, as they were fetched last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RememberedKeys {
    /// Where, if it is a set of keys itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uri: Option<String>,
    /// Where, if it is an OpenID provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    pub(crate) keys: String,
    /// When somebody needed them last, in seconds from 1970.
    pub(crate) needed: u64,
}

/// Versioned, so that a later form is recognised.
#[derive(Serialize, Deserialize)]
struct File<T> {
    version: u32,
    content: T,
}

impl State {
    pub(crate) fn open(directory: &Path) -> Result<(Self, Remembered), StartError> {
        state::ensure_directory(directory)?;
        let remembered = Remembered {
            vips: load(directory, VIPS, "the table of addresses")?.unwrap_or_default(),
            registrations: load(directory, REGISTRATIONS, "the list of workloads")?,
            keys: load(directory, KEYS, "the keys of issuers")?.unwrap_or_default(),
        };
        let state = Self {
            directory: directory.to_owned(),
            pending: Mutex::default(),
            changed: Notify::new(),
        };
        Ok((state, remembered))
    }

    /// The addresses must be on disk before anybody is told of them; if that fails they are served all the same
    /// and written later.
    pub(crate) fn save_vips(&self, vips: &VipTable) {
        let Some(content) = encode(vips) else { return };
        match state::write(&self.directory.join(VIPS), &content, state::SECRET) {
            Ok(()) => self.with(|p| p.vips = None),
            Err(error) => {
                self.report(&error);
                self.with(|p| p.vips = Some(content));
                self.changed.notify_one();
            }
        }
    }

    pub(crate) fn save_registrations(&self, known: &[Known]) {
        self.with(|p| p.registrations = encode(&known));
        self.changed.notify_one();
    }

    pub(crate) fn save_keys(&self, known: &[RememberedKeys]) {
        self.with(|p| p.keys = encode(&known));
        self.changed.notify_one();
    }

    /// What is wrong with the directory now.
    pub(crate) fn failure(&self) -> Option<String> {
        self.with(|p| p.failed.clone())
    }

    /// Writes what is due, until all of it is on disk, whenever there is something.
    pub(crate) async fn write_forever(&self) {
        loop {
            self.changed.notified().await;
            while !self.flush() {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// True when nothing is left to write.
    pub(crate) fn flush(&self) -> bool {
        let (vips, registrations, keys) =
            self.with(|p| (p.vips.take(), p.registrations.take(), p.keys.take()));
        let vips = self.write(VIPS, vips);
        let registrations = self.write(REGISTRATIONS, registrations);
        let keys = self.write(KEYS, keys);
        let done = vips.is_none() && registrations.is_none() && keys.is_none();
        self.with(|p| {
            // Unless something newer has come meanwhile.
            p.vips = p.vips.take().or(vips);
            p.registrations = p.registrations.take().or(registrations);
            p.keys = p.keys.take().or(keys);
            if done {
                p.failed = None;
            }
        });
        done
    }

    /// Returns what could not be written.
    fn write(&self, name: &str, content: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let content = content?;
        match state::write(&self.directory.join(name), &content, state::SECRET) {
            Ok(()) => None,
            Err(error) => {
                self.report(&error);
                Some(content)
            }
        }
    }

    /// Once for each new reason: a full disk is tried every other second.
    fn report(&self, error: &StateError) {
        let message = error.to_string();
        let new = self.with(|p| p.failed.replace(message.clone()).as_ref() != Some(&message));
        if new {
            tracing::error!("error[{STATE_NOT_WRITTEN}]: {message} — the mesh goes on from memory");
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Pending) -> T) -> T {
        change(
            &mut self
                .pending
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

fn encode<T: Serialize>(content: &T) -> Option<Vec<u8>> {
    serde_json::to_vec_pretty(&File { version: 1, content }).ok()
}

fn load<T: for<'a> Deserialize<'a>>(
    directory: &Path,
    name: &str,
    what: &'static str,
) -> Result<Option<T>, StartError> {
    let path = directory.join(name);
    let Some(text) = state::read(&path)? else {
        return Ok(None);
    };
    let file: Result<File<T>, String> = match serde_json::from_slice(&text) {
        Ok(File { version, .. }) if version != 1 => Err(format!("version {version} is from another leno")),
        Ok(file) => Ok(file),
        Err(error) => Err(error.to_string()),
    };
    match file {
        Ok(file) => Ok(Some(file.content)),
        Err(detail) => Err(StartError::Damaged { what, path, detail }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_told_and_written_when_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let (state, _) = State::open(directory.path()).unwrap();
        let obstacle = directory.path().join(REGISTRATIONS);
        std::fs::create_dir(&obstacle).unwrap();
        state.save_registrations(&[]);
        assert!(!state.flush());
        assert!(state.failure().unwrap().contains(REGISTRATIONS));
        std::fs::remove_dir(&obstacle).unwrap();
        assert!(state.flush());
        assert_eq!(state.failure(), None);
        let (_, remembered) = State::open(directory.path()).unwrap();
        assert_eq!(remembered.registrations, Some(Vec::new()));
    }

    #[test]
    fn a_damaged_file_is_named_and_never_silently_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(VIPS), "{").unwrap();
        let error = State::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains(VIPS), "{error}");
    }
}
