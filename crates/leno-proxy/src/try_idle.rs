//! `per_try_idle_timeout`: an attempt on whose stream nothing moves is given up, and perhaps made again elsewhere.
//!
//! It counts from when the attempt has its connection (connecting has a time-out of its own) to the end of the
//! answer, in both directions. Only routes that ask for it pay for its timer.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::codec::{Body, Frame, Source};
use crate::outcome::StreamError;

#[derive(Clone, Debug)]
pub(crate) struct TryIdle {
    limit: Duration,
    /// None: there is no connection yet.
    moved: Rc<Cell<Option<Instant>>>,
}

/// A body whose every frame is a sign of life.
struct Watched {
    body: Body,
    idle: TryIdle,
    /// An answer is cut off; a request is given up by whoever waits for its answer.
    expires: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waiting: bool,
}

// === impl TryIdle ===

impl TryIdle {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            moved: Rc::default(),
        }
    }

    pub(crate) async fn expired(&self) {
        loop {
            let now = Instant::now();
            let at = self.moved.get().unwrap_or(now) + self.limit;
            if at <= now {
                return;
            }
            sleep_until(at).await;
        }
    }

    /// The attempt goes out now, with this body.
    pub(crate) fn request(&self, body: Body) -> Body {
        self.watch(body, None)
    }

    /// The answer has begun.
    pub(crate) fn response(&self, body: Body) -> Body {
        let idle = self.clone();
        self.watch(body, Some(Box::pin(async move { idle.expired().await })))
    }

    fn watch(&self, body: Body, expires: Option<Pin<Box<dyn Future<Output = ()>>>>) -> Body {
        self.moved.set(Some(Instant::now()));
        if body.is_end() {
            return body;
        }
        Body::Stream(Box::new(Watched {
            body,
            idle: self.clone(),
            expires,
            waiting: false,
        }))
    }
}

// === impl Watched ===

impl Source for Watched {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        if let Poll::Ready(frame) = self.body.poll_frame(cx) {
            self.waiting = false;
            self.idle.moved.set(Some(Instant::now()));
            return Poll::Ready(frame);
        }
        // A slow receiver is not a quiet sender: waiting begins with asking.
        if !self.waiting {
            self.waiting = true;
            self.idle.moved.set(Some(Instant::now()));
        }
        let Some(expires) = &mut self.expires else {
            return Poll::Pending;
        };
        ready!(expires.as_mut().poll(cx));
        self.expires = None;
        Poll::Ready(Some(Err(StreamError::TimedOut)))
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
