//! An HTTP connection that is being served: what all its requests have in common.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::listener::TerminalFilter;
use leno_engine::compile::overload::What;
use leno_telemetry::stats::{Counts, HttpStat, HttpTime};

use crate::connection::Connection;
use crate::counts::Timed;
use crate::ending::{Ending, Why};
use crate::overload::Overload;
use crate::worker::Worker;

/// Requests share it and copy nothing of it. While it is there it is counted as an active connection.
pub(crate) struct Session {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Connection,
    pub(crate) manager: Arc<HttpConnectionManager>,
    pub(crate) ending: Rc<Ending>,
    pub(crate) requests: Cell<u32>,
    /// As many have come as may.
    full: Cell<bool>,
    /// It ends with what is being done, as there is too much to do.
    pub(crate) overloaded: Cell<bool>,
    pub(crate) counts: Rc<Counts<HttpStat>>,
    http2: bool,
    length: Timed<HttpStat>,
}

// === impl Session ===

impl Session {
    /// What requests are held to once the connection's chain has been replaced: what came in its place.
    pub(crate) fn successor(&self) -> Option<Arc<HttpConnectionManager>> {
        let drain = &self.connection.drain;
        if !drain.has_started() {
            return None;
        }
        let own = self.connection.record.chain.as_ref()?;
        match &self.worker.snapshot().successor(drain, own)?.terminal {
            TerminalFilter::Http(manager) => Some(Arc::clone(manager)),
            _ => None,
        }
    }

    pub(crate) fn begin(
        worker: Rc<Worker>,
        connection: Connection,
        manager: Arc<HttpConnectionManager>,
        ending: Rc<Ending>,
        counts: Rc<Counts<HttpStat>>,
        http2: bool,
    ) -> Rc<Self> {
        let (total, active) = match http2 {
            true => (HttpStat::CxHttp2Total, HttpStat::CxHttp2Active),
            false => (HttpStat::CxHttp1Total, HttpStat::CxHttp1Active),
        };
        for stat in [HttpStat::CxTotal, HttpStat::CxActive, total, active] {
            counts.inc(stat);
        }
        if connection.facts.tls {
            counts.inc(HttpStat::CxSslTotal);
            counts.inc(HttpStat::CxSslActive);
        }
        Rc::new(Self {
            worker,
            connection,
            manager,
            requests: Cell::new(0),
            full: Cell::new(false),
            overloaded: Cell::new(false),
            length: Timed::since(ending.began(), &counts, HttpTime::CxLength),
            ending,
            counts,
            http2,
        })
    }

    /// Whether as many requests have come on it as may; that is counted once.
    pub(crate) fn has_had(&self, limit: u32) -> bool {
        let had = self.requests.get();
        if had == limit && !self.full.replace(true) {
            self.counts.inc(HttpStat::CxMaxRequestsReached);
        }
        had >= limit
    }

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

impl Drop for Session {
    fn drop(&mut self) {
        let now = Instant::now();
        self.length.end(now);
        if let Some((_, length)) = &mut self.connection.active {
            length.end(now);
        }
        let counts = &self.counts;
        counts.inc(HttpStat::CxDestroy);
        if let Some(why) = self.ending.why() {
            counts.inc(match why {
                Why::Drained => HttpStat::CxDrainClose,
                Why::Old => HttpStat::CxMaxDurationReached,
                Why::Idle => HttpStat::CxIdleTimeout,
            });
        }
        counts.dec(HttpStat::CxActive);
        counts.dec(match self.http2 {
            true => HttpStat::CxHttp2Active,
            false => HttpStat::CxHttp1Active,
        });
        if self.connection.facts.tls {
            counts.dec(HttpStat::CxSslActive);
        }
    }
}
