//! How long a client may leave what is sent to it untaken, when its connection is to end.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Every byte that is taken gives it the whole time again.
#[derive(Debug)]
pub(super) struct Patience {
    /// None: there is no end to it.
    limit: Option<Duration>,
    /// Made when it is needed first, which is seldom, with the bytes that were left then.
    timer: Option<(Pin<Box<Sleep>>, usize)>,
}

// === impl Patience ===

impl Patience {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None }
    }

    /// `left`: bytes that are not taken. False: who asks is woken when it is over.
    pub(super) fn is_over(&mut self, left: usize, cx: &mut Context<'_>) -> bool {
        let Some(limit) = self.limit else {
            return false;
        };
        let (timer, before) = self.timer.get_or_insert_with(|| (Box::pin(sleep(limit)), left));
        if left < *before {
            *before = left;
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}
