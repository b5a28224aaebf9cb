//! A new root in place of the old one, in steps, each of which is on the disk before it is in force.
//!
//! ```text
//! settled ─stage─▶ staged ─switch─▶ switched ─retire─▶ settled
//!    ▲               │
//!    └────abort──────┘
//! ```
//!
//! Staged, both roots are trusted and the old one signs; switched, both are trusted and the new one signs. The new
//! authority is in `next-ca/` beside the files of the present one, under the same names; which step it is at, in
//! `root-rotation.json`. Retiring copies the new files over the old ones; a crash in its midst is made good at the next
//! start. Whether everybody is ready for a step is not known here: that is the control plane's to prove.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use leno_tls::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::ca_files::{self, CHAIN, CaError, CaFiles, INTERMEDIATE, KEY, Origin, ROOT};
use crate::state::{self, StateError};

/// Where the new authority is until the old one is retired.
pub(crate) const NEXT: &str = "next-ca";
const STEP: &str = "root-rotation.json";

/// How far a rotation of the root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// None is under way.
    Settled,
    /// The new root is trusted beside the old one, which signs.
    Staged,
    /// The new root signs, and the old one is still trusted.
    Switched,
}

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(
        "a rotation of the root is under way already ({stage}) — state directory — go on with it, or abort it"
    )]
    UnderWay { stage: Stage },
    #[error("this step follows another (the rotation of the root is {stage}) — state directory — {remedy}")]
    OutOfTurn { stage: Stage, remedy: &'static str },
    #[error(
        "the new authority has the root that signs already — {} — put another root there; one intermediate is replaced by another under the same root without a rotation, by a restart", .path.display()
    )]
    SameRoot { path: PathBuf },
}

/// What the directory holds.
pub(crate) struct Held {
    pub(crate) stage: Stage,
    pub(crate) present: Arc<CaFiles>,
    pub(crate) next: Option<Arc<CaFiles>>,
}

#[derive(Serialize, Deserialize)]
struct File {
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Staged,
    Switched,
    /// The new files are on their way into the place of the old ones.
    Retiring,
}

// === impl Stage ===

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Settled => "settled",
            Self::Staged => "staged",
            Self::Switched => "switched",
        })
    }
}

// === impl Held ===

impl Held {
    /// Whose certificates are issued.
    pub(crate) fn signing(&self) -> &Arc<CaFiles> {
        match (self.stage, &self.next) {
            (Stage::Switched, Some(next)) => next,
            _ => &self.present,
        }
    }

    /// Who is trusted besides.
    pub(crate) fn other(&self) -> Option<&Arc<CaFiles>> {
        let next = self.next.as_ref()?;
        Some(match self.stage {
            Stage::Switched => &self.present,
            _ => next,
        })
    }
}

/// Loads what is there, or makes a first authority; ends a retirement that was begun.
pub(crate) fn open(
    dir: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(Held, Origin), CaError> {
    let step = read_step(dir)?;
    if step == Some(Step::Retiring) {
        finish_retiring(dir)?;
    }
    let (present, origin) = ca_files::open(dir, trust_domain, now)?;
    let stage = match step {
        Some(Step::Staged) => Stage::Staged,
        Some(Step::Switched) => Stage::Switched,
        Some(Step::Retiring) | None => Stage::Settled,
    };
    let next = match stage {
        Stage::Settled => {
            forget_leftovers(dir)?;
            None
        }
        Stage::Staged | Stage::Switched => {
            Some(Arc::new(ca_files::open(&dir.join(NEXT), trust_domain, now)?.0))
        }
    };
    let present = Arc::new(present);
    Ok((Held { stage, present, next }, origin))
}

/// The new authority is the one in `next-ca/`, if its operator has put one there, else it is made.
pub(crate) fn stage(
    dir: &Path,
    held: &Held,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Held, RotationError> {
    if held.stage != Stage::Settled {
        return Err(RotationError::UnderWay { stage: held.stage });
    }
    let path = dir.join(NEXT);
    let (next, _) = ca_files::open(&path, trust_domain, now)?;
    if next.roots.iter().any(|root| held.present.has_key_of(root)) {
        return Err(RotationError::SameRoot { path });
    }
    write_step(dir, Step::Staged)?;
    Ok(Held {
        stage: Stage::Staged,
        present: held.present.clone(),
        next: Some(Arc::new(next)),
    })
}

pub(crate) fn switch(dir: &Path, held: &Held) -> Result<Held, RotationError> {
    if held.stage != Stage::Staged {
        return Err(RotationError::OutOfTurn {
            stage: held.stage,
            remedy: "stage a new root first",
        });
    }
    write_step(dir, Step::Switched)?;
    Ok(Held {
        stage: Stage::Switched,
        present: held.present.clone(),
        next: held.next.clone(),
    })
}

pub(crate) fn retire(
    dir: &Path,
    held: &Held,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Held, RotationError> {
    if held.stage != Stage::Switched {
        return Err(RotationError::OutOfTurn {
            stage: held.stage,
            remedy: "let the new root sign first",
        });
    }
    write_step(dir, Step::Retiring)?;
    finish_retiring(dir)?;
    let (present, _) = ca_files::open(dir, trust_domain, now)?;
    Ok(Held {
        stage: Stage::Settled,
        present: Arc::new(present),
        next: None,
    })
}

/// Only before the new root has signed anything.
pub(crate) fn abort(dir: &Path, held: &Held) -> Result<Held, RotationError> {
    match held.stage {
        Stage::Staged => {}
        Stage::Switched => {
            return Err(RotationError::OutOfTurn {
                stage: held.stage,
                remedy: "workloads have certificates of the new root by now: go on, and rotate again if you must",
            });
        }
        Stage::Settled => {
            return Err(RotationError::OutOfTurn {
                stage: held.stage,
                remedy: "there is nothing to abort",
            });
        }
    }
    remove(&dir.join(STEP))?;
    remove_next(dir)?;
    Ok(Held {
        stage: Stage::Settled,
        present: held.present.clone(),
        next: None,
    })
}

/// May be done again from its beginning, as long as the step is not taken back.
fn finish_retiring(dir: &Path) -> Result<(), CaError> {
    let next = dir.join(NEXT);
    for (name, mode) in [
        (KEY, state::SECRET),
        (INTERMEDIATE, state::PUBLIC),
        (CHAIN, state::PUBLIC),
        (ROOT, state::PUBLIC),
    ] {
        match state::read(&next.join(name))? {
            Some(content) => state::write(&dir.join(name), &content, mode)?,
            None => remove(&dir.join(name))?,
        }
    }
    remove(&dir.join(STEP))?;
    remove_next(dir)
}

/// What a crash after the end of a retirement has left: the authority that is in force already.
fn forget_leftovers(dir: &Path) -> Result<(), CaError> {
    let copy = state::read(&dir.join(NEXT).join(KEY))?;
    match copy.is_some() && copy == state::read(&dir.join(KEY))? {
        true => remove_next(dir),
        false => Ok(()),
    }
}

fn remove_next(dir: &Path) -> Result<(), CaError> {
    let next = dir.join(NEXT);
    // The key last: what is left of a directory without it is of no use, and with it alone it is whole again.
    for name in [ROOT, INTERMEDIATE, CHAIN, KEY] {
        remove(&next.join(name))?;
    }
    // Whatever else its operator has put there stays.
    let _ = fs::remove_dir(&next);
    Ok(())
}

fn remove(path: &Path) -> Result<(), StateError> {
    state::remove(path)
}

fn read_step(dir: &Path) -> Result<Option<Step>, CaError> {
    let path = dir.join(STEP);
    let Some(content) = state::read(&path)? else {
        return Ok(None);
    };
    let file: Result<File, _> = serde_json::from_slice(&content);
    match file {
        Ok(file) => Ok(Some(file.step)),
        Err(error) => Err(CaError::Damaged {
            path,
            detail: error.to_string(),
        }),
    }
}

fn write_step(dir: &Path, step: Step) -> Result<(), CaError> {
    let path = dir.join(STEP);
    let content = serde_json::to_vec(&File { step }).map_err(|error| CaError::Damaged {
        path: path.clone(),
        detail: error.to_string(),
    })?;
    Ok(state::write(&path, &content, state::SECRET)?)
}
