//! A worker's thread: its runtime, the sockets that it accepts from, and what its inbox tells it.
//!
//! Tasks stay on their thread. A connection is moved to the least loaded worker before anything is read of it, and
//! never after.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::accept;
use crate::inbox::{Message, Workers};
use crate::load::Counted;
use crate::socket::ListenSocket;
use crate::telemetry::Reporter;
use crate::tls::Contexts;
use crate::worker::{Shared, Worker};

/// After an error of the process or the system (descriptors, memory), not of one connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
            let worker = Rc::new(Worker::new(index, shared, workers, reporter, tls));
            LocalSet::new().block_on(&runtime, run(worker, inbox));
        })
}

async fn run(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Message>) {
    let carer = Rc::clone(&worker);
    tokio::task::spawn_local(async move { carer.look_after().await });
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
            } => match TcpStream::from_std(stream) {
                Ok(stream) => serve(&worker, stream, remote, socket, counted),
                Err(error) => tracing::warn!(%error, "connection lost between workers"),
            },
            Message::Flush(done) => {
                worker.reporter.flush();
                // Nobody waits any more.
                let _ = done.send(());
            }
            Message::Stop => break,
        }
    }
    worker.reporter.flush();
}

/// Gives a new connection to the least loaded worker.
fn dispatch(worker: &Rc<Worker>, stream: TcpStream, remote: SocketAddr, socket: &Arc<ListenSocket>) {
    let target = worker.shared.loads.least(worker.index);
    let counted = worker.shared.loads.count(target);
    let socket = Arc::clone(socket);
    if target == worker.index {
        return serve(worker, stream, remote, socket, counted);
    }
    match stream.into_std() {
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
    stream: TcpStream,
    remote: SocketAddr,
    socket: Arc<ListenSocket>,
    counted: Counted,
) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _counted = counted;
        accept::serve(worker, stream, remote, socket).await;
    });
}

/// Accepts until the socket's listener lets go of it.
async fn accept_from(worker: Rc<Worker>, socket: Arc<ListenSocket>) {
    let listener = match socket.socket.try_clone().and_then(TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(listener = socket.listener, %error, "cannot accept"),
    };
    let mut open = socket.open.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = open.wait_for(|open| !*open) => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                dispatch(&worker, stream, remote, &socket);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(listener = socket.listener, %error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
