//! Whether a connection that was let in would be let in again.
//!
//! Policies change while connections last. A request is held to the newest anyway; a connection whose bytes nobody looks
//! into is asked for again when its chain has been replaced, once for each configuration, and ends only if the chain in
//! its place would not admit it.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use leno_engine::decide::rbac::{Caller, Denial};
use leno_telemetry::record::DownstreamRecord;

use crate::connection::Connection;
use crate::drain::Drain;
use crate::ending::Guard;
use crate::worker::Worker;

/// The chain that it came in by, or what has come in that one's place.
#[derive(Debug)]
pub(crate) struct Chain {
    worker: Weak<Worker>,
    connection: Weak<Connection>,
    /// By which configuration it was asked last, and what came of it.
    asked: Cell<(u64, bool)>,
}

impl Chain {
    pub(crate) fn new(worker: &Rc<Worker>, connection: &Rc<Connection>) -> Self {
        Self {
            worker: Rc::downgrade(worker),
            connection: Rc::downgrade(connection),
            asked: Cell::default(),
        }
    }
}

impl Guard for Chain {
    fn forbids(&self, drain: &Drain) -> bool {
        let (Some(worker), Some(connection)) = (self.worker.upgrade(), self.connection.upgrade()) else {
            return false;
        };
        let generation = worker.snapshot().generation();
        let (asked, forbidden) = self.asked.get();
        if forbidden || asked == generation || !drain.has_started() {
            return forbidden;
        }
        let forbidden = denial(&worker, &connection).is_some();
        self.asked.set((generation, forbidden));
        forbidden
    }
}

/// Why the chain that has come in the place of its own would turn a connection away.
pub(crate) fn denial(worker: &Worker, connection: &Connection) -> Option<Denial> {
    let config = worker.snapshot();
    let chain = config.successor(&connection.drain, connection.record.chain.as_ref()?)?;
    // What its listener says now of where policies are written.
    let now = DownstreamRecord {
        listener_metadata: config
            .listener(connection.drain.listener())?
            .listener
            .told
            .clone(),
        ..DownstreamRecord::clone(&connection.record)
    };
    let caller = Caller {
        values: &now,
        ..connection.without_request()
    };
    let mut filters = chain.network.iter();
    filters.find_map(|filter| config.network_filter(filter).unwrap_or(filter).denies(&caller))
}
