//! How often what is configured has changed, for statistics.

/// Of clusters, or of listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: u64,
    pub(crate) modified: u64,
    pub(crate) removed: u64,
}

impl Changes {
    /// One more is there, or another in its place.
    pub(super) fn set(&mut self, was_there: bool) {
        match was_there {
            true => self.modified += 1,
            false => self.added += 1,
        }
    }

    pub(super) fn remove(&mut self, was_there: bool) {
        self.removed += u64::from(was_there);
    }
}
