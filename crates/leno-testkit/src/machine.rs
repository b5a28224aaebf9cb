//! Two cores are shared by all tests; the few that watch a clock get them alone.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// A share of the machine, for as long as it is held.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub(crate) enum Share {
    Some(RwLockReadGuard<'static, ()>),
    All(RwLockWriteGuard<'static, ()>),
}

impl Share {
    pub(crate) fn some() -> Self {
        // A test that panicked has said so itself.
        Self::Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn all() -> Self {
        Self::All(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
    }
}
