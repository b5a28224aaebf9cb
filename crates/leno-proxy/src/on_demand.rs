//! What is kept of a request where a format asks for it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use leno_engine::compile::access_log::Point;
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::message::Version;
use leno_telemetry::record::Tried;

use crate::codec::Counter;
use crate::connect::{Times, UpstreamConnection};
use crate::record::Exchange;

impl Exchange {
    /// Somebody asks for it: it is kept from now on.
    pub(crate) fn keep(&self) {
        let _ = self.on_demand.get_or_init(Default::default);
    }

    /// A moment has come.
    pub(crate) fn reach(&self, point: Point) {
        if self.on_demand.get().is_some() {
            self.reached(point, Instant::now());
        }
    }

    /// The same, but only for the first time.
    pub(crate) fn reach_first(&self, point: Point) {
        let kept = self.on_demand.get();
        if kept.is_some_and(|kept| kept.point(point).is_none()) {
            self.reached(point, Instant::now());
        }
    }

    fn reached(&self, point: Point, at: Instant) {
        let began = self.watch.began();
        let since = match at.checked_duration_since(began) {
            Some(since) => i128::try_from(since.as_nanos()),
            None => i128::try_from(began.saturating_duration_since(at).as_nanos()).map(|before| -before),
        };
        if let (Some(kept), Ok(since)) = (self.on_demand.get(), since) {
            kept.reach(point, since);
        }
    }

    /// An endpoint is tried; `connection`: once there is one.
    pub(crate) fn tries(
        &self,
        endpoint: &Arc<Endpoint>,
        connection: Option<&Rc<UpstreamConnection>>,
        version: Option<Version>,
    ) {
        let mut attempted = self.upstream.borrow_mut();
        attempted.endpoint = Some(Arc::clone(endpoint));
        attempted.connection = connection.map(Rc::clone);
        attempted.version = version;
        attempted.failure = None;
        drop(attempted);
        self.keep_try(endpoint, connection.map(|connection| &**connection));
    }

    /// The try in hand is sent, and its bytes are counted where somebody asks for them: as Envoy, with those of the
    /// tries before it.
    pub(crate) fn count_try(&self) -> Counter {
        if !self.session().manager.counts_wire {
            return Counter::default();
        }
        let mut upstream = self.upstream.borrow_mut();
        if !upstream.counter.counts() {
            upstream.counter = Counter::new(true);
        }
        upstream.counter.clone()
    }

    fn keep_try(&self, endpoint: &Endpoint, connection: Option<&UpstreamConnection>) {
        let Some(kept) = self.on_demand.get() else {
            return;
        };
        let Some(connection) = connection else {
            return self.reach(Point::TryBegins);
        };
        // As Envoy: who cannot be reached was not tried.
        kept.tried.borrow_mut().push(Tried {
            address: connection.remote.clone(),
            hostname: endpoint.hostname.clone(),
            connection_id: connection.id,
        });
        let Times {
            began,
            connected,
            secured,
        } = connection.times;
        self.reached(Point::ConnectBegins, began);
        self.reached(Point::ConnectEnds, connected);
        if let Some(secured) = secured {
            self.reached(Point::HandshakeEnds, secured);
        }
        self.reach(Point::PoolReady);
        self.reach(Point::SendingBegins);
    }
}
