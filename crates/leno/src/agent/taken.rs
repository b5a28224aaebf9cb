//! How far the program beside the agent follows what it is given: secrets that it acknowledges, or files that it reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leno_proxy::identity::Issued;
use tokio::sync::watch;
use tokio::time::Instant;

/// A gRPC library looks at its files every two seconds.
const FILES_ARE_READ: Duration = Duration::from_secs(5);

/// What was taken of the newest certificate and trust.
#[derive(Debug)]
pub struct Taken {
    newest: watch::Receiver<Option<Arc<Issued>>>,
    reads_files: bool,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By stream of secrets, what it has acknowledged all of.
    streams: BTreeMap<u64, Option<Arc<Issued>>>,
    /// What is in the files, and since when.
    files: Option<(Arc<Issued>, Instant)>,
}

/// A stream's entry; it goes when dropped.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Taken>,
    number: u64,
}

// === impl Taken ===

impl Taken {
    pub fn new(newest: watch::Receiver<Option<Arc<Issued>>>, reads_files: bool) -> Self {
        Self {
            newest,
            reads_files,
            next: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub fn stream(self: &Arc<Self>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().streams.insert(number, None);
        Place {
            taken: Arc::clone(self),
            number,
        }
    }

    pub fn written(&self, issued: &Arc<Issued>) {
        self.lock().files = Some((Arc::clone(issued), Instant::now()));
    }

    /// Whether every stream has the newest, and who reads files has had the time to.
    pub fn is_all(&self) -> bool {
        let Some(newest) = self.newest.borrow().clone() else {
            return false;
        };
        let state = self.lock();
        let streams = state
            .streams
            .values()
            .all(|taken| taken.as_ref() == Some(&newest));
        let files = state.files.as_ref();
        let read = |(written, since): &(Arc<Issued>, Instant)| {
            *written == newest && since.elapsed() >= FILES_ARE_READ
        };
        streams && (!self.reads_files || files.is_some_and(read))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// All of what the stream asks for is acknowledged as this says it.
    pub fn set(&self, taken: Option<Arc<Issued>>) {
        self.taken.lock().streams.insert(self.number, taken);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.lock().streams.remove(&self.number);
    }
}
