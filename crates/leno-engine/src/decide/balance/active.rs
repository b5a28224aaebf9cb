//! A request under way at an endpoint, and what becomes of it.

use std::cell::Cell;
use std::rc::Rc;

use super::{EndpointState, load};
use crate::message::ResponseHead;

/// Counts a request as under way at an endpoint, until dropped.
#[derive(Debug)]
#[must_use = "the request counts as ended when this is dropped"]
pub struct Active {
    state: Rc<EndpointState>,
    /// It has an answer, and what has become of it is not known.
    open: Cell<bool>,
}

// === impl Active ===

impl Active {
    pub(super) fn new(state: Rc<EndpointState>) -> Self {
        Self {
            state,
            open: Cell::new(false),
        }
    }

    /// What has become of it, as far as that is known when the answer begins.
    pub fn answered(&self, head: &ResponseHead) {
        match load::success(head) {
            Some(success) => self.state.load.settle(success),
            None => self.open.set(true),
        }
    }

    /// What it has come to, where that was not known when the answer began.
    pub fn settle(&self, success: impl FnOnce() -> bool) {
        if self.open.take() {
            self.state.load.settle(success());
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.state.active.set(self.state.active.get().saturating_sub(1));
    }
}
