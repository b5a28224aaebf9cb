//! What workers are told, by the writer of the configuration and by each other.

use std::net::SocketAddr;
use std::sync::Arc;

use leno_engine::compile::endpoint::Passed;
use leno_engine::decide::notes;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use crate::load::Counted;
use crate::post::Post;
use crate::reported::Part;
use crate::socket::ListenSocket;
use crate::stream::Detached;

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
        stream: Detached,
        remote: SocketAddr,
        socket: Arc<ListenSocket>,
        counted: Counted,
    },
    /// A connection of this worker's own to an internal listener.
    Within(Within),
    /// Connections' chains have begun to drain.
    Look,
    /// Make a request of the proxy's own.
    Post(Box<Post>),
    /// Tell what of these clusters' load was since the last time.
    Loads(Arc<[String]>, oneshot::Sender<Part>),
    /// Hand on what is held back of records, and say so.
    Flush(oneshot::Sender<()>),
    Stop,
}

/// A connection to an internal listener.
#[derive(Debug)]
pub(crate) struct Within {
    pub(crate) stream: DuplexStream,
    pub(crate) listener: String,
    /// The endpoint's.
    pub(crate) id: String,
    /// What it is to be taken for.
    pub(crate) passed: Passed,
    pub(crate) notes: notes::Passed,
}

// === impl Workers ===

impl Workers {
    pub(crate) fn accept_from(&mut self, socket: Arc<ListenSocket>) {
        let index = self.next % self.inboxes.len().max(1);
        self.next = self.next.wrapping_add(1);
        self.send(index, Message::Accept(socket));
    }

    pub(crate) fn count(&self) -> usize {
        self.inboxes.len()
    }

    pub(crate) fn send(&self, worker: usize, message: Message) {
        if let Some(inbox) = self.inboxes.get(worker)
            && inbox.send(message).is_err()
        {
            tracing::debug!(worker, "worker has stopped");
        }
    }

    /// Lets every worker look after its connections.
    pub(crate) fn look(&self) {
        for worker in 0..self.inboxes.len() {
            self.send(worker, Message::Look);
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
