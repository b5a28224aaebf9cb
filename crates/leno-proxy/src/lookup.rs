//! Asking the control plane for what a request needs and nobody has told us yet.
//!
//! A worker asks by name or by original destination; the control thread subscribes, publishes what came, and
//! answers. "There is no such thing" and "nobody answered" are different: only the first may let a connection
//! through as traffic that the mesh does not know.

use std::net::SocketAddr;
use std::time::Duration;

use leno_engine::compile::config_source::Source;
use tokio::sync::{mpsc, oneshot};

/// What a worker is missing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// The listener of an original destination (`IP_PORT`).
    Listener(SocketAddr),
    Route(String),
    Cluster(String),
    /// `ROUTE_CONFIGURATION/DOMAIN`
    VirtualHost(String),
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
    /// Where it is to be asked for; None: where such things come from.
    pub source: Option<Source>,
    pub answer: oneshot::Sender<Answer>,
}

/// The workers' way to the control thread.
#[derive(Clone, Debug)]
pub struct Demand {
    asker: Option<mpsc::UnboundedSender<Question>>,
    patience: Duration,
    /// Whether what is not known is asked for without being told to.
    always: bool,
}

// === impl Demand ===

impl Demand {
    /// Nothing is ever found that is not there: a static configuration.
    pub fn none() -> Self {
        Self {
            asker: None,
            patience: Duration::ZERO,
            always: false,
        }
    }

    /// `patience`: after it, a question counts as unanswered.
    pub fn new(patience: Duration) -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (asker, questions) = mpsc::unbounded_channel();
        let demand = Self {
            asker: Some(asker),
            patience,
            always: true,
        };
        (demand, questions)
    }

    /// Nothing is asked for but what a filter asks for, of a source that it names.
    pub fn when_told() -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (demand, questions) = Self::new(Duration::ZERO);
        let demand = Self {
            always: false,
            ..demand
        };
        (demand, questions)
    }

    pub(crate) async fn ask(&self, want: Want) -> Answer {
        match self.always {
            true => self.put(want, None, self.patience).await,
            false => Answer::Absent,
        }
    }

    /// Of this source, and for no longer than this.
    pub(crate) async fn ask_of(&self, want: Want, source: Source, patience: Duration) -> Answer {
        self.put(want, Some(source), patience).await
    }

    async fn put(&self, want: Want, source: Option<Source>, patience: Duration) -> Answer {
        let Some(asker) = &self.asker else {
            return Answer::Absent;
        };
        let (answer, answered) = oneshot::channel();
        let question = Question { want, source, answer };
        if asker.send(question).is_err() {
            return Answer::Unanswered;
        }
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::Unanswered,
        }
    }
}
