//! The requests of one connection, polled by its own task.
//!
//! A task for each request would cost an allocation, a turn of the scheduler and another wake-up of the connection for
//! every one of them. Here a wake-up sets a bit, the connection's task polls whose bits are set, and what they all say
//! is written together. A place is used again with its memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Places kept for the next requests while there are some, and while there are none.
const SPARE: usize = 8;
const SPARE_IDLE: usize = 1;

pub(super) struct Tasks<F> {
    places: Vec<Place<F>>,
    groups: Vec<Arc<Group>>,
    spare: Vec<Pin<Box<Option<F>>>>,
    live: usize,
    driver: Arc<Driver>,
}

struct Place<F> {
    future: Option<Pin<Box<Option<F>>>>,
    waker: Waker,
}

/// 64 places.
struct Group {
    ready: AtomicU64,
    driver: Arc<Driver>,
}

/// The connection's task.
#[derive(Default)]
struct Driver {
    waker: AtomicWaker,
    /// It looks at the bits again before it goes to sleep. One order for this and the bits, or both could be missed.
    awake: AtomicBool,
}

/// Sets one bit.
struct Bell {
    bit: u64,
    group: Arc<Group>,
}

// === impl Bell ===

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let group = &self.group;
        if group.ready.fetch_or(self.bit, Ordering::SeqCst) == 0 && !group.driver.awake.load(Ordering::SeqCst)
        {
            group.driver.waker.wake();
        }
    }
}

// === impl Tasks ===

impl<F: Future<Output = ()>> Tasks<F> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            groups: Vec::new(),
            spare: Vec::new(),
            live: 0,
            driver: Arc::default(),
        }
    }

    /// Begins a task in a place that is empty: it is polled with the next [`Self::poll`].
    pub(super) fn insert(&mut self, at: usize, future: F) {
        while self.places.len() <= at {
            self.grow();
        }
        let mut boxed = self.spare.pop().unwrap_or_else(|| Box::pin(None));
        boxed.set(Some(future));
        if let Some(place) = self.places.get_mut(at) {
            self.live += usize::from(place.future.is_none());
            place.future = Some(boxed);
            place.waker.wake_by_ref();
        }
    }

    fn grow(&mut self) {
        let at = self.places.len();
        if at.is_multiple_of(64) {
            self.groups.push(Arc::new(Group {
                ready: AtomicU64::new(0),
                driver: Arc::clone(&self.driver),
            }));
        }
        let Some(group) = self.groups.last() else { return };
        let bell = Bell {
            bit: 1 << (at % 64),
            group: Arc::clone(group),
        };
        self.places.push(Place {
            future: None,
            waker: Waker::from(Arc::new(bell)),
        });
    }

    /// Drops a task.
    pub(super) fn cancel(&mut self, at: usize) {
        let future = self.places.get_mut(at).and_then(|place| place.future.take());
        if let Some(future) = future {
            self.free(future);
        }
    }

    fn free(&mut self, mut future: Pin<Box<Option<F>>>) {
        self.live -= 1;
        future.set(None);
        let keep = if self.live == 0 { SPARE_IDLE } else { SPARE };
        self.spare.truncate(keep);
        if self.spare.len() < keep {
            self.spare.push(future);
        }
    }

    /// From here until [`Self::sleep`] a wake-up sets its bit only.
    pub(super) fn awake(&self, cx: &Context<'_>) {
        self.driver.waker.register(cx.waker());
        self.driver.awake.store(true, Ordering::SeqCst);
    }

    /// The connection's task has nothing more to do. False: it has.
    pub(super) fn sleep(&self) -> bool {
        self.driver.awake.store(false, Ordering::SeqCst);
        self.groups
            .iter()
            .all(|group| group.ready.load(Ordering::SeqCst) == 0)
    }

    /// Polls those that were woken, once. True: there were some.
    pub(super) fn poll(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.groups.len() {
            let Some(group) = self.groups.get(number) else {
                break;
            };
            let mut ready = group.ready.swap(0, Ordering::SeqCst);
            any |= ready != 0;
            while ready != 0 {
                let bit = ready.trailing_zeros() as usize;
                ready &= ready - 1;
                self.poll_one(number * 64 + bit);
            }
        }
        any
    }

    fn poll_one(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        let Some(boxed) = &mut place.future else { return };
        let mut cx = Context::from_waker(&place.waker);
        let done = match boxed.as_mut().as_pin_mut() {
            Some(future) => future.poll(&mut cx),
            None => Poll::Ready(()),
        };
        if done.is_ready() {
            self.cancel(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = ()>>>;

    fn poll(tasks: &mut Tasks<Boxed>) -> bool {
        let cx = Context::from_waker(Waker::noop());
        tasks.awake(&cx);
        let any = tasks.poll();
        tasks.sleep();
        any
    }

    #[test]
    fn only_those_that_were_woken_are_polled() {
        let mut tasks = Tasks::new();
        let polls: Rc<RefCell<Vec<usize>>> = Rc::default();
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        for at in 0..130 {
            let (polls, wakers) = (Rc::clone(&polls), Rc::clone(&wakers));
            tasks.insert(
                at,
                Box::pin(poll_fn(move |cx| {
                    polls.borrow_mut().push(at);
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                })) as Boxed,
            );
        }
        assert!(poll(&mut tasks));
        assert_eq!(polls.borrow().len(), 130);
        polls.borrow_mut().clear();
        assert!(!poll(&mut tasks));
        let woken = wakers.borrow()[129].clone();
        woken.wake();
        assert!(!tasks.sleep());
        poll(&mut tasks);
        assert_eq!(*polls.borrow(), [129]);
    }

    #[test]
    fn a_cancelled_task_is_dropped_and_its_place_used_again() {
        struct Dropped(Rc<Cell<u32>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let count = Rc::new(Cell::new(0));
        let mut tasks = Tasks::new();
        let task = || {
            let guard = Dropped(Rc::clone(&count));
            Box::pin(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            }) as Boxed
        };
        tasks.insert(0, task());
        poll(&mut tasks);
        tasks.cancel(0);
        assert_eq!(count.get(), 1);
        tasks.insert(0, task());
        poll(&mut tasks);
        drop(tasks);
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn what_a_burst_needed_is_not_kept() {
        let mut tasks = Tasks::new();
        for at in 0..100 {
            tasks.insert(at, Box::pin(std::future::ready(())) as Boxed);
        }
        poll(&mut tasks);
        assert_eq!(tasks.spare.len(), SPARE_IDLE);
    }
}
