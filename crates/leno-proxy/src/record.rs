//! What is known of a request while it runs, and its one record at its end: the only place where telemetry is made.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use leno_engine::compile::access_log::{FormatValues, Operator};
use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{Headers, RequestHead, ResponseHead};
use leno_telemetry::record::{DownstreamRecord, RequestRecord, UpstreamRecord};
use tokio::sync::Notify;

use crate::connect::UpstreamConnection;
use crate::drain::{ConnectionDrain, CutBy};
use crate::idle::{Limits, Watch};
use crate::worker::Worker;

/// One request, from its head to the end of its response. Its record is made when the last part lets go of it.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    pub(crate) downstream: Rc<DownstreamRecord>,
    pub(crate) manager: Arc<HttpConnectionManager>,
    start: SystemTime,
    began: Instant,
    pub(crate) request: RefCell<Option<RequestHead>>,
    pub(crate) response: RefCell<Option<ResponseHead>>,
    pub(crate) flags: Cell<Flags>,
    pub(crate) details: Cell<&'static str>,
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    pub(crate) route: RefCell<String>,
    pub(crate) attempts: Cell<u32>,
    pub(crate) upstream: RefCell<Option<Attempted>>,
    pub(crate) peer: RefCell<PeerMetadata>,
    pub(crate) watch: Rc<Watch>,
    /// The end of the client's connection, where the proxy decides it.
    pub(crate) connection: RefCell<Option<Rc<ConnectionDrain>>>,
    /// The request's body ended in an error of the client's connection.
    pub(crate) client_gone: Cell<bool>,
    grpc_status: Cell<Option<u32>>,
    request_duration: Cell<Option<Duration>>,
    response_duration: Cell<Option<Duration>>,
    request_ended: Notify,
    /// The response has been sent to its end, or was cut off for a reason that `flags` tell.
    finished: Cell<bool>,
}

/// The last attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempted {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) connection: Option<Rc<UpstreamConnection>>,
    pub(crate) failure: Option<Arc<str>>,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        downstream: &Rc<DownstreamRecord>,
        manager: &Arc<HttpConnectionManager>,
    ) -> Rc<Self> {
        let began = Instant::now();
        let limits = Limits {
            idle: manager.timeouts.stream_idle,
            request: manager.timeouts.request,
            whole: manager.timeouts.max_stream_duration,
        };
        Rc::new(Self {
            watch: Watch::new(began, limits),
            worker: Rc::clone(worker),
            downstream: Rc::clone(downstream),
            manager: Arc::clone(manager),
            start: SystemTime::now(),
            began,
            request: RefCell::default(),
            response: RefCell::default(),
            flags: Cell::default(),
            details: Cell::new(""),
            received: Cell::default(),
            sent: Cell::default(),
            route: RefCell::default(),
            attempts: Cell::default(),
            upstream: RefCell::default(),
            peer: RefCell::default(),
            connection: RefCell::default(),
            client_gone: Cell::default(),
            grpc_status: Cell::default(),
            request_duration: Cell::default(),
            response_duration: Cell::default(),
            request_ended: Notify::new(),
            finished: Cell::default(),
        })
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn flag(&self, flag: Flag) {
        let mut flags = self.flags.get();
        flags.insert(flag);
        self.flags.set(flags);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The request has been received to its end.
    pub(crate) fn end_request(&self) {
        if self.request_duration.get().is_none() {
            self.request_duration.set(Some(self.began.elapsed()));
            self.watch.end_request();
            self.request_ended.notify_waiters();
        }
    }

    pub(crate) fn request_has_ended(&self) -> bool {
        self.request_duration.get().is_some()
    }

    pub(crate) async fn request_ended(&self) {
        let ended = self.request_ended.notified();
        if self.request_duration.get().is_none() {
            ended.await;
        }
    }

    /// The upstream's answer has begun.
    pub(crate) fn begin_response(&self) {
        self.response_duration.set(Some(self.began.elapsed()));
    }

    /// Milliseconds between the end of the request and the beginning of the answer.
    pub(crate) fn service_time(&self) -> u128 {
        let sent = self.request_duration.get().unwrap_or_default();
        let answered = self.response_duration.get().unwrap_or_default();
        answered.saturating_sub(sent).as_millis()
    }

    /// Reads `grpc-status`, from trailers or from the head of an answer without a body.
    pub(crate) fn see_grpc_status(&self, headers: &Headers) {
        if let Some(status) = headers.get_str("grpc-status").and_then(|s| s.parse().ok()) {
            self.grpc_status.set(Some(status));
        }
    }

    /// Whom the last attempt has reached, if that was proved.
    pub(crate) fn upstream_principal(&self) -> Option<Arc<str>> {
        let upstream = self.upstream.borrow();
        upstream.as_ref()?.connection.as_ref()?.peer_principal.clone()
    }

    /// What has cut the client's connection off.
    pub(crate) fn cut_by(&self) -> Option<CutBy> {
        self.connection.borrow().as_ref()?.cut_by()
    }

    pub(crate) fn finish(&self) {
        self.finished.set(true);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        if !self.finished.get() {
            let (flag, details) = match self.cut_by() {
                Some(by) => (Flag::LocalReset, by.details()),
                None => (
                    Flag::DownstreamConnectionTermination,
                    "downstream_remote_disconnect",
                ),
            };
            self.flag(flag);
            self.details.set(details);
        }
        let attempted = self.upstream.take();
        let response = self.response.take();
        let route = self.route.take();
        let record = RequestRecord {
            start: self.start,
            duration: self.began.elapsed(),
            request_duration: self.request_duration.get(),
            response_duration: self.response_duration.get(),
            request: &request,
            response: response.as_ref(),
            grpc_status: self.grpc_status.get(),
            flags: self.flags.get(),
            details: self.details.get(),
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            route: &route,
            upstream: attempted.as_ref().map(Attempted::record),
            attempts: self.attempts.get(),
            downstream: &self.downstream,
            peer: &self.peer.borrow(),
        };
        let reporter = &self.worker.reporter;
        reporter.request(&record, &self.manager.access_log);
    }
}

/// For header edits: what of a record is known before its end.
impl FormatValues for Exchange {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        use std::io::Write;
        let downstream = &self.downstream;
        let text = match operator {
            Operator::DownstreamRemoteAddress => downstream.remote.to_string(),
            Operator::DownstreamRemoteAddressWithoutPort => downstream.remote.ip().to_string(),
            Operator::DownstreamDirectRemoteAddress => downstream.direct_remote.to_string(),
            Operator::DownstreamDirectRemoteAddressWithoutPort => downstream.direct_remote.ip().to_string(),
            Operator::DownstreamLocalAddress => downstream.local.to_string(),
            Operator::DownstreamLocalAddressWithoutPort => downstream.local.ip().to_string(),
            Operator::DownstreamLocalPort => downstream.local.port().to_string(),
            Operator::DownstreamPeerUriSan => match &downstream.peer_principal {
                Some(principal) => principal.to_string(),
                None => return false,
            },
            Operator::DownstreamLocalUriSan => match &downstream.local_principal {
                Some(principal) => principal.to_string(),
                None => return false,
            },
            Operator::DownstreamTlsVersion => match downstream.tls_version {
                Some(version) => version.to_owned(),
                None => return false,
            },
            Operator::RequestedServerName => match &downstream.sni {
                Some(sni) => sni.clone(),
                None => return false,
            },
            Operator::RouteName => self.route.borrow().clone(),
            Operator::ConnectionId => downstream.connection_id.to_string(),
            Operator::UpstreamRequestAttemptCount => self.attempts.get().to_string(),
            Operator::ResponseFlags => self.flags.get().to_string(),
            Operator::ResponseCodeDetails => self.details.get().to_owned(),
            Operator::UpstreamCluster => match &*self.upstream.borrow() {
                Some(attempted) => attempted.cluster.name.clone(),
                None => return false,
            },
            Operator::UpstreamHost => match self
                .upstream
                .borrow()
                .as_ref()
                .and_then(|a| a.connection.as_ref())
            {
                Some(connection) => connection.remote.to_string(),
                None => return false,
            },
            _ => return false,
        };
        out.write_all(text.as_bytes()).is_ok()
    }
}

// === impl Attempted ===

impl Attempted {
    fn record(&self) -> UpstreamRecord<'_> {
        let connection = self.connection.as_deref();
        UpstreamRecord {
            cluster: &self.cluster.stat_name,
            service: self.cluster.service.as_ref(),
            workload: self.endpoint.as_ref().and_then(|e| e.workload.as_ref()),
            remote: connection.map(|c| c.remote),
            local: connection.and_then(|c| c.local),
            peer_principal: connection.and_then(|c| c.peer_principal.as_ref()),
            local_principal: connection.and_then(|c| c.local_principal.as_ref()),
            transport_failure: self.failure.as_deref(),
        }
    }
}
