//! Asking the control plane for what a request needs and nobody has told us yet.
//!
//! A worker asks by name or by original destination; the control thread subscribes, publishes what came, and
//! answers. "There is no such thing" and "nobody answered" are different: only the first may let a connection
//! through as traffic that the mesh does not know.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// What a worker is missing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// The listener of an original destination (`IP_PORT`).
    Listener(SocketAddr),
    Route(String),
    Cluster(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has been published.
    Found,
    /// The control plane says that it does not exist.
    Absent,
    /// No answer in time.
    Unanswered,
}

/// To be answered after publishing; dropped, it counts as [`Answer::Unanswered`].
#[derive(Debug)]
pub struct Question {
    pub want: Want,
    pub answer: oneshot::Sender<Answer>,
}

/// The workers' way to the control thread.
#[derive(Clone, Debug)]
pub struct Demand {
    asker: Option<mpsc::UnboundedSender<Question>>,
    patience: Duration,
}

// === impl Demand ===

impl Demand {
    /// Nothing is ever found that is not there: a static configuration.
    pub fn none() -> Self {
        Self {
            asker: None,
            patience: Duration::ZERO,
        }
    }

    /// `patience`: after it, a question counts as unanswered.
    pub fn new(patience: Duration) -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (asker, questions) = mpsc::unbounded_channel();
        let demand = Self {
            asker: Some(asker),
            patience,
        };
        (demand, questions)
    }

    pub(crate) async fn ask(&self, want: Want) -> Answer {
        let Some(asker) = &self.asker else {
            return Answer::Absent;
        };
        let (answer, answered) = oneshot::channel();
        if asker.send(Question { want, answer }).is_err() {
            return Answer::Unanswered;
        }
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::Unanswered,
        }
    }
}
