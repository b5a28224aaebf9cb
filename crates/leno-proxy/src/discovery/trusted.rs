//! What the control plane has said of whom to trust.

use std::sync::Arc;

use leno_xds::client::Ticket;

use super::said::Key;
use crate::trust::Trust;

#[derive(Default)]
pub(super) struct Trusted {
    pub(super) newest: Option<Arc<Trust>>,
    /// Not acknowledged yet.
    pub(super) held: Option<(Key, Ticket)>,
    /// The response that is being taken has it.
    pub(super) is_in_response: bool,
}

// === impl Trusted ===

impl Trusted {
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }
}
