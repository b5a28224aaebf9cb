//! A future beside a hot loop that is polled when it has been woken, not whenever the loop turns.
//!
//! What ends a connection (a drain, an idle time) happens once in its life; polling it with every message costs more
//! than the copying around the system calls. Its wakers go through a bell, and only when that has rung is it polled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) struct Seldom<'f, F> {
    future: Pin<&'f mut F>,
    bell: Option<Arc<Bell>>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

// === impl Seldom ===

impl<'f, F: Future> Seldom<'f, F> {
    pub(crate) fn new(future: Pin<&'f mut F>) -> Self {
        Self { future, bell: None }
    }

    /// As [`Future::poll`]: ready when it is, and the task is woken when it may be. Not to be polled again after that.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let bell = match &self.bell {
            Some(bell) if !bell.rung.load(Ordering::Relaxed) && bell.task.will_wake(cx.waker()) => {
                return Poll::Pending;
            }
            Some(bell) if bell.task.will_wake(cx.waker()) => bell,
            _ => self.bell.insert(Arc::new(Bell {
                rung: AtomicBool::new(false),
                task: cx.waker().clone(),
            })),
        };
        // Acquire, and before the poll: what was written before it rang is seen, and a later ring is not lost.
        bell.rung.swap(false, Ordering::Acquire);
        let waker = Waker::from(Arc::clone(bell));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

// === impl Bell ===

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::pin::pin;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_is_polled_only_after_it_was_woken() {
        let (polls, ready) = (Cell::new(0), Cell::new(false));
        let inner: RefCell<Option<Waker>> = RefCell::default();
        let mut future = pin!(std::future::poll_fn(|cx| {
            polls.set(polls.get() + 1);
            inner.replace(Some(cx.waker().clone()));
            match ready.get() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        let mut seldom = Seldom::new(future.as_mut());
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        for _ in 0..100 {
            assert!(seldom.poll(&mut cx).is_pending());
        }
        assert_eq!(polls.get(), 1);
        ready.set(true);
        assert!(seldom.poll(&mut cx).is_pending());
        inner.take().unwrap().wake();
        assert!(task.0.load(Ordering::Relaxed), "the task hears of it");
        assert!(seldom.poll(&mut cx).is_ready());
        assert_eq!(polls.get(), 2);
    }
}
