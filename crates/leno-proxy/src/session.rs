//! An HTTP connection that is being served: what all its requests have in common.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::compile::http::HttpConnectionManager;
use leno_telemetry::stats::{Counts, HttpStat};

use crate::connection::Connection;
use crate::counts::Lasting;
use crate::ending::Ending;
use crate::worker::Worker;

/// Requests share it and copy nothing of it.
pub(crate) struct Session {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Connection,
    pub(crate) manager: Arc<HttpConnectionManager>,
    pub(crate) ending: Rc<Ending>,
    pub(crate) requests: Cell<u32>,
    pub(crate) counts: Rc<Counts<HttpStat>>,
    pub(crate) _active: [Option<Lasting<HttpStat>>; 3],
}
