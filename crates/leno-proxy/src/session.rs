//! An HTTP connection that is being served: what all its requests have in common.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::overload::What;
use leno_telemetry::stats::{Counts, HttpStat};

use crate::connection::Connection;
use crate::counts::{Lasting, Timed};
use crate::ending::Ending;
use crate::overload::Overload;
use crate::worker::Worker;

/// Requests share it and copy nothing of it.
pub(crate) struct Session {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Connection,
    pub(crate) manager: Arc<HttpConnectionManager>,
    pub(crate) ending: Rc<Ending>,
    pub(crate) requests: Cell<u32>,
    /// It ends with what is being done, as there is too much to do.
    pub(crate) overloaded: Cell<bool>,
    pub(crate) counts: Rc<Counts<HttpStat>>,
    pub(crate) _active: [Option<Lasting<HttpStat>>; 3],
    pub(crate) _length: Timed<HttpStat>,
}

impl Session {
    /// None: it is served however much there is to do.
    pub(crate) fn overload(&self) -> Option<&Overload> {
        let overload = self.worker.shared.overload.as_deref();
        overload.filter(|_| !self.connection.bypasses_overload)
    }

    /// Whether the connection ends with the answer because of too much to do.
    pub(crate) fn ends_overloaded(&self) -> bool {
        let Some(overload) = self.overload() else {
            return false;
        };
        if !self.overloaded.get() && overload.acts(What::DisableKeepalive, &self.worker.random) {
            self.overloaded.set(true);
            self.counts.inc(HttpStat::CxOverloadDisableKeepalive);
        }
        self.overloaded.get()
    }
}
