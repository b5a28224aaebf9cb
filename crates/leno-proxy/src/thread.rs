//! A worker's thread: its runtime, the sockets that it accepts from, and what its inbox tells it.
//!
//! Tasks stay on their thread. A connection is moved to the least loaded worker before anything is read of it, and
//! never after.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, mpsc as channel};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use leno_tls::{Crypto, Secrets};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use crate::accept;
use crate::call;
use crate::connection::Serving;
use crate::export;
use crate::inbox::{Message, Workers};
use crate::load::Counted;
use crate::overload::Overload;
use crate::socket::{ListenSocket, Listening, NOWHERE};
use crate::stream::Stream;
use crate::telemetry::Reporter;
use crate::tls::Contexts;
use crate::worker::{Shared, Worker};

/// After an error of the process or the system (descriptors, memory), not of one connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a worker that ends waits for collectors to take its last records.
const SETTLE: Duration = Duration::from_secs(1);

/// Tasks run between two looks at the sockets. More than tokio's 61: a burst on as many connections is then served
/// with one `epoll_wait`, at the price of a few microseconds for what comes meanwhile.
const BATCH: u32 = 256;

/// Starts a worker's thread; returns when its runtime is there.
pub(crate) fn spawn(
    index: usize,
    shared: Arc<Shared>,
    workers: Workers,
    inbox: mpsc::UnboundedReceiver<Message>,
    reporter: Reporter,
    crypto: Crypto,
    secrets: Arc<Secrets>,
) -> io::Result<std::thread::JoinHandle<()>> {
    let (started, starts) = channel::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            // Who waits for it may have gone.
            drop(started.send(Ok(())));
            let tls = Contexts::new(crypto, secrets);
            let worker = Rc::new(Worker::new(index, shared, workers, reporter, tls));
            runtime.block_on(run(worker, inbox));
        })?;
    match starts.recv() {
        Ok(started) => started.map(|()| thread),
        Err(_) => Err(io::Error::other("the thread ended before its runtime was made")),
    }
}

/// Its tasks are `!Send` by themselves: no `LocalSet`, which would be a second scheduler on top of the first.
fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .event_interval(BATCH)
        .build_local(LocalOptions::default())
}

async fn run(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Message>) {
    let carer = Rc::clone(&worker);
    tokio::task::spawn_local(async move { carer.look_after().await });
    tokio::task::spawn_local(export::run(Rc::clone(&worker)));
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Accept(socket) => {
                tokio::task::spawn_local(accept_from(Rc::clone(&worker), socket));
            }
            Message::Serve {
                stream,
                remote,
                socket,
                counted,
            } => match stream.attach() {
                Ok(stream) => serve(&worker, stream, remote, socket, counted),
                Err(error) => tracing::warn!(%error, "connection lost between workers"),
            },
            Message::Within(within) => {
                let accepting = accept::accept_within(Rc::clone(&worker), within);
                tokio::task::spawn_local(Served::Accepting(Box::pin(accepting)));
            }
            Message::Look => worker.look(),
            Message::Post(post) => {
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move { call::post(&worker, *post).await });
            }
            // Nobody waits any more.
            Message::Loads(names, answer) => drop(answer.send(worker.take_loads(&names))),
            Message::Flush(done) => {
                worker.reporter.flush();
                export::flush(&worker, SETTLE).await;
                // Nobody waits any more.
                let _ = done.send(());
            }
            Message::Stop => break,
        }
    }
    worker.reporter.flush();
    export::flush(&worker, SETTLE).await;
}

/// Gives a new connection to the least loaded worker.
fn dispatch(worker: &Rc<Worker>, stream: Stream, remote: SocketAddr, socket: &Arc<ListenSocket>) {
    let target = worker.shared.loads.least(worker.index);
    let counted = worker.shared.loads.count(target);
    let socket = Arc::clone(socket);
    if target == worker.index {
        return serve(worker, stream, remote, socket, counted);
    }
    match stream.detach() {
        Ok(stream) => worker.workers.send(
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
    worker: &Rc<Worker>,
    stream: Stream,
    remote: SocketAddr,
    socket: Arc<ListenSocket>,
    counted: Counted,
) {
    let accepting = accept::accept(Rc::clone(worker), stream, remote, socket, counted);
    tokio::task::spawn_local(Served::Accepting(Box::pin(accepting)));
}

/// A connection's task. It is as small as what serves the connection to its end: how it came about is forgotten on the
/// way, and what a runtime keeps of a task fits with it into one of tokio's 128 bytes.
enum Served {
    Accepting(Pin<Box<dyn Future<Output = Option<Serving>>>>),
    Serving(Serving),
}

impl Future for Served {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Accepting(accepting) = &mut *self {
            match ready!(accepting.as_mut().poll(cx)) {
                Some(serving) => *self = Self::Serving(serving),
                None => return Poll::Ready(()),
            }
        }
        match &mut *self {
            Self::Serving(serving) => serving.as_mut().poll(cx),
            Self::Accepting(_) => Poll::Pending,
        }
    }
}

/// Until the clusters that are there know which of their endpoints are well.
async fn first_answers(worker: &Worker) {
    let snapshot = worker.snapshot();
    let discovered = snapshot.clusters().filter(|state| state.assignment.is_some());
    for health in discovered.filter_map(|state| state.health.as_ref()) {
        if health.is_cold() {
            health.first_answers().await;
        }
    }
}

/// What a socket's connections are accepted from.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn of(socket: &ListenSocket) -> io::Result<Self> {
        match &socket.socket {
            Listening::Tcp(listener) => TcpListener::from_std(listener.try_clone()?).map(Self::Tcp),
            Listening::Unix(listener, _) => UnixListener::from_std(listener.try_clone()?).map(Self::Unix),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, remote)| {
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                (Stream::Tcp(stream), remote)
            }),
            Self::Unix(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), NOWHERE)),
        }
    }
}

/// When nothing is to be accepted for the time being.
async fn stops(stopped: &mut Option<watch::Receiver<bool>>) {
    match stopped {
        // Its sender lasts as long as the worker.
        Some(stopped) => drop(stopped.wait_for(|stopped| *stopped).await),
        None => std::future::pending().await,
    }
}

/// Accepts until the socket's listener lets go of it.
async fn accept_from(worker: Rc<Worker>, socket: Arc<ListenSocket>) {
    let listener = match Accepting::of(&socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(listener = socket.listener, %error, "cannot accept"),
    };
    let mut open = socket.open.clone();
    let mut closed = pin!(open.wait_for(|open| !*open));
    tokio::select! {
        () = first_answers(&worker) => {}
        _ = &mut closed => return,
    }
    let bypasses = worker
        .snapshot()
        .listener(&socket.listener)
        .is_some_and(|state| state.listener.bypasses_overload);
    let overload = worker.shared.overload.as_deref().filter(|_| !bypasses);
    let mut stopped = overload.and_then(Overload::stopped);
    loop {
        if let Some(stopped) = &mut stopped {
            // Its sender lasts as long as the worker.
            tokio::select! {
                _ = stopped.wait_for(|stopped| !*stopped) => {}
                _ = &mut closed => return,
            }
        }
        let mut stops = pin!(stops(&mut stopped));
        let accepted = poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(Some(accepted))),
            // Looked at only when the backlog is empty: a burst is accepted without it.
            Poll::Pending if closed.as_mut().poll(cx).is_ready() => Poll::Ready(None),
            Poll::Pending => stops.as_mut().poll(cx).map(|()| Some(None)),
        });
        let Some(accepted) = accepted.await else { return };
        match accepted {
            Some(Ok((stream, remote))) => dispatch(&worker, stream, remote, &socket),
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Some(Err(error)) => {
                tracing::warn!(listener = socket.listener, %error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => {}
        }
    }
}
