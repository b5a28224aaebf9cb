//! Workers: one thread each, with its own runtime, pools and balancers.
//!
//! Nothing on a request's way is shared between workers but what is per process by meaning (circuit breakers) and
//! what never changes (the snapshot). Tasks stay on their thread, so they need no `Send` and no lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use leno_engine::decide::filter::LocalMetadata;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::accept;
use crate::connect::WorkloadSockets;
use crate::idle::Streams;
use crate::listen::ListenSocket;
use crate::lookup::Demand;
use crate::random::Random;
use crate::record::Reporter;
use crate::state::{Config, Published};
use crate::tcp::Scratch;
use crate::tls::Contexts;
use crate::upstream::Upstream;

/// How often idle pooled connections and ejected endpoints are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) published: Arc<Published>,
    pub(crate) demand: Demand,
    pub(crate) workload: Option<Arc<dyn WorkloadSockets>>,
    pub(crate) local_metadata: LocalMetadata,
    pub(crate) fail_closed: Vec<(std::net::IpAddr, u8)>,
    pub(crate) connection_ids: AtomicU64,
    loads: Vec<Load>,
}

/// Connections of one worker, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// The workers' inboxes.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    inboxes: Vec<mpsc::UnboundedSender<Message>>,
    next: usize,
}

#[derive(Debug)]
pub(crate) enum Message {
    /// Accept from this socket from now on.
    Accept(Arc<ListenSocket>),
    /// A connection that another worker has accepted.
    Serve {
        stream: std::net::TcpStream,
        remote: SocketAddr,
        socket: Arc<ListenSocket>,
        counted: Counted,
    },
    /// Hand on what is held back of records, and say so.
    Flush(oneshot::Sender<()>),
    Stop,
}

/// A connection counted as a worker's load, until dropped.
pub(crate) struct Counted {
    shared: Arc<Shared>,
    worker: usize,
}

/// One worker's own state.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) random: Random,
    pub(crate) scratch: Scratch,
    pub(crate) reporter: Reporter,
    pub(crate) tls: Contexts,
    workers: Workers,
    snapshot: RefCell<Snapshot>,
    upstreams: RefCell<HashMap<String, Rc<Upstream>>>,
    streams: RefCell<Vec<Weak<Streams>>>,
    swept: Cell<u64>,
}

/// The configuration that a request began with. Cheap to clone: no count that other workers touch.
#[derive(Clone, Debug)]
#[expect(
    clippy::redundant_allocation,
    reason = "counted by the worker alone: the inner count is shared by all"
)]
pub(crate) struct Snapshot(Rc<Arc<Config>>);

// === impl Workers ===

impl Workers {
    pub(crate) fn accept_from(&mut self, socket: Arc<ListenSocket>) {
        let index = self.next % self.inboxes.len().max(1);
        self.next = self.next.wrapping_add(1);
        self.send(index, Message::Accept(socket));
    }

    pub(crate) fn send(&self, worker: usize, message: Message) {
        if let Some(inbox) = self.inboxes.get(worker)
            && inbox.send(message).is_err()
        {
            tracing::debug!(worker, "worker has stopped");
        }
    }

    /// Returns when every worker has handed on its records.
    pub(crate) async fn flush(&self) {
        for worker in 0..self.inboxes.len() {
            let (done, flushed) = oneshot::channel();
            self.send(worker, Message::Flush(done));
            // One that has stopped has flushed.
            let _ = flushed.await;
        }
    }

    pub(crate) fn stop(&self) {
        for worker in 0..self.inboxes.len() {
            self.send(worker, Message::Stop);
        }
    }
}

/// The inboxes of workers that are yet to start.
pub(crate) fn inboxes(count: usize) -> (Workers, Vec<mpsc::UnboundedReceiver<Message>>) {
    let (inboxes, receivers) = (0..count.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
    (Workers { inboxes, next: 0 }, receivers)
}

/// Starts a worker's thread.
pub(crate) fn spawn(
    index: usize,
    shared: Arc<Shared>,
    workers: Workers,
    inbox: mpsc::UnboundedReceiver<Message>,
    reporter: Reporter,
    tls: Contexts,
) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let worker = Rc::new(Worker {
                index,
                snapshot: RefCell::new(Snapshot(Rc::new(shared.published.load()))),
                shared,
                random: Random::default(),
                scratch: Scratch::default(),
                reporter,
                tls,
                workers,
                upstreams: RefCell::default(),
                streams: RefCell::default(),
                swept: Cell::new(0),
            });
            LocalSet::new().block_on(&runtime, worker.run(inbox));
        })
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        workers: usize,
        published: Arc<Published>,
        demand: Demand,
        workload: Option<Arc<dyn WorkloadSockets>>,
        local_metadata: LocalMetadata,
        fail_closed: Vec<(std::net::IpAddr, u8)>,
    ) -> Self {
        Self {
            published,
            demand,
            workload,
            local_metadata,
            fail_closed,
            connection_ids: AtomicU64::new(1),
            loads: (0..workers.max(1)).map(|_| Load::default()).collect(),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.loads.iter().map(|load| load.0.load(Relaxed)).sum()
    }

    /// The least loaded worker; `own` if none has less.
    fn least_loaded(&self, own: usize) -> usize {
        let load = |worker: usize| self.loads.get(worker).map_or(usize::MAX, |l| l.0.load(Relaxed));
        let least = (0..self.loads.len())
            .min_by_key(|worker| load(*worker))
            .unwrap_or(own);
        if load(least) < load(own) { least } else { own }
    }

    fn count(self: &Arc<Self>, worker: usize) -> Counted {
        if let Some(load) = self.loads.get(worker) {
            load.0.fetch_add(1, Relaxed);
        }
        Counted {
            shared: Arc::clone(self),
            worker,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.shared.loads.get(self.worker) {
            load.0.fetch_sub(1, Relaxed);
        }
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counted({})", self.worker)
    }
}

// === impl Worker ===

impl Worker {
    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let sweeper = Rc::clone(&self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                sweeper.sweep();
            }
        });
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Accept(socket) => {
                    tokio::task::spawn_local(accept::accept_loop(Rc::clone(&self), socket));
                }
                Message::Serve {
                    stream,
                    remote,
                    socket,
                    counted,
                } => match TcpStream::from_std(stream) {
                    Ok(stream) => self.serve(stream, remote, socket, counted),
                    Err(error) => tracing::warn!(%error, "connection lost between workers"),
                },
                Message::Flush(done) => {
                    self.reporter.flush();
                    // Nobody waits any more.
                    let _ = done.send(());
                }
                Message::Stop => break,
            }
        }
        self.reporter.flush();
    }

    /// Gives a new connection to the least loaded worker.
    pub(crate) fn dispatch(
        self: &Rc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        socket: &Arc<ListenSocket>,
    ) {
        let target = self.shared.least_loaded(self.index);
        let counted = self.shared.count(target);
        let socket = Arc::clone(socket);
        if target == self.index {
            return self.serve(stream, remote, socket, counted);
        }
        match stream.into_std() {
            Ok(stream) => self.workers.send(
                target,
                Message::Serve {
                    stream,
                    remote,
                    socket,
                    counted,
                },
            ),
            Err(error) => tracing::warn!(%error, "connection lost between workers"),
        }
    }

    fn serve(
        self: &Rc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        socket: Arc<ListenSocket>,
        counted: Counted,
    ) {
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _counted = counted;
            accept::serve(worker, stream, remote, socket).await;
        });
    }

    /// The newest configuration: one atomic load unless it has changed.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot.borrow_mut();
        if self.shared.published.generation() != snapshot.generation() {
            *snapshot = Snapshot(Rc::new(self.shared.published.load()));
        }
        snapshot.clone()
    }

    /// A cluster as this worker sees it.
    pub(crate) fn upstream(&self, snapshot: &Snapshot, name: &str) -> Option<Rc<Upstream>> {
        let state = snapshot.cluster(name)?;
        let mut upstreams = self.upstreams.borrow_mut();
        if let Some(upstream) = upstreams.get(name) {
            upstream.refresh(state);
            return Some(Rc::clone(upstream));
        }
        let upstream = Rc::new(Upstream::new(Arc::clone(state), self.random.next()));
        upstreams.insert(name.to_owned(), Rc::clone(&upstream));
        Some(upstream)
    }

    /// A new connection's streams, which the sweep looks after.
    pub(crate) fn streams(&self) -> Rc<Streams> {
        let streams = Rc::new(Streams::default());
        self.streams.borrow_mut().push(Rc::downgrade(&streams));
        streams
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.streams
            .borrow_mut()
            .retain(|streams| match streams.upgrade() {
                Some(streams) => {
                    streams.sweep(now);
                    true
                }
                None => false,
            });
        let snapshot = self.snapshot();
        let mut upstreams = self.upstreams.borrow_mut();
        if self.swept.replace(snapshot.generation()) != snapshot.generation() {
            upstreams.retain(|name, _| snapshot.cluster(name).is_some());
        }
        for (name, upstream) in upstreams.iter() {
            if let Some(state) = snapshot.cluster(name) {
                upstream.refresh(state);
            }
            upstream.sweep(now);
        }
        drop(upstreams);
        self.reporter.flush();
    }
}

// === impl Snapshot ===

impl Deref for Snapshot {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}
