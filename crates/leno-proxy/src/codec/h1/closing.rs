//! What ends a connection from our side, so that it costs nothing while it does not: a task of its own waits for it,
//! and the connection looks at two flags.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::task::AbortHandle;

use crate::drain::ConnectionDrain;

#[derive(Debug)]
pub(super) struct Closing {
    flags: Rc<Flags>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Flags {
    when_idle: Cell<bool>,
    now: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

// === impl Closing ===

impl Closing {
    pub(super) fn watch(mut drain: ConnectionDrain) -> Self {
        let flags = Rc::new(Flags::default());
        let told = Rc::clone(&flags);
        let task = tokio::task::spawn_local(async move {
            drain.close_idle().await;
            told.tell(&told.when_idle);
            drain.close_now().await;
            told.tell(&told.now);
        });
        Self {
            flags,
            task: task.abort_handle(),
        }
    }

    /// The connection ends after what it is doing.
    pub(super) fn when_idle(&self) -> bool {
        self.flags.when_idle.get()
    }

    /// It ends whatever it is doing.
    pub(super) fn now(&self) -> bool {
        self.flags.now.get()
    }

    /// The task to be woken, which is always the same.
    pub(super) fn wake(&self, cx: &Context<'_>) {
        let mut waker = self.flags.waker.borrow_mut();
        if waker.is_none() {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Flags {
    fn tell(&self, flag: &Cell<bool>) {
        flag.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
